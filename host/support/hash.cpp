#include "host/support/hash.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <memory>
#include <vector>

#include "microtome/error.h"

namespace microtome::host {
namespace {

std::string text_of(XXH128_hash_t hash) {
  std::array<char, 33> text{};
  std::snprintf(text.data(), text.size(), "%016llx%016llx",
                static_cast<unsigned long long>(hash.high64),
                static_cast<unsigned long long>(hash.low64));
  return text.data();
}

}  // namespace

std::string hash_text(std::string_view text) {
  return text_of(XXH3_128bits(text.data(), text.size()));
}

std::uint64_t seed_of(std::string_view text) {
  return std::stoull(hash_text(text).substr(0, 15), nullptr, 16);
}

std::string hash_file(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw Error("the file " + file.string() + " can't be read");
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(),
                                                                       &XXH3_freeState);
  XXH3_128bits_reset(state.get());
  std::error_code code;
  const std::uintmax_t size = std::filesystem::file_size(file, code);
  // Most files are small, and clearing a large buffer costs more than reading them.
  constexpr std::uintmax_t most = 1 << 20;
  std::vector<char> buffer(code ? most : std::min(size + 1, most));
  while (stream) {
    stream.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    XXH3_128bits_update(state.get(), buffer.data(), static_cast<std::size_t>(stream.gcount()));
  }
  return text_of(XXH3_128bits_digest(state.get()));
}

}  // namespace microtome::host
