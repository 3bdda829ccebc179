#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "microtome/tensor.h"

namespace microtome::testing {

/// Reads a safetensors file independently of the host's own reader.
std::map<std::string, at::Tensor> read_safetensors(const std::filesystem::path& file);

}  // namespace microtome::testing
