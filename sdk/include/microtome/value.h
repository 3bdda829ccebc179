#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "microtome/error.h"

namespace [[gnu::visibility("default")]] microtome {

/// A tree of plain data that remembers where it was written: parameters from YAML, metadata of
/// artifacts, schemas. A map keeps the order of its keys. Value type; copies are deep.
class Value {
 public:
  struct Entry;
  using List = std::vector<Value>;
  using Map = std::vector<Entry>;
  enum class Type { null, boolean, integer, number, string, list, map };

  Value();
  Value(bool value);
  Value(int value);
  Value(std::int64_t value);
  Value(double value);
  Value(const char* value);
  Value(std::string value);
  Value(List value);
  Value(Map value);
  Value(const Value&);
  Value(Value&&) noexcept;
  Value& operator=(const Value&);
  Value& operator=(Value&&) noexcept;
  ~Value();

  static Value map();
  static Value list();

  Type type() const;
  bool is_null() const { return type() == Type::null; }
  bool is_string() const { return type() == Type::string; }
  bool is_list() const { return type() == Type::list; }
  bool is_map() const { return type() == Type::map; }
  bool is_number() const { return type() == Type::integer || type() == Type::number; }

  /// The content. Each throws `Error` with this value's location when the type is another;
  /// `as_number` takes integers too.
  bool as_boolean() const;
  std::int64_t as_integer() const;
  double as_number() const;
  const std::string& as_string() const;
  const List& as_list() const;
  const Map& as_map() const;
  List& as_list();
  Map& as_map();

  /// The entry of a map, or nullptr (also when this is no map). O(entries).
  const Value* find(std::string_view key) const;
  Value* find(std::string_view key);
  /// The entry of a map; throws `Error` where there is none.
  const Value& at(std::string_view key) const;
  /// Adds or replaces an entry of a map (a null value becomes a map first). Returns the entry.
  Value& set(std::string key, Value value);
  /// Appends to a list (a null value becomes a list first). Returns the element.
  Value& push_back(Value value);

  const Location& location() const { return location_; }
  Value& located(Location location);
  /// True for a scalar that was written in quotes: it is a string whatever it looks like.
  bool quoted() const { return quoted_; }
  Value& set_quoted(bool quoted);

  /// Equal content; locations do not count.
  bool operator==(const Value& other) const;

 private:
  void require(Type type) const;
  std::variant<std::monostate, bool, std::int64_t, double, std::string, std::unique_ptr<List>,
               std::unique_ptr<Map>>
      content_;
  Location location_;
  bool quoted_ = false;
};

struct Value::Entry {
  std::string key;
  Value value;
  Location key_location;
};

/// `a list`, `a number`, ... for messages.
std::string describe_type(Value::Type type);

/// JSON text. `indent` < 0 gives one line. Numbers are written so that they read back bit for bit;
/// infinities and NaN become the strings "Infinity", "-Infinity", "NaN".
std::string to_json(const Value& value, int indent = -1);
/// Reads JSON; throws `Error` with line and column.
Value from_json(std::string_view text);

}  // namespace microtome
