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

Batch SourceDataset::load(const std::vector<std::int64_t>& positions) const {
  Batch batch = source_->load(positions);
  batch.positions = positions;
  const auto wanted = static_cast<std::int64_t>(positions.size());
  const auto check = [&](std::int64_t rows, const std::string& what) {
    if (rows != wanted)
      throw Error("the source of the dataset \"" + info_.name + "\" gave " + std::to_string(rows) +
                  " " + what + " for " + std::to_string(wanted) + " samples");
  };
  check(batch.size(), "ids");
  for (const auto& [name, value] : batch.fields)
    check(value.dim() > 0 ? value.size(0) : 0, "rows of \"" + name + "\"");
  return batch;
}

Sample SourceDataset::read(std::int64_t position) const {
  const Batch batch = load({position});
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
