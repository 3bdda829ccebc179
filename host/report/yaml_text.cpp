#include "host/report/yaml_text.h"

#include <algorithm>

namespace microtome::host::report {
namespace {

bool is_scalar(const Value& value) { return !value.is_map() && !value.is_list(); }

/// On one line: lists of scalars, and what is empty.
bool is_short(const Value& value) {
  if (is_scalar(value)) return true;
  if (value.is_map()) return value.as_map().empty();
  return std::all_of(value.as_list().begin(), value.as_list().end(), is_scalar);
}

/// JSON is YAML; keys are quoted as well, so that no name is read as something else.
void write(const Value& value, int depth, std::string& text) {
  const std::string indent(static_cast<std::size_t>(depth) * 2, ' ');
  if (value.is_map()) {
    for (const auto& entry : value.as_map()) {
      const bool plain =
          !entry.key.empty() &&
          entry.key.find_first_not_of("abcdefghijklmnopqrstuvwxyz_") == std::string::npos;
      text += indent + (plain ? entry.key : to_json(Value(entry.key))) + ":";
      if (is_short(entry.value)) {
        text += " " + to_json(entry.value) + "\n";
      } else {
        text += "\n";
        write(entry.value, depth + 1, text);
      }
    }
    return;
  }
  for (const Value& item : value.as_list()) text += indent + "- " + to_json(item) + "\n";
}

}  // namespace

std::string to_yaml(const Value& value) {
  std::string text;
  write(value, 0, text);
  return text;
}

}  // namespace microtome::host::report
