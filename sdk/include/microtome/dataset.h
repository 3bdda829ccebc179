#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "microtome/model.h"
#include "microtome/tensor.h"

namespace [[gnu::visibility("default")]] microtome {

/// A field of a dataset's samples.
struct FieldInfo {
  std::string name;
  at::ScalarType type = at::kFloat;
  std::vector<std::int64_t> shape;       ///< of one sample; -1 where it differs between samples
  std::vector<std::string> class_names;  ///< for labels that have names
  bool image = false;                    ///< C x H x W
  /// Of an image in model space: what its pixels in 0..1 were normalised by, by channel.
  std::vector<double> mean = {}, std = {};

  bool is_normalised() const { return !mean.empty(); }
  /// Images of this field, [C, H, W] or with more dimensions before, as pixels in 0..1, float32.
  at::Tensor pixels(const at::Tensor& images) const;
};

/// A sample that can't be read and that its dataset leaves out, as it is declared to.
struct SkippedSample {
  std::string id;
  std::string why;
};

/// What is known of a dataset before it is read.
struct DatasetInfo {
  std::string name;
  std::int64_t size = 0;  ///< without the skipped: every position below it can be loaded
  std::vector<FieldInfo> fields;
  std::vector<SkippedSample> skipped = {};

  const FieldInfo* find(const std::string& field) const;
  /// The first field of images that are all of one size; nullptr when there is none.
  const FieldInfo* images() const;
};

/// Samples stacked: N first in each field. Row i is of the sample `positions[i]` of its dataset,
/// whose id is `ids[i]`. Samples that differ in shape are an error so far.
struct Batch {
  std::vector<std::int64_t> positions;
  std::vector<std::string> ids;
  NamedTensors fields;

  std::int64_t size() const { return static_cast<std::int64_t>(ids.size()); }
  /// Position in the dataset of the sample at `row`, to seed what is random for each sample.
  std::int64_t position(std::int64_t row) const {
    return positions.at(static_cast<std::size_t>(row));
  }
};

/// The field of images to show beside what a model makes of `batch`: the one that is among the
/// model's `inputs`, else the first; nullptr when no field is of images.
const FieldInfo* shown_images(const DatasetInfo& data, const Batch& batch,
                              const NamedTensors& inputs);

/// The positions from `begin` up to but not including `end`; none when `end` is not above it.
std::vector<std::int64_t> positions_between(std::int64_t begin, std::int64_t end);

/// The positions 0 to `size` - 1 in order, in lists of `chunk` of which the last may be shorter.
std::vector<std::vector<std::int64_t>> chunks_of(std::int64_t size, std::int64_t chunk);

/// For each of `size` samples the position of another one, its donor: along one random circle, so
/// that each gives once and none gives to itself. Throws `Error` for less than two samples.
std::vector<std::int64_t> random_donors(std::int64_t size, at::Generator generator);

/// Random access for stages that drive the model themselves. Implemented by the host, and by
/// plugins that bring a source of samples. [any number of threads]
class Dataset {
 public:
  virtual ~Dataset();
  virtual const DatasetInfo& info() const = 0;
  /// Decodes the samples at these positions, a row for each of them in this order. Throws `Error`
  /// that names a sample which can't be read; none is left out.
  virtual Batch load(const std::vector<std::int64_t>& positions) const = 0;
  virtual std::string id(std::int64_t position) const;
  /// One value a sample, [N] int64 or float64, such as all labels; decodes no images where the
  /// source knows them. Throws `Error` when the field has more than one value a sample.
  virtual at::Tensor column(const std::string& field) const;
};

}  // namespace microtome
