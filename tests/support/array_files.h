#pragma once

#include <string>
#include <vector>

#include "microtome/tensor.h"

namespace microtome::testing {

/// The bytes of a tensor in the order of its dimensions.
std::string bytes_of(const at::Tensor& value);

/// A .npy file as NumPy writes it: `description` such as "'<f8'", `shape` such as "(3, 4)".
std::string npy_file(const std::string& description, const std::string& shape,
                     const std::string& bytes, bool fortran_order = false);

/// A tensor of a safetensors file: `shape` such as "[3, 4]".
struct FileTensor {
  std::string name, type, shape, bytes;
};
std::string safetensors_file(const std::vector<FileTensor>& tensors);

}  // namespace microtome::testing
