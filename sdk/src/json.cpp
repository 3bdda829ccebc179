#include <cmath>
#include <nlohmann/json.hpp>

#include "microtome/value.h"

namespace microtome {
namespace {

using Json = nlohmann::ordered_json;

Json encode(const Value& value) {
  switch (value.type()) {
    case Value::Type::null:
      return nullptr;
    case Value::Type::boolean:
      return value.as_boolean();
    case Value::Type::integer:
      return value.as_integer();
    case Value::Type::number: {
      const double number = value.as_number();
      if (std::isnan(number)) return "NaN";
      if (std::isinf(number)) return number > 0 ? "Infinity" : "-Infinity";
      return number;
    }
    case Value::Type::string:
      return value.as_string();
    case Value::Type::list: {
      Json list = Json::array();
      for (const Value& item : value.as_list()) list.push_back(encode(item));
      return list;
    }
    case Value::Type::map: {
      Json map = Json::object();
      for (const auto& entry : value.as_map()) map[entry.key] = encode(entry.value);
      return map;
    }
  }
  return nullptr;
}

Value decode(const Json& json) {
  switch (json.type()) {
    case Json::value_t::boolean:
      return Value(json.get<bool>());
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return Value(json.get<std::int64_t>());
    case Json::value_t::number_float:
      return Value(json.get<double>());
    case Json::value_t::string:
      return Value(json.get<std::string>());
    case Json::value_t::array: {
      Value list = Value::list();
      for (const Json& item : json) list.push_back(decode(item));
      return list;
    }
    case Json::value_t::object: {
      Value map = Value::map();
      for (const auto& [key, item] : json.items()) map.as_map().push_back({key, decode(item), {}});
      return map;
    }
    default:
      return Value();
  }
}

}  // namespace

std::string to_json(const Value& value, int indent) {
  return encode(value).dump(indent, ' ', false, Json::error_handler_t::replace);
}

Value from_json(std::string_view text) {
  try {
    return decode(Json::parse(text));
  } catch (const nlohmann::json::parse_error& error) {
    const std::string_view before = text.substr(0, std::min(error.byte, text.size()));
    Location location;
    location.line = 1 + static_cast<int>(std::count(before.begin(), before.end(), '\n'));
    const auto newline = before.rfind('\n');
    location.column = static_cast<int>(
        newline == std::string_view::npos ? before.size() : before.size() - newline - 1);
    throw Error(location, std::string("not JSON: ") + error.what());
  }
}

}  // namespace microtome
