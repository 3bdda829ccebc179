#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "microtome/tensor.h"

namespace [[gnu::visibility("default")]] microtome {

/// What the dimensions of a value after N are, in their order:
///   `c`      channels, units, features; a class of a network's output
///   `z` `y` `x`  places of a volume, an image, a signal
///   `token`  positions of a sequence, or of what was made one
///   `head`, `query`, `key`  of attention
///   `window` parts that a network cuts its positions into
/// Empty text: not known.
///
/// They come from the operators that make and read the value (a convolution, a linear layer, a
/// permutation), never from its rank, or from `axes` in the pipeline.
using Axes = std::vector<std::string>;

/// Names that a pipeline may use.
const std::vector<std::string>& axis_names();

/// The dimension (1 is the first after N) of a value of `rank` that `axis` names. `unit` is another
/// word for `c`, `position` for `token`; `token` is also `x` where there is no `y`. `dimK` is
/// dimension K whatever it is called. Throws `Error` listing the axes that there are, or saying
/// that they are not known and how to declare them.
std::int64_t axis_dimension(std::string_view axis, const Axes& axes, std::int64_t rank);

/// Whether an axis of this name is among them, without an error.
bool has_axis(std::string_view axis, const Axes& axes);

/// The dimensions that hold places: all but channels and heads. Throws `Error` when an axis is not
/// known.
std::vector<std::int64_t> place_dimensions(const Axes& axes);

/// Whether the value is N x channels x height x width, in this order.
bool is_map(const Axes& axes);

/// The value, N first, with its channels second and the other dimensions in their order. Throws
/// `Error` when the axis `c` is not known.
at::Tensor channels_first(const at::Tensor& value, const Axes& axes);

/// `c, y, x`, with `?` for what is not known.
std::string axes_text(const Axes& axes);

}  // namespace microtome
