#pragma once

#include <cstdint>

#include "microtome/sdk.h"

namespace attribution {

/// Values of N samples followed by those of the reference of each.
struct Pair {
  at::Tensor sample, reference;

  at::Tensor difference() const { return sample - reference; }
  at::Tensor mean() const { return (sample + reference) / 2; }
};

/// Differences smaller than this count as none, and the gradient stands for their multiplier.
inline constexpr double least_difference = 1e-6;

/// Splits rows. Throws `microtome::Error` naming the operator where the rows can't be those of N
/// samples and their references.
Pair pair_of(const microtome::BackwardCall& call, const at::Tensor& rows, std::int64_t samples);

/// The same for both.
inline at::Tensor both(const at::Tensor& values) { return at::cat({values, values}); }

/// numerator / denominator, and `otherwise` where the denominator counts as none.
at::Tensor ratio(const at::Tensor& numerator, const at::Tensor& denominator,
                 const at::Tensor& otherwise);

}  // namespace attribution
