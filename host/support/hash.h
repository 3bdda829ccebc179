#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace microtome::host {

/// XXH3 of 128 bits, as 32 hexadecimal digits. Not cryptographic: it finds changes, not forgeries.
std::string hash_text(std::string_view text);
/// A seed for random numbers that belong to this text alone.
std::uint64_t seed_of(std::string_view text);
/// Of a file's content. Throws `Error` naming the file.
std::string hash_file(const std::filesystem::path& file);

}  // namespace microtome::host
