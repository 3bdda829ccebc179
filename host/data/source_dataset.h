#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "host/data/host_dataset.h"

namespace microtome::host {

/// Samples that a plugin's source gives.
class SourceDataset final : public HostDataset {
 public:
  /// `identity` says all that the samples depend on.
  SourceDataset(const std::string& name, std::shared_ptr<const Dataset> source, Value identity);
  std::string id(std::int64_t position) const override;
  Batch load(const std::vector<std::int64_t>& positions) const override;
  Sample read(std::int64_t position) const override;
  at::Tensor column(const std::string& field) const override;
  Value scalar(std::int64_t position, const std::string& field) const override;
  std::string content_hash(ContentIndex& index) const override;

 private:
  std::shared_ptr<const Dataset> source_;
  Value identity_;
  /// Columns that single values were asked of; the source gives a whole one at the cost of one.
  mutable std::map<std::string, at::Tensor> columns_;
  mutable std::mutex columns_mutex_;
};

}  // namespace microtome::host
