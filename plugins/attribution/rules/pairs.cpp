#include "rules/pairs.h"

#include <cmath>
#include <limits>
#include <vector>

#include "rules/operators.h"

namespace attribution {

using namespace microtome;

namespace {

/// The dimension as outer x everything else.
at::Tensor opened(const at::Tensor& value, std::int64_t dimension, std::int64_t outer) {
  const std::vector<std::int64_t> parts{outer, value.size(dimension) / outer};
  return value.unflatten(dimension, parts);
}

Pair split(const BackwardCall& call, const at::Tensor& value, std::int64_t samples,
           const SamplePlace& place) {
  const std::int64_t rows = 2 * samples;
  if (value.dim() <= place.dimension || value.size(place.dimension) % rows != 0)
    refuse(call, "deep_lift", "works on a value that does not hold the samples and references");
  const std::int64_t size = value.size(place.dimension);
  Pair pair;
  pair.dimension = place.dimension;
  if (place.outer > 1) pair.outer = place.inner == 1 ? size / rows : place.outer;
  if (pair.outer == 1) {
    pair.sample = value.narrow(place.dimension, 0, size / 2);
    pair.reference = value.narrow(place.dimension, size / 2, size / 2);
    return pair;
  }
  const at::Tensor open = opened(value, place.dimension, pair.outer);
  const std::int64_t half = open.size(place.dimension + 1) / 2;
  const auto part = [&](std::int64_t first) {
    return open.narrow(place.dimension + 1, first, half)
        .flatten(place.dimension, place.dimension + 1);
  };
  pair.sample = part(0);
  pair.reference = part(half);
  return pair;
}

}  // namespace

at::Tensor bounded(const at::Tensor& values) {
  // Leaves room below the largest float for products with numbers of usual size.
  constexpr double large = 1e20;
  // As a rule there are none, which a sum tells in one go through them.
  if (std::isfinite(values.sum().item<double>())) return values;
  return at::nan_to_num(values, std::numeric_limits<double>::quiet_NaN(), large, -large);
}

at::Tensor multiplier(const at::Tensor& of_output, const at::Tensor& of_input,
                      const at::Tensor& slope, const at::Tensor& size) {
  const at::Tensor fits =
      (slope * of_input - of_output).abs() <= size.abs().clamp_min(1) * least_difference;
  const at::Tensor by_slope = (of_input.abs() < least_difference).logical_and(fits);
  return at::where(by_slope, slope, of_output / of_input.masked_fill(of_input == 0, 1));
}

at::Tensor Pair::joined(const at::Tensor& of_sample, const at::Tensor& of_reference) const {
  if (outer == 1) return at::cat({of_sample, of_reference}, dimension);
  return at::cat({opened(of_sample, dimension, outer), opened(of_reference, dimension, outer)},
                 dimension + 1)
      .flatten(dimension, dimension + 1);
}

Pair argument_pair(const BackwardCall& call, std::size_t argument, const at::Tensor& value,
                   std::int64_t samples) {
  return split(call, value, samples, call.argument_place(argument));
}

Pair output_pair(const BackwardCall& call, const at::Tensor& value, std::int64_t samples) {
  return split(call, value, samples, call.output_place(0));
}

at::Tensor ratio(const at::Tensor& numerator, const at::Tensor& denominator,
                 const at::Tensor& otherwise) {
  const at::Tensor none = denominator.abs() < least_difference;
  return at::where(none, otherwise, numerator / denominator.masked_fill(none, 1));
}

}  // namespace attribution
