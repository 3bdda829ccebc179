#include "microtome/axes.h"

#include <algorithm>
#include <optional>

#include "microtome/error.h"

namespace microtome {
namespace {

std::string_view plain_name(std::string_view axis) {
  if (axis == "unit") return "c";
  if (axis == "position") return "token";
  return axis;
}

std::int64_t count_of(std::string_view axis, const Axes& axes) {
  return std::count(axes.begin(), axes.end(), axis);
}

/// The name under which `axis` is among the axes; nothing when it is not.
std::optional<std::string_view> name_among(std::string_view axis, const Axes& axes) {
  const std::string_view name = plain_name(axis);
  if (count_of(name, axes) > 0) return name;
  if (name == "token" && count_of("x", axes) > 0 && count_of("y", axes) == 0) return "x";
  return std::nullopt;
}

std::optional<std::int64_t> numbered(std::string_view axis, std::int64_t rank) {
  if (axis.substr(0, 3) != "dim" || axis.size() != 4) return std::nullopt;
  const std::int64_t dimension = axis[3] - '0';
  return dimension >= 1 && dimension < rank ? std::optional(dimension) : std::nullopt;
}

bool any_unknown(const Axes& axes) { return count_of("", axes) > 0; }

constexpr const char* remedy =
    "the operators that make and read the value do not tell; declare them under the model: axes: "
    "{\"HOOK POINT\": [c, y, x]}";

}  // namespace

const std::vector<std::string>& axis_names() {
  static const std::vector<std::string> names = {"c",    "z",     "y",   "x",     "token",
                                                 "head", "query", "key", "window"};
  return names;
}

bool has_axis(std::string_view axis, const Axes& axes) {
  return name_among(axis, axes).has_value();
}

std::int64_t axis_dimension(std::string_view axis, const Axes& axes, std::int64_t rank) {
  if (const auto dimension = numbered(axis, rank)) return *dimension;
  const std::string numbers = "dim1 to dim" + std::to_string(std::max<std::int64_t>(rank - 1, 1));
  const bool known = static_cast<std::int64_t>(axes.size()) == rank - 1;
  const auto name = known ? name_among(axis, axes) : std::nullopt;
  if (!name) {
    if (!known || any_unknown(axes))
      throw Error("which axis of the value is \"" + std::string(axis) + "\" is not known (" +
                  (known ? axes_text(axes) : "none is") + "): " + remedy + ", or write " + numbers);
    throw Error("the value has no axis \"" + std::string(axis) + "\"; it has " + axes_text(axes) +
                ", also as " + numbers);
  }
  if (count_of(*name, axes) > 1)
    throw Error("the value has several axes \"" + std::string(axis) + "\" (" + axes_text(axes) +
                "); write " + numbers);
  return std::find(axes.begin(), axes.end(), *name) - axes.begin() + 1;
}

std::vector<std::int64_t> place_dimensions(const Axes& axes) {
  if (any_unknown(axes) || axes.empty())
    throw Error("which axes of the value are places is not known (" + axes_text(axes) +
                "): " + remedy);
  std::vector<std::int64_t> places;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    if (axes[i] != "c" && axes[i] != "head") places.push_back(static_cast<std::int64_t>(i) + 1);
  }
  return places;
}

bool is_map(const Axes& axes) { return axes == Axes{"c", "y", "x"}; }

at::Tensor channels_first(const at::Tensor& value, const Axes& axes) {
  return value.movedim(axis_dimension("c", axes, value.dim()), 1);
}

std::string axes_text(const Axes& axes) {
  std::string text;
  for (const std::string& axis : axes)
    text += (text.empty() ? "" : ", ") + (axis.empty() ? "?" : axis);
  return text;
}

}  // namespace microtome
