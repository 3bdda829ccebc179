#pragma once

#include <string>
#include <string_view>

namespace microtome::host {

/// A file's name for a text that may hold any character: letters, digits, `.`, `_`, `-` and those
/// of `kept` stay, others become % and two hexadecimal digits. What would be longer than `most`
/// bytes is cut and ends with a hash of the whole text.
std::string safe_file_name(std::string_view text, std::string_view kept = {},
                           std::size_t most = 200);

}  // namespace microtome::host
