#pragma once

#include "factors.h"
#include "microtome/tensor.h"

namespace shapes {

/// An image and where its object is.
struct Painting {
  at::Tensor image;  ///< [3, S, S] float32 in 0..1
  at::Tensor mask;   ///< [S, S] bool, true on the object
};

/// Paints with these factors; what they leave open (angle, exact place and size, phase of the
/// texture, noise) is drawn from `seed` alone, so that images of one seed differ in their factors
/// and in nothing else.
Painting paint(const Factors& factors, std::int64_t side, std::uint64_t seed);

}  // namespace shapes
