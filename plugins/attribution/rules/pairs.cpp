#include "rules/pairs.h"

#include <limits>

#include "rules/operators.h"

namespace attribution {

using namespace microtome;

at::Tensor bounded(const at::Tensor& values) {
  // Leaves room below the largest float for products with numbers of usual size.
  constexpr double large = 1e20;
  return at::nan_to_num(values, std::numeric_limits<double>::quiet_NaN(), large, -large);
}

at::Tensor multiplier(const at::Tensor& of_output, const at::Tensor& of_input,
                      const at::Tensor& slope, const at::Tensor& size) {
  const at::Tensor fits =
      (slope * of_input - of_output).abs() <= size.abs().clamp_min(1) * least_difference;
  const at::Tensor by_slope = (of_input.abs() < least_difference).logical_and(fits);
  return at::where(by_slope, slope, of_output / of_input.masked_fill(of_input == 0, 1));
}

Pair pair_of(const BackwardCall& call, const at::Tensor& rows, std::int64_t samples) {
  if (rows.dim() == 0 || rows.size(0) % (2 * samples) != 0)
    refuse(call, "deep_lift", "works on a value whose first dimension is not the samples'");
  const std::int64_t half = rows.size(0) / 2;
  return {rows.narrow(0, 0, half), rows.narrow(0, half, half)};
}

at::Tensor ratio(const at::Tensor& numerator, const at::Tensor& denominator,
                 const at::Tensor& otherwise) {
  const at::Tensor none = denominator.abs() < least_difference;
  return at::where(none, otherwise, numerator / denominator.masked_fill(none, 1));
}

}  // namespace attribution
