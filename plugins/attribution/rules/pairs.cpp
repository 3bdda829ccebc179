#include "rules/pairs.h"

#include "rules/operators.h"

namespace attribution {

using namespace microtome;

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
