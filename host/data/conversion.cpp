#include "host/data/conversion.h"

#include "host/support/element_type.h"

namespace microtome::host {
namespace {

constexpr const char* pixels_word = "pixels";

std::string first_where(const at::Tensor& values, const at::Tensor& is_wrong) {
  const at::Tensor wrong = values.masked_select(is_wrong);
  std::ostringstream text;
  text.precision(wrong.scalar_type() == at::kDouble ? 15 : 8);
  if (wrong.is_floating_point()) {
    text << wrong[0].item<double>();
  } else {
    text << wrong[0].item<std::int64_t>();
  }
  return text.str();
}

}  // namespace

Conversion Conversion::read(const Value& value, at::ScalarType from) {
  const std::string& word = value.as_string();
  if (word == pixels_word) {
    if (from != at::kByte && !c10::isFloatingType(from))
      throw Error(value.location(),
                  "pixels are made of uint8, or are real numbers in 0..1, and the field is " +
                      type_name(from));
    return {at::kFloat, true};
  }
  const auto type = type_named(word);
  if (!type) {
    std::vector<std::string> words = type_names();
    words.emplace_back(pixels_word);
    throw Error(value.location(), "there is no type \"" + word + "\"" + suggestion(word, words));
  }
  return {*type, false};
}

at::Tensor Conversion::apply(const at::Tensor& values) const {
  // As image folders do it.
  if (is_pixels && values.scalar_type() == at::kByte) return values.to(at::kFloat).div(255);
  if (is_pixels) {
    const at::Tensor is_wrong = values.ge(0).logical_and(values.le(1)).logical_not();
    if (is_wrong.any().item<bool>())
      throw Error("the value " + first_where(values, is_wrong) +
                  " is no pixel in 0..1; where a dataset holds normalised images, leave out "
                  "`pixels`; where they are 0..255, store them as uint8");
    return values.to(at::kFloat);
  }
  if (converts_exactly(values.scalar_type(), to)) return values.to(to);
  const at::Tensor converted = values.to(to);
  at::Tensor is_wrong;
  if (values.is_floating_point() && c10::isFloatingType(to)) {
    is_wrong = converted.isinf().logical_and(values.isfinite());
  } else {
    // There and back: 0.5, NaN, and what is out of range come back as something else.
    is_wrong = converted.to(values.scalar_type()).ne(values);
    if (values.is_floating_point()) is_wrong = is_wrong.logical_or(values.isfinite().logical_not());
    // 2^63 becomes the least integer or the largest, of which one rounds back to it.
    if (values.is_floating_point() && to == at::kLong)
      is_wrong = is_wrong.logical_or(values.ge(9223372036854775808.0));
  }
  if (is_wrong.any().item<bool>())
    throw Error("the value " + first_where(values, is_wrong) + " is not one of " + type_name(to));
  return converted;
}

std::string Conversion::text() const { return is_pixels ? pixels_word : type_name(to); }

}  // namespace microtome::host
