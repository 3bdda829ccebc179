#include "host/data/host_dataset.h"

#include <algorithm>
#include <sstream>

namespace microtome::host {

Batch HostDataset::load(const std::vector<std::int64_t>& positions) const {
  Batch batch;
  batch.positions = positions;
  std::vector<Sample> samples;
  samples.reserve(positions.size());
  for (const std::int64_t position : positions) samples.push_back(read(position));
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

std::string skipped_text(const DatasetInfo& data) {
  constexpr std::size_t most_named = 3;
  const std::size_t count = data.skipped.size();
  std::string text = "the dataset \"" + data.name + "\" leaves out " + std::to_string(count) +
                     (count == 1 ? " sample" : " samples") + " that can't be read";
  for (std::size_t i = 0; i < std::min(count, most_named); ++i)
    text += "; " + data.skipped[i].id + ": " + data.skipped[i].why;
  if (count > most_named) text += "; ... (the manifest lists all)";
  return text;
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

}  // namespace microtome::host
