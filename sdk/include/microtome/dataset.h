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
  bool normalised = false;               ///< of an image: already in model space, else in 0..1
};

/// What is known of a dataset before it is read.
struct DatasetInfo {
  std::string name;
  std::int64_t size = 0;
  std::vector<FieldInfo> fields;

  const FieldInfo* find(const std::string& field) const;
  /// The first field of images that are all of one size; nullptr when there is none.
  const FieldInfo* images() const;
};

/// Samples stacked: N first in each field. Samples that differ in shape are an error so far.
struct Batch {
  std::int64_t first = 0;  ///< position of the first sample in the dataset
  std::vector<std::string> ids;
  NamedTensors fields;

  std::int64_t size() const { return static_cast<std::int64_t>(ids.size()); }
};

/// Random access for stages that drive the model themselves. Implemented by the host.
/// [any number of threads]
class Dataset {
 public:
  virtual ~Dataset();
  virtual const DatasetInfo& info() const = 0;
  /// Decodes the samples at these positions. Throws `Error` that names the sample.
  virtual Batch load(const std::vector<std::int64_t>& positions) const = 0;
  virtual std::string id(std::int64_t position) const;
  /// One value a sample, [N] int64 or float64, such as all labels; decodes no images where the
  /// source knows them. Throws `Error` when the field has more than one value a sample.
  virtual at::Tensor column(const std::string& field) const;
};

}  // namespace microtome
