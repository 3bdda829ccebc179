#include "host/data/source_dataset.h"

#include "host/support/hash.h"

namespace microtome::host {

SourceDataset::SourceDataset(const std::string& name, std::shared_ptr<const Dataset> source,
                             Value identity)
    : source_(std::move(source)), identity_(std::move(identity)) {
  info_ = source_->info();
  info_.name = name;
}

std::string SourceDataset::id(std::int64_t position) const { return source_->id(position); }

Sample SourceDataset::read(std::int64_t position) const {
  const Batch batch = source_->load({position});
  Sample sample;
  sample.id = batch.ids.at(0);
  for (const auto& [name, value] : batch.fields) sample.fields.set(name, value.select(0, 0));
  return sample;
}

at::Tensor SourceDataset::column(const std::string& field) const {
  const std::lock_guard lock(columns_mutex_);
  at::Tensor& column = columns_[field];
  if (!column.defined()) column = source_->column(field);
  return column;
}

Value SourceDataset::scalar(std::int64_t position, const std::string& field) const {
  const at::Tensor value = column(field)[position];
  if (c10::isIntegralType(value.scalar_type(), true)) return Value(value.item<std::int64_t>());
  return Value(value.item<double>());
}

std::string SourceDataset::content_hash(ContentIndex&) const {
  return hash_text(to_json(identity_));
}

}  // namespace microtome::host
