#pragma once

#include <string>

#include "microtome/tensor.h"
#include "microtome/value.h"

namespace microtome::host {

/// In what type a dataset gives a field, whatever that of its file: `convert: {x: float32}`.
struct Conversion {
  at::ScalarType to = at::kFloat;
  bool is_pixels = false;  ///< 8-bit values become numbers in 0..1; real numbers have to be there

  /// `float32` and the like, or `pixels` for a field of uint8 or of real numbers. Throws `Error`
  /// with the place.
  static Conversion read(const Value& value, at::ScalarType from);
  /// The values in the new type. Real numbers are rounded to the nearest; all else must be the same
  /// number there. Throws `Error` naming the value that does not fit.
  at::Tensor apply(const at::Tensor& values) const;
  /// As the pipeline has it.
  std::string text() const;
};

}  // namespace microtome::host
