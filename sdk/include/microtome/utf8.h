#pragma once

#include <cstddef>
#include <string_view>

namespace [[gnu::visibility("default")]] microtome {

/// Where the first byte at or after `from` that is not part of UTF-8 stands; npos where all is.
std::size_t find_invalid_utf8(std::string_view text, std::size_t from = 0);

}  // namespace microtome
