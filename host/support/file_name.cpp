#include "host/support/file_name.h"

#include <cctype>

#include "host/support/hash.h"

namespace microtome::host {

std::string safe_file_name(std::string_view text, std::string_view kept, std::size_t most) {
  constexpr std::string_view plain = "._-";
  constexpr char digits[] = "0123456789abcdef";
  std::string safe;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x80 && std::isalnum(byte) != 0) || plain.find(c) != std::string_view::npos ||
        kept.find(c) != std::string_view::npos) {
      safe += c;
    } else {
      safe += '%';
      safe += digits[byte >> 4U];
      safe += digits[byte & 15U];
    }
  }
  if (safe.size() <= most) return safe;
  const std::string hash = hash_text(text);
  return safe.substr(0, most - hash.size() - 1) + "-" + hash;
}

}  // namespace microtome::host
