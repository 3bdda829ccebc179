#pragma once

#include "microtome/tensor.h"

namespace activation_maximization {

/// How far images are moved at random before the network sees them.
struct Transformation {
  double jitter = 8;         ///< pixels each way
  double rotation = 5;       ///< degrees each way
  double scale = 0.1;        ///< share each way
  std::int64_t padding = 8;  ///< pixels of grey around the image

  /// Each image by a move of its own, in one bilinear step. Gradients pass.
  at::Tensor apply(const at::Tensor& images, at::Generator& generator) const;
};

}  // namespace activation_maximization
