#include <algorithm>

#include "microtome/hook_point.h"

namespace microtome {
namespace {

std::int64_t wrap(std::int64_t index, std::int64_t size, const std::string& axis) {
  const std::int64_t wrapped = index < 0 ? index + size : index;
  if (wrapped < 0 || wrapped >= size) {
    throw Error("index " + std::to_string(index) + " is outside the axis \"" + axis +
                "\", which has " + std::to_string(size) + " entries");
  }
  return wrapped;
}

/// Whether the selector means a place of the flattened value.
bool is_flattened(const Selector& selector) {
  return selector.axes.size() == 1 && selector.axes[0].axis == "unit";
}

/// The value as the axes see it, and the dimension of each axis, in the order of dimensions.
struct Prepared {
  at::Tensor value;
  std::vector<std::pair<std::int64_t, std::vector<std::int64_t>>> picks;
};

Prepared prepare(const at::Tensor& value, const Selector& selector, const Axes& axes) {
  Prepared result{value, {}};
  const bool flattened = is_flattened(selector);
  if (flattened) result.value = value.flatten(1);
  for (const AxisSelection& axis : selector.axes) {
    const std::int64_t dimension = flattened ? 1 : axis_dimension(axis.axis, axes, value.dim());
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

}  // namespace

Axes remaining_axes(const Axes& axes, const Selector& selector) {
  if (selector.empty() || axes.empty()) return axes;
  if (is_flattened(selector)) return selector.axes[0].indices.size() == 1 ? Axes{} : Axes{"c"};
  Axes left = axes;
  std::vector<std::size_t> gone;
  const auto rank = static_cast<std::int64_t>(axes.size()) + 1;
  for (const AxisSelection& axis : selector.axes) {
    if (axis.indices.size() == 1)
      gone.push_back(static_cast<std::size_t>(axis_dimension(axis.axis, axes, rank)) - 1);
  }
  std::sort(gone.rbegin(), gone.rend());
  for (const std::size_t place : gone)
    left.erase(left.begin() + static_cast<std::ptrdiff_t>(place));
  if (selector.direction) {
    const std::int64_t along =
        axis_dimension("c", left, static_cast<std::int64_t>(left.size()) + 1) - 1;
    left.erase(left.begin() + along);
  }
  return left;
}

at::Tensor select(const at::Tensor& value, const Selector& selector, const Axes& axes,
                  const std::function<at::Tensor(const DirectionReference&)>& directions) {
  if (!selector.direction) return select(value, selector, axes, at::Tensor());
  if (!directions) {
    throw Error("the direction \"" + selector.direction->text() +
                "\" has no vector here; give the pass `directions`");
  }
  return select(value, selector, axes, directions(*selector.direction));
}

at::Tensor select(const at::Tensor& value, const Selector& selector, const Axes& axes,
                  const at::Tensor& direction) {
  if (selector.empty()) return value;
  Prepared prepared = prepare(value, selector, axes);
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
    Selector parts;
    parts.axes = selector.axes;
    const std::int64_t dimension = axis_dimension("c", remaining_axes(axes, parts), result.dim());
    if (direction.numel() != result.size(dimension)) {
      throw Error("the direction has " + std::to_string(direction.numel()) +
                  " entries, the value " + std::to_string(result.size(dimension)));
    }
    result = at::tensordot(result, direction.to(result.options()).flatten(), {dimension}, {0});
  }
  return result;
}

at::Tensor assign(const at::Tensor& value, const Selector& selector, const Axes& axes,
                  const at::Tensor& part) {
  if (selector.direction)
    throw Error("a part along a direction cannot be assigned; edit the value");
  // What is handed on as a whole has its own memory: views of it may be taken.
  if (selector.empty())
    return part.sizes() == value.sizes() ? part : part.expand_as(value).contiguous();
  const Prepared prepared = prepare(value, selector, axes);
  // Positions of the selected part in the flattened value, found by selecting from a counter.
  const at::Tensor counter = at::arange(prepared.value.numel(),
                                        at::TensorOptions().dtype(at::kLong).device(value.device()))
                                 .view(prepared.value.sizes());
  const at::Tensor places = select(counter.view(value.sizes()), selector, axes).reshape(-1);
  const at::Tensor expanded = part.expand_as(select(value, selector, axes)).reshape(-1);
  return value.reshape(-1).index_put({places}, expanded).view(value.sizes());
}

}  // namespace microtome
