#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "host/store/content_index.h"
#include "microtome/dataset.h"
#include "microtome/value.h"

namespace microtome::host {

/// One sample's tensors by field.
struct Sample {
  std::string id;
  NamedTensors fields;
};

/// A dataset as the host has it: samples one by one, of which batches are made. Immutable after
/// opening. [any number of threads]
class HostDataset : public Dataset {
 public:
  const DatasetInfo& info() const override { return info_; }
  Batch load(const std::vector<std::int64_t>& positions) const override;

  std::string id(std::int64_t position) const override = 0;
  at::Tensor column(const std::string& field) const override;
  /// Decodes one sample. Throws `Error` naming the file.
  virtual Sample read(std::int64_t position) const = 0;
  /// A field that is known without decoding, such as a label; throws `Error` where it is not.
  virtual Value scalar(std::int64_t position, const std::string& field) const = 0;
  /// Hash of everything that `load` may return, in order.
  virtual std::string content_hash(ContentIndex& index) const = 0;
  /// Whether a sample that can't be read is left out (else it is an error).
  virtual bool skips_bad_samples() const { return false; }

 protected:
  DatasetInfo info_;
};

/// Stacks samples; those in `skipped` are noted there instead of failing when the dataset says
/// skip.
Batch load_batch(const HostDataset& dataset, const std::vector<std::int64_t>& positions,
                 std::vector<std::pair<std::string, std::string>>* skipped);

}  // namespace microtome::host
