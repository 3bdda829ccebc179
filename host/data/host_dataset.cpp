#include "host/data/host_dataset.h"

namespace microtome::host {

Batch load_batch(const HostDataset& dataset, const std::vector<std::int64_t>& positions,
                 std::vector<std::pair<std::string, std::string>>* skipped) {
  Batch batch;
  batch.first = positions.empty() ? 0 : positions.front();
  std::vector<Sample> samples;
  for (const std::int64_t position : positions) {
    try {
      samples.push_back(dataset.read(position));
    } catch (const Error& error) {
      if (!dataset.skips_bad_samples()) throw;
      if (skipped != nullptr) skipped->emplace_back(dataset.id(position), error.what());
    }
  }
  for (const Sample& sample : samples) batch.ids.push_back(sample.id);
  if (samples.empty()) return batch;
  for (const auto& [name, first] : samples.front().fields) {
    std::vector<at::Tensor> rows;
    for (const Sample& sample : samples) {
      const at::Tensor& value = sample.fields.at(name);
      if (value.sizes() != first.sizes()) {
        std::ostringstream message;
        message << "the samples " << samples.front().id << " and " << sample.id
                << " differ in the shape of \"" << name << "\" (" << first.sizes() << " and "
                << value.sizes()
                << "); give the dataset a transform with a crop, or resize: [height, width]";
        throw Error(message.str());
      }
      rows.push_back(value);
    }
    batch.fields.set(name, at::stack(rows));
  }
  return batch;
}

at::Tensor HostDataset::column(const std::string& field) const {
  const FieldInfo* known = info_.find(field);
  if (known == nullptr) {
    std::vector<std::string> names;
    for (const FieldInfo& other : info_.fields) names.push_back(other.name);
    throw Error("the dataset \"" + info_.name + "\" has no field \"" + field + "\"" +
                suggestion(field, names));
  }
  const bool integral = c10::isIntegralType(known->type, true);
  const at::Tensor all = at::empty({info_.size}, integral ? at::kLong : at::kDouble);
  for (std::int64_t i = 0; i < info_.size; ++i) {
    const Value value = scalar(i, field);
    if (integral) {
      all.data_ptr<std::int64_t>()[i] = value.as_integer();
    } else {
      all.data_ptr<double>()[i] = value.as_number();
    }
  }
  return all;
}

Batch HostDataset::load(const std::vector<std::int64_t>& positions) const {
  return load_batch(*this, positions, nullptr);
}

}  // namespace microtome::host
