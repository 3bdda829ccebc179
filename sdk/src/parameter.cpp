#include "microtome/parameter.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "microtome/stage_spec.h"

namespace microtome {
namespace {

Value type_schema(const char* type) {
  Value schema;
  schema.set("type", type);
  return schema;
}

std::string number_text(double number) {
  std::ostringstream text;
  text << number;
  return text.str();
}

}  // namespace

Value ParameterType<bool>::schema() { return type_schema("boolean"); }
bool ParameterType<bool>::read(const Value& value, ReadContext&) { return value.as_boolean(); }

Value ParameterType<std::int64_t>::schema() { return type_schema("integer"); }
std::int64_t ParameterType<std::int64_t>::read(const Value& value, ReadContext&) {
  return value.as_integer();
}

Value ParameterType<double>::schema() { return type_schema("number"); }
double ParameterType<double>::read(const Value& value, ReadContext&) {
  const double number = value.as_number();
  if (!std::isfinite(number)) throw Error(value.location(), "expected a finite number");
  return number;
}

Value ParameterType<std::string>::schema() { return type_schema("string"); }
std::string ParameterType<std::string>::read(const Value& value, ReadContext&) {
  return value.as_string();
}

Value ParameterType<HookPoint>::schema() { return type_schema("string"); }
namespace {
void refer(const HookPoint& hook, ReadContext& context) {
  if (!context.refer) return;
  if (hook.dictionary) context.refer(*hook.dictionary, kind::dictionary, hook.location);
  if (hook.selector.direction) {
    context.refer(*hook.selector.direction, kind::directions, hook.location);
  }
}
}  // namespace

HookPoint ParameterType<HookPoint>::read(const Value& value, ReadContext& context) {
  // A module such as `0` reads as a number in YAML, and `1.10` as 1.1.
  if (value.type() == Value::Type::number || value.type() == Value::Type::boolean) {
    throw Error(value.location(), "YAML reads this layer's name as " + describe_type(value.type()) +
                                      "; write it in double quotes");
  }
  HookPoint hook = parse_hook_point(
      value.type() == Value::Type::integer ? std::to_string(value.as_integer()) : value.as_string(),
      value.location());
  refer(hook, context);
  return hook;
}
Value ParameterType<HookPoint>::write(const HookPoint& value) {
  return value.module.empty() ? Value() : Value(value.text());
}

Value ParameterType<Target>::schema() {
  Value of;
  of.set("type", "object");
  Value any = Value::list();
  any.push_back(type_schema("string"));
  any.push_back(std::move(of));
  Value schema;
  schema.set("anyOf", std::move(any));
  return schema;
}
Target ParameterType<Target>::read(const Value& value, ReadContext& context) {
  Target target = read_target(value);
  if (target.hook) refer(*target.hook, context);
  if (target.direction && context.refer) {
    context.refer(*target.direction, kind::directions, target.location);
  }
  return target;
}
Value ParameterType<Target>::write(const Target& value) { return value.text(); }

Value ParameterType<NestedStage>::schema() {
  Value schema = type_schema("object");
  Value required = Value::list();
  required.push_back("uses");
  schema.set("required", std::move(required));
  return schema;
}
NestedStage ParameterType<NestedStage>::read(const Value& value, ReadContext& context) {
  for (const auto& entry : value.as_map()) {
    if (entry.key != "uses" && entry.key != "with") {
      throw Error(entry.key_location,
                  "unknown key \"" + entry.key +
                      "\" of a stage as a parameter; there is \"uses\", \"with\"");
    }
  }
  const Value& uses = value.at("uses");
  NestedStage nested{uses.as_string(), Value::map(), nullptr};
  if (const Value* with = value.find("with")) {
    with->as_map();
    nested.with = *with;
  }
  if (!context.make_stage) throw Error(value.location(), "no stage can be a parameter here");
  nested.stage = context.make_stage(nested.uses, nested.with, uses.location());
  return nested;
}
Value ParameterType<NestedStage>::write(const NestedStage& value) {
  if (value.uses.empty()) return Value();
  Value map = Value::map();
  map.set("uses", value.uses);
  map.set("with", value.with);
  return map;
}

std::size_t read_choice(const Value& value, const std::vector<std::string>& choices) {
  std::string word;
  if (value.type() == Value::Type::boolean) {
    word = value.as_boolean() ? "true" : "false";
  } else {
    word = value.as_string();
  }
  const auto found = std::find(choices.begin(), choices.end(), word);
  if (found == choices.end()) {
    std::string list;
    for (const std::string& choice : choices) list += (list.empty() ? "" : ", ") + choice;
    const auto near = nearest_names(word, choices);
    throw Error(value.location(), "\"" + word + "\" is none of " + list +
                                      (near.empty() ? "" : "; did you mean \"" + near[0] + "\"?"));
  }
  return static_cast<std::size_t>(found - choices.begin());
}

void check_range(const Value& value, const ParameterDescription& description, Problems& problems) {
  if (value.is_list()) {
    for (const Value& item : value.as_list()) check_range(item, description, problems);
    return;
  }
  if (!value.is_number()) return;
  const double number = value.as_number();
  const bool low = description.minimum && number < *description.minimum;
  const bool high = description.maximum && number > *description.maximum;
  if (!low && !high) return;
  std::string range =
      description.maximum && description.minimum
          ? "from " + number_text(*description.minimum) + " to " + number_text(*description.maximum)
      : description.minimum ? "at least " + number_text(*description.minimum)
                            : "at most " + number_text(*description.maximum);
  problems.add(value.location(), description.name + ": " + number_text(number) +
                                     " is out of range; allowed is " + range +
                                     (description.unit.empty() ? "" : " " + description.unit));
}

const PortDescription* StageDescription::input(const std::string& name) const {
  for (const PortDescription& port : inputs) {
    if (port.name == name) return &port;
  }
  return nullptr;
}

const ParameterDescription* StageDescription::parameter(const std::string& name) const {
  for (const ParameterDescription& parameter : parameters) {
    if (parameter.name == name) return &parameter;
  }
  return nullptr;
}

void check_parameter_keys(const StageDescription& description, const Value& with,
                          Problems& problems) {
  std::vector<std::string> names;
  for (const ParameterDescription& parameter : description.parameters) {
    names.push_back(parameter.name);
    const Value* value = with.find(parameter.name);
    if (parameter.required && (value == nullptr || value->is_null())) {
      problems.add(with.location(),
                   "the parameter \"" + parameter.name + "\" (" + parameter.type + ") is missing");
    }
  }
  if (with.is_null()) return;
  for (const auto& entry : with.as_map()) {
    if (description.parameter(entry.key) == nullptr) {
      problems.add(entry.key_location,
                   "unknown parameter \"" + entry.key + "\"" + suggestion(entry.key, names));
    }
  }
}

Value canonical_parameters(const StageDescription& description, const Value& with) {
  Value result = Value::map();
  for (const ParameterDescription& parameter : description.parameters) {
    const Value* given = with.find(parameter.name);
    result.set(parameter.name,
               given != nullptr && !given->is_null() ? *given : parameter.default_value);
  }
  return result;
}

}  // namespace microtome
