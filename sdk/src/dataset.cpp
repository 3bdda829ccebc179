#include "microtome/dataset.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "microtome/error.h"

namespace microtome {

Dataset::~Dataset() = default;

at::Tensor FieldInfo::pixels(const at::Tensor& images) const {
  const at::Tensor values = images.to(at::kFloat);
  if (!is_normalised()) return values;
  const auto by_channel = [&](const std::vector<double>& numbers) {
    return at::tensor(numbers, at::kFloat).view({-1, 1, 1}).to(values.device());
  };
  // Rounding may have left 0..1 by a little.
  return (values * by_channel(std) + by_channel(mean)).clamp(0, 1);
}

const FieldInfo* DatasetInfo::find(const std::string& field) const {
  for (const FieldInfo& info : fields) {
    if (info.name == field) return &info;
  }
  return nullptr;
}

const FieldInfo* DatasetInfo::images() const {
  for (const FieldInfo& field : fields) {
    if (field.image && field.shape.size() == 3) return &field;
  }
  return nullptr;
}

const FieldInfo* shown_images(const DatasetInfo& data, const Batch& batch,
                              const NamedTensors& inputs) {
  const FieldInfo* first = nullptr;
  for (const FieldInfo& field : data.fields) {
    if (!field.image || batch.fields.find(field.name) == nullptr) continue;
    const at::Tensor& images = batch.fields.at(field.name);
    if (images.dim() != 4) continue;
    if (first == nullptr) first = &field;
    for (const auto& input : inputs) {
      const at::Tensor& value = input.second;
      if (value.sizes() == images.sizes() && at::equal(value.cpu(), images.to(value.scalar_type())))
        return &field;
    }
  }
  return first;
}

std::vector<std::int64_t> positions_between(std::int64_t begin, std::int64_t end) {
  std::vector<std::int64_t> positions(
      static_cast<std::size_t>(std::max<std::int64_t>(0, end - begin)));
  std::iota(positions.begin(), positions.end(), begin);
  return positions;
}

std::vector<std::vector<std::int64_t>> chunks_of(std::int64_t size, std::int64_t chunk) {
  std::vector<std::vector<std::int64_t>> chunks;
  for (std::int64_t begin = 0; begin < size; begin += chunk)
    chunks.push_back(positions_between(begin, std::min(begin + chunk, size)));
  return chunks;
}

std::vector<std::int64_t> random_donors(std::int64_t size, at::Generator generator) {
  if (size < 2) throw Error("one sample alone has no other to take the place of");
  const at::Tensor circle = at::randperm(size, std::move(generator), at::kLong).contiguous();
  const auto* order = circle.data_ptr<std::int64_t>();
  std::vector<std::int64_t> donors(static_cast<std::size_t>(size));
  for (std::int64_t i = 0; i < size; ++i)
    donors[static_cast<std::size_t>(order[i])] = order[(i + 1) % size];
  return donors;
}

std::string Dataset::id(std::int64_t position) const { return load({position}).ids.at(0); }

at::Tensor Dataset::column(const std::string& field) const {
  const FieldInfo* known = info().find(field);
  if (known == nullptr) throw Error("\"" + info().name + "\" has no field \"" + field + "\"");
  const bool is_single = std::all_of(known->shape.begin(), known->shape.end(),
                                     [](std::int64_t size) { return size == 1; });
  if (!is_single) throw Error("the field \"" + field + "\" holds more than one value a sample");
  constexpr std::int64_t at_once = 64;
  std::vector<at::Tensor> parts;
  for (const auto& positions : chunks_of(info().size, at_once))
    parts.push_back(load(positions).fields.at(field));
  const at::Tensor all = at::cat(parts).flatten();
  return all.to(c10::isIntegralType(all.scalar_type(), true) ? at::kLong : at::kDouble);
}

}  // namespace microtome
