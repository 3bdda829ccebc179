#pragma once

#include <filesystem>

#include "host/model/program.h"
#include "microtome/tensor.h"

namespace microtome::host::torchscript {

/// Reads a TorchScript file, scripted or traced. Throws `Error` naming the file and, where an
/// operator can't be kept, the operator and its line in the model's source.
Program load(const std::filesystem::path& file);

/// What the file's own interpreter returns for these inputs, undefined for those that are left out:
/// tensors flattened in the order of the program's outputs. For checking.
std::vector<at::Tensor> run_original(const std::filesystem::path& file,
                                     const std::vector<at::Tensor>& inputs);

}  // namespace microtome::host::torchscript
