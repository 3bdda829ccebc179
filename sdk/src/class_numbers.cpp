#include "microtome/class_numbers.h"

#include "microtome/error.h"

namespace microtome {
namespace {

/// `of_rows`: what is known of several values a sample.
std::string why_not(const std::string& name, at::ScalarType type, at::IntArrayRef shape,
                    const std::string& of_rows) {
  const std::string field = "the field \"" + name + "\"";
  std::string sizes = "N";
  std::int64_t values = 1;
  for (const std::int64_t size : shape) {
    sizes += " x " + std::to_string(size);
    values *= size;
  }
  if (shape.size() > 1 || values != 1) {
    return field + " holds " + std::to_string(values) + " values a sample (" + sizes +
           "), not one class number; " + of_rows;
  }
  if (c10::isIntegralType(type, true)) return "";
  return field + " holds real numbers (" + c10::toString(type) +
         "), not class numbers; save them as integers, labels.astype(\"int64\")";
}

bool is_one_hot(const at::Tensor& rows) {
  if (rows.dim() != 2 || rows.size(1) < 2) return false;
  const at::Tensor ones = rows == 1;
  return (ones | (rows == 0)).all().item<bool>() && (ones.sum(1) == 1).all().item<bool>();
}

constexpr const char* take_argmax = "save the class numbers, labels.argmax(1)";

}  // namespace

std::string why_not_classes(const FieldInfo& field) {
  for (const std::int64_t size : field.shape) {
    if (size < 0) return "";  // not known before it is read
  }
  return why_not(field.name, field.type, field.shape,
                 std::string("if they are one-hot, ") + take_argmax);
}

at::Tensor class_numbers(const at::Tensor& field, const std::string& name) {
  if (field.dim() == 0) throw Error("the field \"" + name + "\" is a single number");
  const bool one_hot = is_one_hot(field);
  const std::string why =
      why_not(name, field.scalar_type(), field.sizes().slice(1),
              (one_hot ? "they are one-hot: " : "if they are scores of classes, ") +
                  std::string(take_argmax));
  if (!why.empty()) throw Error(why);
  return field.flatten().to(at::kLong);
}

}  // namespace microtome
