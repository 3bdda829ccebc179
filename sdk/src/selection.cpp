#include <algorithm>

#include "microtome/hook_point.h"

namespace microtome {
namespace {

std::vector<std::string> axes_of_rank(std::int64_t rank, bool integral) {
  switch (rank) {
    case 2:
      return integral ? std::vector<std::string>{"token", "unit", "c"}
                      : std::vector<std::string>{"unit", "c"};
    case 3:
      return {"token", "unit", "c"};
    case 4:
      return {"c", "head", "y", "x", "token", "unit", "query", "key"};
    default:
      return {};
  }
}

std::int64_t wrap(std::int64_t index, std::int64_t size, const std::string& axis) {
  const std::int64_t wrapped = index < 0 ? index + size : index;
  if (wrapped < 0 || wrapped >= size) {
    throw Error("index " + std::to_string(index) + " is outside the axis \"" + axis +
                "\", which has " + std::to_string(size) + " entries");
  }
  return wrapped;
}

/// The value as the axes see it, and the dimension of each axis, in the order of dimensions.
struct Prepared {
  at::Tensor value;
  std::vector<std::pair<std::int64_t, std::vector<std::int64_t>>> picks;
};

Prepared prepare(const at::Tensor& value, const Selector& selector) {
  Prepared result{value, {}};
  const bool integral = c10::isIntegralType(value.scalar_type(), false);
  const bool flattened = selector.axes.size() == 1 && selector.axes[0].axis == "unit";
  if (flattened) result.value = value.flatten(1);
  for (const AxisSelection& axis : selector.axes) {
    const std::int64_t dimension = flattened ? 1 : axis_dimension(axis.axis, value.dim(), integral);
    for (const auto& [taken, indices] : result.picks) {
      if (taken == dimension) throw Error("two axes of the selector name the same dimension");
    }
    std::vector<std::int64_t> wrapped;
    for (const std::int64_t index : axis.indices) {
      wrapped.push_back(wrap(index, result.value.size(dimension), axis.axis));
    }
    result.picks.emplace_back(dimension, std::move(wrapped));
  }
  std::sort(result.picks.begin(), result.picks.end());
  return result;
}

/// The dimension along which a direction lies: channels of N x C x H x W, else the last.
std::int64_t direction_dimension(const at::Tensor& value) { return value.dim() == 4 ? 1 : -1; }

}  // namespace

std::int64_t axis_dimension(std::string_view axis, std::int64_t rank, bool integral) {
  if (axis.substr(0, 3) == "dim" && axis.size() == 4) {
    const std::int64_t dimension = axis[3] - '0';
    if (dimension >= 1 && dimension < rank) return dimension;
  }
  const auto known = axes_of_rank(rank, integral);
  if (std::find(known.begin(), known.end(), axis) != known.end()) {
    if (rank == 2) return 1;
    if (rank == 3) return axis == "token" ? 1 : 2;
    if (axis == "c" || axis == "head") return 1;
    return axis == "y" || axis == "token" || axis == "query" ? 2 : 3;
  }
  std::string names;
  for (const std::string& name : known) names += name + ", ";
  throw Error("a value of rank " + std::to_string(rank) + " has no axis \"" + std::string(axis) +
              "\"; it has " + names + "dim1 to dim" +
              std::to_string(std::max<std::int64_t>(rank - 1, 1)));
}

at::Tensor select(const at::Tensor& value, const Selector& selector,
                  const std::function<at::Tensor(const DirectionReference&)>& directions) {
  if (!selector.direction) return select(value, selector, at::Tensor());
  if (!directions) {
    throw Error("the direction \"" + selector.direction->text() +
                "\" has no vector here; give the pass `directions`");
  }
  return select(value, selector, directions(*selector.direction));
}

at::Tensor select(const at::Tensor& value, const Selector& selector, const at::Tensor& direction) {
  if (selector.empty()) return value;
  Prepared prepared = prepare(value, selector);
  at::Tensor result = prepared.value;
  // From the last dimension, so that dropping one does not move those before it.
  for (auto pick = prepared.picks.rbegin(); pick != prepared.picks.rend(); ++pick) {
    const auto& [dimension, indices] = *pick;
    if (indices.size() == 1) {
      result = result.select(dimension, indices[0]);
    } else {
      result = result.index_select(dimension, at::tensor(indices).to(result.device()));
    }
  }
  if (selector.direction) {
    if (!direction.defined()) throw Error("the selector needs the vector of its direction");
    const std::int64_t dimension = direction_dimension(result);
    if (direction.numel() != result.size(dimension)) {
      throw Error("the direction has " + std::to_string(direction.numel()) +
                  " entries, the value " + std::to_string(result.size(dimension)));
    }
    result = at::tensordot(result, direction.to(result.options()).flatten(), {dimension}, {0});
  }
  return result;
}

at::Tensor assign(const at::Tensor& value, const Selector& selector, const at::Tensor& part) {
  if (selector.direction)
    throw Error("a part along a direction cannot be assigned; edit the value");
  // What is handed on as a whole has its own memory: views of it may be taken.
  if (selector.empty())
    return part.sizes() == value.sizes() ? part : part.expand_as(value).contiguous();
  const Prepared prepared = prepare(value, selector);
  // Positions of the selected part in the flattened value, found by selecting from a counter.
  const at::Tensor counter = at::arange(prepared.value.numel(),
                                        at::TensorOptions().dtype(at::kLong).device(value.device()))
                                 .view(prepared.value.sizes());
  const at::Tensor places = select(counter.view(value.sizes()), selector).reshape(-1);
  const at::Tensor expanded = part.expand_as(select(value, selector)).reshape(-1);
  return value.reshape(-1).index_put({places}, expanded).view(value.sizes());
}

}  // namespace microtome
