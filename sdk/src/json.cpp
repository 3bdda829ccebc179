#include <cmath>
#include <nlohmann/json.hpp>

#include "json_bytes.h"
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
      return json_bytes::to_marks(value.as_string());
    case Value::Type::list: {
      Json list = Json::array();
      for (const Value& item : value.as_list()) list.push_back(encode(item));
      return list;
    }
    case Value::Type::map: {
      Json map = Json::object();
      for (const auto& entry : value.as_map())
        map[json_bytes::to_marks(entry.key)] = encode(entry.value);
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
      return Value(json_bytes::from_marks(json.get_ref<const std::string&>()));
    case Json::value_t::array: {
      Value list = Value::list();
      for (const Json& item : json) list.push_back(decode(item));
      return list;
    }
    case Json::value_t::object: {
      Value map = Value::map();
      for (const auto& [key, item] : json.items())
        map.as_map().push_back({json_bytes::from_marks(key), decode(item), {}});
      return map;
    }
    default:
      return Value();
  }
}

}  // namespace

std::string to_json(const Value& value, int indent) {
  return json_bytes::marks_to_escapes(encode(value).dump(indent));
}

Value from_json(std::string_view text) {
  try {
    // Copied only where there may be something to read back.
    const bool marked = text.find("\\ud") != std::string_view::npos ||
                        text.find("\\uD") != std::string_view::npos ||
                        text.find("\\uf") != std::string_view::npos ||
                        text.find("\\uF") != std::string_view::npos ||
                        text.find("\xEF\xB7\x90") != std::string_view::npos;
    return decode(marked ? Json::parse(json_bytes::escapes_to_marks(text)) : Json::parse(text));
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
