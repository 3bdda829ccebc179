#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "microtome/value.h"

namespace microtome::host {

/// Reads YAML into a tree of our own, guarded: at most 4 MB of valid UTF-8, 100 levels, 100,000
/// nodes with aliases counted as often as they stand; duplicate keys, merge keys, cycles, tags and
/// second documents are refused. `name` is what errors call the text. Throws `Error` with a
/// location.
Value read_yaml(std::string_view text, const std::string& name);
Value read_yaml_file(const std::filesystem::path& file);

}  // namespace microtome::host
