#include "microtome/context.h"

#include <unordered_map>

namespace microtome {

Context::~Context() = default;

std::string ArtifactMember::label() const {
  std::string keys;
  for (const auto& [key, value] : element) keys += (keys.empty() ? "" : ", ") + key + "=" + value;
  return keys.empty() ? stage : stage + " [" + keys + "]";
}

at::Tensor Context::direction(const DirectionReference& reference) {
  const at::Tensor all = artifact(reference.port()).tensor("directions");
  if (reference.row >= all.size(0)) {
    throw Error("\"" + reference.text() + "\" is out of range: there are " +
                std::to_string(all.size(0)) + " directions");
  }
  return all.select(0, reference.row).to(device());
}

Directions Context::directions() {
  return [this](const DirectionReference& reference) { return direction(reference); };
}

at::Tensor Context::values_of(const std::string& port, const std::vector<std::string>& ids) {
  const Dataset& data = dataset(port);
  const at::Tensor all = data.column(field(port));
  std::unordered_map<std::string, std::int64_t> positions;
  for (std::int64_t i = 0; i < data.info().size; ++i) positions.emplace(data.id(i), i);
  std::vector<std::int64_t> order;
  order.reserve(ids.size());
  for (const std::string& id : ids) {
    const auto found = positions.find(id);
    if (found == positions.end()) {
      for (const SkippedSample& sample : data.info().skipped) {
        if (sample.id == id)
          throw Error("the dataset \"" + data.info().name + "\" leaves out the sample \"" + id +
                      "\", which can't be read: " + sample.why);
      }
      throw Error("the dataset \"" + data.info().name + "\" has no sample \"" + id + "\"");
    }
    order.push_back(found->second);
  }
  return all.index_select(0, at::tensor(order, at::kLong));
}

}  // namespace microtome
