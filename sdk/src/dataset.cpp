#include "microtome/dataset.h"

#include <algorithm>
#include <numeric>

#include "microtome/error.h"

namespace microtome {

Dataset::~Dataset() = default;

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

std::string Dataset::id(std::int64_t position) const { return load({position}).ids.at(0); }

at::Tensor Dataset::column(const std::string& field) const {
  const FieldInfo* known = info().find(field);
  if (known == nullptr) throw Error("\"" + info().name + "\" has no field \"" + field + "\"");
  if (!known->shape.empty()) throw Error("the field \"" + field + "\" is no single value");
  constexpr std::int64_t at_once = 64;
  std::vector<at::Tensor> parts;
  for (std::int64_t first = 0; first < info().size; first += at_once) {
    std::vector<std::int64_t> positions(
        static_cast<std::size_t>(std::min(at_once, info().size - first)));
    std::iota(positions.begin(), positions.end(), first);
    parts.push_back(load(positions).fields.at(field));
  }
  const at::Tensor all = at::cat(parts);
  return all.to(c10::isIntegralType(all.scalar_type(), true) ? at::kLong : at::kDouble);
}

}  // namespace microtome
