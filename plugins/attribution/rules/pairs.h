#pragma once

#include <cstdint>

#include "microtome/sdk.h"

namespace attribution {

/// Infinities as numbers so large that products and quotients with others come out as they would in
/// the limit. An infinite value that the sample and its reference share then differs by 0, and one
/// that a later operator bounds (relu(log(0))) gets a multiplier whose product with that operator's
/// is finite.
at::Tensor bounded(const at::Tensor& values);

/// Values of N samples followed by those of the reference of each.
struct Pair {
  at::Tensor sample, reference;

  Pair bounded() const { return {attribution::bounded(sample), attribution::bounded(reference)}; }
  at::Tensor difference() const { return sample - reference; }
  at::Tensor mean() const { return (sample + reference) / 2; }
};

/// Differences smaller than this count as none, and the gradient stands for their multiplier.
inline constexpr double least_difference = 1e-6;

/// Splits rows. Throws `microtome::Error` naming the operator where the rows can't be those of N
/// samples and their references.
Pair pair_of(const microtome::BackwardCall& call, const at::Tensor& rows, std::int64_t samples);

/// Multiplier of a function of one value: difference of the output / difference of the input.
/// Where the input's counts as none, the slope stands for it; not so where the slope misses the
/// output's difference (a root near 0, where it grows without bound), and where nothing changed and
/// the slope is infinite the multiplier is 0, as is its product with the difference in the limit.
/// `size`: of the output, to which its rounding is relative.
at::Tensor multiplier(const at::Tensor& of_output, const at::Tensor& of_input,
                      const at::Tensor& slope, const at::Tensor& size);

/// The same for both.
inline at::Tensor both(const at::Tensor& values) { return at::cat({values, values}); }

/// numerator / denominator, and `otherwise` where the denominator counts as none.
at::Tensor ratio(const at::Tensor& numerator, const at::Tensor& denominator,
                 const at::Tensor& otherwise);

}  // namespace attribution
