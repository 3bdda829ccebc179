#pragma once

#include "microtome/tensor.h"

namespace microtome::host::report {

/// [C, H, W] in 0..1 as [H, W, 3] of 8 bit; one channel is grey.
at::Tensor to_rgb(const at::Tensor& image);

/// [C, H, W] with no side longer than `pixels`, by averaging; smaller ones as they are.
at::Tensor at_most(const at::Tensor& image, std::int64_t pixels);

/// [H, W] as [H, W, 3]: blue below 0, red above, white at 0, full colour at the largest absolute
/// value.
at::Tensor diverging(const at::Tensor& values);

/// The same colours over the grey image, denser where the value is larger. `values` is brought to
/// the image's size, each value a block.
at::Tensor overlay(const at::Tensor& image, const at::Tensor& values);

}  // namespace microtome::host::report
