#pragma once

#include <filesystem>
#include <string>

namespace microtome::host::torchscript {

/// `it is ...; what to do`, when a file certainly is not TorchScript: weights, another framework's
/// model, a pointer, a folder. Empty when it may be.
std::string why_not_torchscript(const std::filesystem::path& file);

}  // namespace microtome::host::torchscript
