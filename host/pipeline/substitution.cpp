#include "host/pipeline/substitution.h"

#include <cstdlib>
#include <functional>
#include <optional>

#include "host/pipeline/yaml_reader.h"

namespace microtome::host {
namespace {

/// Gives the value of a name; nothing leaves the text as it is.
using Lookup =
    std::function<std::optional<Value>(const std::string& name, const Location& location)>;

std::string as_text(const Value& value, const Location& location) {
  if (value.is_string()) return value.as_string();
  if (value.is_list() || value.is_map()) {
    throw Error(location,
                describe_type(value.type()) + " can't stand inside of a text; write ${...} alone");
  }
  return value.is_null() ? "" : to_json(value);
}

void substitute(Value& value, const Lookup& lookup, Problems& problems) {
  if (value.is_list()) {
    for (Value& item : value.as_list()) substitute(item, lookup, problems);
    return;
  }
  if (value.is_map()) {
    for (auto& entry : value.as_map()) substitute(entry.value, lookup, problems);
    return;
  }
  if (!value.is_string() || value.as_string().find("${") == std::string::npos) return;
  const std::string text = value.as_string();
  const Location location = value.location();
  std::string result;
  std::size_t from = 0;
  try {
    while (true) {
      const std::size_t open = text.find("${", from);
      if (open == std::string::npos) break;
      const std::size_t close = text.find('}', open);
      if (close == std::string::npos) throw Error(location, "\"${\" is not closed by \"}\"");
      const auto found = lookup(text.substr(open + 2, close - open - 2), location);
      result += text.substr(from, open - from);
      if (!found) {
        result += text.substr(open, close + 1 - open);
      } else if (open == 0 && close + 1 == text.size()) {
        value = *found;
        value.located(location);
        return;
      } else {
        result += as_text(*found, location);
      }
      from = close + 1;
    }
    value = Value(result + text.substr(from)).located(location);
    value.set_quoted(true);
  } catch (const Error& error) {
    problems.add(error.location().known() ? error.location() : location, error.what());
  }
}

Value environment_value(const std::string& name, const Location& location) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) throw Error(location, "the environment has no variable " + name);
  return Value(value);
}

/// Looks names up in `vars`, whose values may name others.
class Variables {
 public:
  explicit Variables(const Value* vars) : vars_(vars) {}

  std::optional<Value> operator()(const std::string& name, const Location& location) {
    if (name.rfind("matrix.", 0) == 0) return std::nullopt;
    if (name.rfind("env:", 0) == 0) return environment_value(name.substr(4), location);
    const Value* found = vars_ == nullptr ? nullptr : vars_->find(name);
    if (found == nullptr) {
      std::vector<std::string> names;
      if (vars_ != nullptr && vars_->is_map()) {
        for (const auto& entry : vars_->as_map()) names.push_back(entry.key);
      }
      throw Error(location, "\"${" + name + "}\" is not defined in vars" + suggestion(name, names));
    }
    if (depth_ > 20) throw Error(location, "the variables refer to each other in a circle");
    ++depth_;
    Value value = *found;
    Problems inner;
    substitute(value, std::ref(*this), inner);
    --depth_;
    if (!inner.empty()) throw Error(inner.list()[0].location, inner.list()[0].message);
    return value;
  }

 private:
  const Value* vars_;
  int depth_ = 0;
};

}  // namespace

void apply_override(Value& document, const std::string& assignment, Problems& problems) {
  const std::string place = "--set " + assignment;
  const Location location{1, 1, place};
  const auto equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0) {
    problems.add(location, "expected PATH=VALUE, such as stages.ig.with.steps=64");
    return;
  }
  Value value;
  try {
    const std::string text = assignment.substr(equals + 1);
    if (!text.empty()) value = read_yaml(text, place);
  } catch (const Error& error) {
    problems.add(error.location(), error.what());
    return;
  }
  std::string path = assignment.substr(0, equals);
  Value* at = &document;
  std::size_t from = 0;
  while (true) {
    const std::size_t dot = path.find('.', from);
    const std::string name = path.substr(from, dot == std::string::npos ? dot : dot - from);
    if (!at->is_map()) {
      problems.add(location, "\"" + path.substr(0, from == 0 ? 0 : from - 1) +
                                 "\" is no map, so it has no \"" + name + "\"");
      return;
    }
    if (dot == std::string::npos) {
      Value& placed = at->set(name, value);
      placed.located(location);
      for (auto& entry : at->as_map()) {
        if (entry.key == name && !entry.key_location.known()) entry.key_location = location;
      }
      return;
    }
    Value* next = at->find(name);
    if (next == nullptr && (name == "with" || name == "vars" || name == "runtime")) {
      next = &at->set(name, Value::map());
      next->located(location);
    }
    if (next == nullptr) {
      std::vector<std::string> names;
      for (const auto& entry : at->as_map()) names.push_back(entry.key);
      problems.add(location,
                   "the pipeline has no \"" + path.substr(0, dot) + "\"" + suggestion(name, names));
      return;
    }
    at = next;
    from = dot + 1;
  }
}

void substitute_variables(Value& document, Problems& problems) {
  const Value* vars = document.find("vars");
  const Value copy = vars == nullptr ? Value::map() : *vars;
  Variables variables(&copy);
  substitute(document, std::ref(variables), problems);
}

Value substitute_matrix(const Value& value, const Value& matrix, Problems& problems) {
  Value copy = value;
  substitute(
      copy,
      [&](const std::string& name, const Location& location) -> std::optional<Value> {
        if (name.rfind("matrix.", 0) != 0) return std::nullopt;
        const std::string key = name.substr(name.find('.') + 1);
        if (const Value* found = matrix.find(key)) return *found;
        std::vector<std::string> names;
        if (matrix.is_map()) {
          for (const auto& entry : matrix.as_map()) names.push_back(entry.key);
        }
        throw Error(location, "\"${" + name + "}\": the stage's matrix has no \"" + key + "\"" +
                                  suggestion(key, names));
      },
      problems);
  return copy;
}

}  // namespace microtome::host
