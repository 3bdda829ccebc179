#pragma once

#include <filesystem>

#include "microtome/tensor.h"

namespace microtome::host {

/// A NumPy .npy file of numbers: any byte order, in C's or Fortran's order; unsigned integers come
/// in the next wider type. Throws `Error` naming the file, and for other types what to save.
at::Tensor read_npy(const std::filesystem::path& file);

}  // namespace microtome::host
