#pragma once

#include <cstdint>

#include "microtome/sdk.h"

namespace attribution {

/// Infinities as numbers so large that products and quotients with others come out as they would in
/// the limit. An infinite value that the sample and its reference share then differs by 0, and one
/// that a later operator bounds (relu(log(0))) gets a multiplier whose product with that operator's
/// is finite.
at::Tensor bounded(const at::Tensor& values);

/// Values of N samples and of the reference of each, out of one tensor that has both.
struct Pair {
  at::Tensor sample, reference;
  /// Where they were in the tensor.
  std::int64_t dimension = 0, outer = 1;

  Pair bounded() const {
    return {attribution::bounded(sample), attribution::bounded(reference), dimension, outer};
  }
  at::Tensor difference() const { return sample - reference; }
  at::Tensor mean() const { return (sample + reference) / 2; }
  /// A tensor like the one that was split, of these for the samples and those for the references.
  at::Tensor joined(const at::Tensor& of_sample, const at::Tensor& of_reference) const;
  /// The same for both.
  at::Tensor both(const at::Tensor& values) const { return joined(values, values); }
};

/// Differences smaller than this count as none, and the gradient stands for their multiplier.
inline constexpr double least_difference = 1e-6;

/// Splits what lies like the call's tensor argument `argument` (as in `BackwardCall::recorded`).
/// Throws `microtome::Error` naming the operator where the rows can't be those of N samples and
/// their references.
Pair argument_pair(const microtome::BackwardCall& call, std::size_t argument,
                   const at::Tensor& value, std::int64_t samples);
/// The same for what lies like its output.
Pair output_pair(const microtome::BackwardCall& call, const at::Tensor& value,
                 std::int64_t samples);

/// Multiplier of a function of one value: difference of the output / difference of the input.
/// Where the input's counts as none, the slope stands for it; not so where the slope misses the
/// output's difference (a root near 0, where it grows without bound), and where nothing changed and
/// the slope is infinite the multiplier is 0, as is its product with the difference in the limit.
/// `size`: of the output, to which its rounding is relative.
at::Tensor multiplier(const at::Tensor& of_output, const at::Tensor& of_input,
                      const at::Tensor& slope, const at::Tensor& size);

/// numerator / denominator, and `otherwise` where the denominator counts as none.
at::Tensor ratio(const at::Tensor& numerator, const at::Tensor& denominator,
                 const at::Tensor& otherwise);

}  // namespace attribution
