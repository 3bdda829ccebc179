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
  /// Sentences on what a user should know of how the dataset was read, such as files left out.
  virtual std::vector<std::string> remarks() const { return {}; }

 protected:
  DatasetInfo info_;
};

/// Says which samples a dataset leaves out, the first few by name.
std::string skipped_text(const DatasetInfo& data);

}  // namespace microtome::host
