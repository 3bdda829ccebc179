#pragma once

#include <filesystem>
#include <string>
#include <variant>

#include "microtome/plugin.h"

namespace microtome::host {

/// Reads a plugin's descriptor from the file without running anything of it. Returns the
/// descriptor, or a sentence that says why the file is no plugin.
std::variant<PluginDescriptor, std::string> read_descriptor(const std::filesystem::path& file);

/// Why a host of this SDK, LibTorch and C++ ABI can't run such a plugin; empty when it can.
std::string incompatibility(const PluginDescriptor& descriptor);

}  // namespace microtome::host
