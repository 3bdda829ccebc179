#pragma once

#include <array>
#include <cstdint>

#include "microtome/tensor.h"

namespace microtome::host {

/// The gradient by its input of a convolution with 3 x 3 kernels and stride 1, by minimal filtering
/// F(4 x 4, 3 x 3): 36 products for 16 values where the convolution itself takes 144. float32, on
/// the CPU. Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016; points as
/// in Alam and others, Winograd Convolution for Deep Neural Networks: Efficient Point Selection,
/// 2022.
///
/// Its rounding is some 2e-6 of the largest value, where that of the convolution is 3e-7.
class WinogradGradient {
 public:
  using Padding = std::array<std::int64_t, 2>;  ///< by height and by width
  static constexpr std::int64_t tile = 4;       ///< edge of what is computed together
  /// Tiles along so many values; the last may hang over.
  static constexpr std::int64_t tiles(std::int64_t values) { return (values + tile - 1) / tile; }
  /// Channels go in groups of so many.
  static constexpr std::int64_t lanes = 16;

  /// Bytes that are kept for such a weight: four times what it has itself.
  static std::int64_t bytes(const at::Tensor& weight);
  /// Of shape [out, in, 3, 3], float32; both counts multiples of `lanes`.
  explicit WinogradGradient(const at::Tensor& weight);

  /// `gradient`: [rows, out, height, width], by the convolution's result. `padding`, the
  /// convolution's, from 0 to 2. The result is [rows, in, ...] in the same order of memory.
  at::Tensor operator()(const at::Tensor& gradient, const Padding& padding) const;

 private:
  at::Tensor filters_;  ///< [36, out, in]
};

}  // namespace microtome::host
