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

Batch HostDataset::load(const std::vector<std::int64_t>& positions) const {
  return load_batch(*this, positions, nullptr);
}

}  // namespace microtome::host
