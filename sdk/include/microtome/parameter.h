#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "microtome/hook_point.h"
#include "microtome/target.h"
#include "microtome/value.h"

namespace [[gnu::visibility("default")]] microtome {

class Stage;

/// Where parameters are read: mistakes are collected, nested stages are made by the host.
struct ReadContext {
  Problems& problems;
  /// Makes the stage that a parameter names; adds problems and returns nullptr when it can't.
  std::function<std::shared_ptr<Stage>(const std::string& uses, const Value& with,
                                       const Location& location)>
      make_stage = {};
  /// Makes an artifact that a parameter names an input of the stage, at `reference.port()`.
  std::function<void(const DirectionReference& reference, const std::string& kind,
                     const Location& location)>
      refer = {};
};

/// A stage as a parameter: `{uses: integrated_gradients, with: {...}}`. Ask the stage for the
/// capability that is needed.
struct NestedStage {
  std::string uses;
  Value with;
  std::shared_ptr<Stage> stage;
};

/// `auto`, or a value.
template <class T>
using Automatic = std::variant<std::monostate, T>;

/// What is said about one parameter. Parsing, checking, help, schema and docs come from this.
struct ParameterDescription {
  std::string name;
  std::string type;  ///< for a person: `integer`, `list of hook points`
  std::string doc;
  std::string unit;
  std::string hook_port;  ///< for hook points: the port of the model that they belong to
  Value default_value;    ///< null when required or when absent means none
  bool required = false;
  std::optional<double> minimum, maximum;
  std::vector<std::string> choices;
  Value schema;  ///< JSON Schema
};

/// How a C++ type is written in YAML. Specialised for the types that parameters can have:
/// bool, std::int64_t, double, std::string, HookPoint, Target, NestedStage, std::vector of them,
/// std::optional of them, Automatic of them.
template <class T>
struct ParameterType;

template <>
struct ParameterType<bool> {
  static std::string name() { return "true or false"; }
  static Value schema();
  static bool read(const Value& value, ReadContext& context);
  static Value write(bool value) { return Value(value); }
};
template <>
struct ParameterType<std::int64_t> {
  static std::string name() { return "integer"; }
  static Value schema();
  static std::int64_t read(const Value& value, ReadContext& context);
  static Value write(std::int64_t value) { return Value(value); }
};
template <>
struct ParameterType<double> {
  static std::string name() { return "number"; }
  static Value schema();
  static double read(const Value& value, ReadContext& context);
  static Value write(double value) { return Value(value); }
};
template <>
struct ParameterType<std::string> {
  static std::string name() { return "text"; }
  static Value schema();
  static std::string read(const Value& value, ReadContext& context);
  static Value write(const std::string& value) { return Value(value); }
};
template <>
struct ParameterType<HookPoint> {
  static std::string name() { return "hook point"; }
  static Value schema();
  static HookPoint read(const Value& value, ReadContext& context);
  static Value write(const HookPoint& value);
};
template <>
struct ParameterType<Target> {
  static std::string name() { return "target"; }
  static Value schema();
  static Target read(const Value& value, ReadContext& context);
  static Value write(const Target& value);
};
template <>
struct ParameterType<NestedStage> {
  static std::string name() { return "stage"; }
  static Value schema();
  static NestedStage read(const Value& value, ReadContext& context);
  static Value write(const NestedStage& value);
};

template <class T>
struct ParameterType<std::vector<T>> {
  static std::string name() { return "list of " + ParameterType<T>::name(); }
  static Value schema() {
    Value schema;
    schema.set("type", "array");
    schema.set("items", ParameterType<T>::schema());
    return schema;
  }
  /// A single value stands for a list of one.
  static std::vector<T> read(const Value& value, ReadContext& context) {
    std::vector<T> result;
    if (!value.is_list()) {
      result.push_back(ParameterType<T>::read(value, context));
      return result;
    }
    for (const Value& item : value.as_list()) {
      try {
        result.push_back(ParameterType<T>::read(item, context));
      } catch (const Error& error) {
        context.problems.add(error.location(), error.what());
      }
    }
    return result;
  }
  static Value write(const std::vector<T>& values) {
    Value list = Value::list();
    for (const T& value : values) list.push_back(ParameterType<T>::write(value));
    return list;
  }
};

template <class T>
struct ParameterType<std::optional<T>> {
  static std::string name() { return ParameterType<T>::name(); }
  static Value schema() { return ParameterType<T>::schema(); }
  static std::optional<T> read(const Value& value, ReadContext& context) {
    return ParameterType<T>::read(value, context);
  }
  static Value write(const std::optional<T>& value) {
    return value ? ParameterType<T>::write(*value) : Value();
  }
};

template <class T>
struct ParameterType<Automatic<T>> {
  static std::string name() { return ParameterType<T>::name() + " or auto"; }
  static Value schema() {
    Value word;
    word.set("const", "auto");
    Value any = Value::list();
    any.push_back(std::move(word));
    any.push_back(ParameterType<T>::schema());
    Value schema;
    schema.set("anyOf", std::move(any));
    return schema;
  }
  static Automatic<T> read(const Value& value, ReadContext& context) {
    if (value.is_string() && value.as_string() == "auto") return std::monostate{};
    return ParameterType<T>::read(value, context);
  }
  static Value write(const Automatic<T>& value) {
    if (const T* content = std::get_if<T>(&value)) return ParameterType<T>::write(*content);
    return Value("auto");
  }
};

/// A choice among words, as an enumeration. Throws `Error` with the words when `value` is another.
std::size_t read_choice(const Value& value, const std::vector<std::string>& choices);

/// Adds a problem for each number in `value` (alone or in a list) that is out of range.
void check_range(const Value& value, const ParameterDescription& description, Problems& problems);

}  // namespace microtome
