#include "host/pipeline/matrix.h"

#include <algorithm>

namespace microtome::host {
namespace {

constexpr std::size_t most_elements = 10'000;

/// Whether `element` has all entries of `part`.
bool matches(const Value& element, const Value& part) {
  const auto& entries = part.as_map();
  return std::all_of(entries.begin(), entries.end(), [&](const Value::Entry& entry) {
    const Value* value = element.find(entry.key);
    return value != nullptr && *value == entry.value;
  });
}

}  // namespace

std::vector<Value> expand_matrix(const Value& matrix, Problems& problems) {
  std::vector<Value> elements{Value::map()};
  std::vector<std::string> keys;
  for (const auto& entry : matrix.as_map()) {
    if (entry.key == "include" || entry.key == "exclude") continue;
    keys.push_back(entry.key);
    if (!entry.value.is_list() || entry.value.as_list().empty()) {
      problems.add(entry.value.location(),
                   "a matrix needs a list of values for \"" + entry.key + "\"");
      continue;
    }
    std::vector<Value> product;
    for (const Value& element : elements) {
      for (const Value& value : entry.value.as_list()) {
        if (product.size() > most_elements) {
          problems.add(entry.key_location, "the matrix has more than 10,000 elements");
          return {};
        }
        Value longer = element;
        longer.set(entry.key, value);
        product.push_back(std::move(longer));
      }
    }
    elements = std::move(product);
  }
  const auto for_each = [&](const char* word, auto&& action) {
    const Value* list = matrix.find(word);
    if (list == nullptr) return;
    if (!list->is_list()) {
      problems.add(list->location(), std::string(word) + " needs a list of maps");
      return;
    }
    for (const Value& item : list->as_list()) {
      if (!item.is_map()) {
        problems.add(item.location(), std::string(word) + " needs a list of maps");
      } else {
        action(item);
      }
    }
  };
  for_each("exclude", [&](const Value& item) {
    for (const auto& entry : item.as_map()) {
      if (std::find(keys.begin(), keys.end(), entry.key) == keys.end()) {
        problems.add(entry.key_location, "exclude names \"" + entry.key +
                                             "\", which the matrix has not" +
                                             suggestion(entry.key, keys));
      }
    }
    const auto end = std::remove_if(elements.begin(), elements.end(),
                                    [&](const Value& element) { return matches(element, item); });
    if (end == elements.end()) problems.add(item.location(), "nothing in the matrix matches this");
    elements.erase(end, elements.end());
  });
  for_each("include", [&](const Value& item) { elements.push_back(item); });
  return elements;
}

}  // namespace microtome::host
