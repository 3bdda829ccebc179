#include "tests/support/png_file.h"

namespace microtome::testing {
namespace {

std::string big_endian(std::uint32_t value) {
  return {static_cast<char>(value >> 24U), static_cast<char>(value >> 16U & 255U),
          static_cast<char>(value >> 8U & 255U), static_cast<char>(value & 255U)};
}

std::uint32_t crc(const std::string& bytes) {
  std::uint32_t value = 0xFFFFFFFFU;
  for (const char c : bytes) {
    value ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit)
      value = (value & 1U) != 0 ? value >> 1U ^ 0xEDB88320U : value >> 1U;
  }
  return ~value;
}

/// A zlib stream of stored blocks.
std::string stored(const std::string& bytes) {
  std::string stream = "\x78\x01";
  for (std::size_t at = 0; at < bytes.size() || at == 0; at += 65535) {
    const std::string part = bytes.substr(at, 65535);
    const auto size = static_cast<unsigned>(part.size());
    stream += static_cast<char>(at + 65535 >= bytes.size() ? 1 : 0);
    for (const unsigned number : {size, ~size}) {
      stream += static_cast<char>(number & 255U);
      stream += static_cast<char>(number >> 8U & 255U);
    }
    stream += part;
  }
  std::uint32_t a = 1, b = 0;
  for (const char c : bytes) {
    a = (a + static_cast<unsigned char>(c)) % 65521;
    b = (b + a) % 65521;
  }
  return stream + big_endian(b << 16U | a);
}

}  // namespace

std::string png_chunk(const std::string& name, const std::string& content) {
  return big_endian(static_cast<std::uint32_t>(content.size())) + name + content +
         big_endian(crc(name + content));
}

std::string PngFile::bytes() const {
  std::string header = big_endian(width) + big_endian(height);
  header += static_cast<char>(depth);
  header += static_cast<char>(colour);
  header += std::string(3, '\0');
  std::string file = "\x89PNG\r\n\x1a\n" + png_chunk("IHDR", header);
  for (const auto& [name, content] : before) file += png_chunk(name, content);
  std::string pixels;
  for (const std::string& row : rows) pixels += '\0' + row;
  file += png_chunk("IDAT", stored(pixels));
  for (const auto& [name, content] : after) file += png_chunk(name, content);
  return file + png_chunk("IEND", "");
}

PngFile png_of(const at::Tensor& image, int colour) {
  PngFile file;
  file.height = static_cast<std::uint32_t>(image.size(1));
  file.width = static_cast<std::uint32_t>(image.size(2));
  file.colour = colour;
  const at::Tensor rows = image.permute({1, 2, 0}).contiguous();
  for (std::int64_t y = 0; y < rows.size(0); ++y) {
    const auto* bytes = reinterpret_cast<const char*>(rows[y].data_ptr<std::uint8_t>());
    file.rows.emplace_back(bytes, bytes + rows[y].numel());
  }
  return file;
}

}  // namespace microtome::testing
