#include "microtome/value.h"

#include <algorithm>
#include <utility>

namespace microtome {

Value::Value() = default;
Value Value::map() { return Value(Map{}); }
Value Value::list() { return Value(List{}); }
Value::Value(bool value) : content_(value) {}
Value::Value(int value) : content_(std::int64_t{value}) {}
Value::Value(std::int64_t value) : content_(value) {}
Value::Value(double value) : content_(value) {}
Value::Value(const char* value) : content_(std::string(value)) {}
Value::Value(std::string value) : content_(std::move(value)) {}
Value::Value(List value) : content_(std::make_unique<List>(std::move(value))) {}
Value::Value(Map value) : content_(std::make_unique<Map>(std::move(value))) {}

Value::Value(const Value& other) : location_(other.location_), quoted_(other.quoted_) {
  if (const auto* list = std::get_if<std::unique_ptr<List>>(&other.content_)) {
    content_ = std::make_unique<List>(**list);
  } else if (const auto* map = std::get_if<std::unique_ptr<Map>>(&other.content_)) {
    content_ = std::make_unique<Map>(**map);
  } else if (const auto* boolean = std::get_if<bool>(&other.content_)) {
    content_ = *boolean;
  } else if (const auto* integer = std::get_if<std::int64_t>(&other.content_)) {
    content_ = *integer;
  } else if (const auto* number = std::get_if<double>(&other.content_)) {
    content_ = *number;
  } else if (const auto* string = std::get_if<std::string>(&other.content_)) {
    content_ = *string;
  }
}
Value::Value(Value&&) noexcept = default;
Value& Value::operator=(const Value& other) {
  if (this != &other) *this = Value(other);
  return *this;
}
Value& Value::operator=(Value&&) noexcept = default;
Value::~Value() = default;

Value::Type Value::type() const { return static_cast<Type>(content_.index()); }

void Value::require(Type wanted) const {
  if (type() != wanted) {
    throw Error(location_,
                "expected " + describe_type(wanted) + ", found " + describe_type(type()));
  }
}

bool Value::as_boolean() const {
  require(Type::boolean);
  return std::get<bool>(content_);
}
std::int64_t Value::as_integer() const {
  require(Type::integer);
  return std::get<std::int64_t>(content_);
}
double Value::as_number() const {
  if (const auto* integer = std::get_if<std::int64_t>(&content_)) {
    return static_cast<double>(*integer);
  }
  require(Type::number);
  return std::get<double>(content_);
}
const std::string& Value::as_string() const {
  require(Type::string);
  return std::get<std::string>(content_);
}
const Value::List& Value::as_list() const {
  require(Type::list);
  return *std::get<std::unique_ptr<List>>(content_);
}
const Value::Map& Value::as_map() const {
  require(Type::map);
  return *std::get<std::unique_ptr<Map>>(content_);
}
Value::List& Value::as_list() {
  require(Type::list);
  return *std::get<std::unique_ptr<List>>(content_);
}
Value::Map& Value::as_map() {
  require(Type::map);
  return *std::get<std::unique_ptr<Map>>(content_);
}

const Value* Value::find(std::string_view key) const {
  if (!is_map()) return nullptr;
  for (const Entry& entry : as_map()) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}
Value* Value::find(std::string_view key) {
  return const_cast<Value*>(std::as_const(*this).find(key));
}

const Value& Value::at(std::string_view key) const {
  require(Type::map);
  if (const Value* value = find(key)) return *value;
  throw Error(location_, "\"" + std::string(key) + "\" is missing");
}

Value& Value::set(std::string key, Value value) {
  if (is_null()) content_ = std::make_unique<Map>();
  Map& map = as_map();
  for (Entry& entry : map) {
    if (entry.key == key) {
      entry.value = std::move(value);
      return entry.value;
    }
  }
  map.push_back({std::move(key), std::move(value), {}});
  return map.back().value;
}

Value& Value::push_back(Value value) {
  if (is_null()) content_ = std::make_unique<List>();
  as_list().push_back(std::move(value));
  return as_list().back();
}

Value& Value::located(Location location) {
  location_ = std::move(location);
  return *this;
}
Value& Value::set_quoted(bool quoted) {
  quoted_ = quoted;
  return *this;
}

bool Value::operator==(const Value& other) const {
  if (type() != other.type()) return false;
  switch (type()) {
    case Type::null:
      return true;
    case Type::boolean:
      return as_boolean() == other.as_boolean();
    case Type::integer:
      return as_integer() == other.as_integer();
    case Type::number:
      return as_number() == other.as_number();
    case Type::string:
      return as_string() == other.as_string();
    case Type::list:
      return as_list() == other.as_list();
    case Type::map:
      return std::equal(
          as_map().begin(), as_map().end(), other.as_map().begin(), other.as_map().end(),
          [](const Entry& a, const Entry& b) { return a.key == b.key && a.value == b.value; });
  }
  return false;
}

std::string describe_type(Value::Type type) {
  switch (type) {
    case Value::Type::null:
      return "nothing";
    case Value::Type::boolean:
      return "true or false";
    case Value::Type::integer:
      return "an integer";
    case Value::Type::number:
      return "a number";
    case Value::Type::string:
      return "text";
    case Value::Type::list:
      return "a list";
    case Value::Type::map:
      return "a map";
  }
  return "";
}

}  // namespace microtome
