#include "host/support/element_type.h"

#include <array>
#include <limits>

namespace microtome::host {
namespace {

struct Type {
  at::ScalarType type;
  const char* name;
  int digits;    ///< binary ones that each value has room for
  int exponent;  ///< bits of it; 0: integers
  bool is_signed;
};
constexpr std::array types = {
    Type{at::kFloat, "float32", 24, 8, true}, Type{at::kDouble, "float64", 53, 11, true},
    Type{at::kHalf, "float16", 11, 5, true},  Type{at::kBFloat16, "bfloat16", 8, 8, true},
    Type{at::kLong, "int64", 63, 0, true},    Type{at::kInt, "int32", 31, 0, true},
    Type{at::kShort, "int16", 15, 0, true},   Type{at::kChar, "int8", 7, 0, true},
    Type{at::kByte, "uint8", 8, 0, false},    Type{at::kBool, "bool", 1, 0, false}};

const Type* find(at::ScalarType type) {
  for (const Type& known : types) {
    if (known.type == type) return &known;
  }
  return nullptr;
}

}  // namespace

std::string type_name(at::ScalarType type) {
  const Type* known = find(type);
  return known != nullptr ? known->name : c10::toString(type);
}

std::optional<at::ScalarType> type_named(std::string_view name) {
  for (const Type& known : types) {
    if (name == known.name) return known.type;
  }
  return std::nullopt;
}

std::vector<std::string> type_names() {
  std::vector<std::string> names;
  for (const Type& known : types) names.emplace_back(known.name);
  return names;
}

bool converts_exactly(at::ScalarType from, at::ScalarType to) {
  if (from == to) return true;
  const Type* source = find(from);
  const Type* target = find(to);
  if (source == nullptr || target == nullptr || source->digits > target->digits) return false;
  if (source->exponent > 0) return target->exponent >= source->exponent;
  if (source->is_signed && !target->is_signed) return false;
  // 2^15 is the largest power in float16.
  return target->exponent == 0 || target->exponent > 5 || source->digits <= 15;
}

std::string shape_name(at::IntArrayRef shape) {
  if (shape.empty()) return "one number";
  std::string text;
  for (const std::int64_t size : shape)
    text += (text.empty() ? "" : " x ") + (size < 0 ? "?" : std::to_string(size));
  return text;
}

}  // namespace microtome::host
