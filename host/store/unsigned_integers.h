#pragma once

#include "microtome/tensor.h"

namespace microtome::host {

/// Integers that LibTorch has no type for.
enum class UnsignedType { bits16, bits32, bits64 };

/// The type of the same width that their bytes are read into.
at::ScalarType held_in(UnsignedType type);
/// Their values in a type that has them: int32 for 16 bits, else int64. Throws `Error` for a value
/// of 2^63 or more.
at::Tensor widened(const at::Tensor& held, UnsignedType type);

}  // namespace microtome::host
