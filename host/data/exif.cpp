#include "host/data/exif.h"

#include <cstddef>
#include <cstdint>
#include <optional>

namespace microtome::host {
namespace {

/// Reads numbers of the TIFF part in its own byte order.
class Tiff {
 public:
  explicit Tiff(std::string_view bytes) : bytes_(bytes), little_(bytes.substr(0, 2) == "II") {}

  std::optional<std::uint32_t> number(std::size_t offset, std::size_t size) const {
    if (offset + size > bytes_.size()) return std::nullopt;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < size; ++i) {
      const std::size_t at = little_ ? offset + size - 1 - i : offset + i;
      value = value << 8 | static_cast<unsigned char>(bytes_[at]);
    }
    return value;
  }

 private:
  std::string_view bytes_;
  bool little_;
};

int orientation_in(std::string_view tiff) {
  const Tiff reader(tiff);
  const auto directory = reader.number(4, 4);
  if (!directory) return 1;
  const auto count = reader.number(*directory, 2);
  for (std::uint32_t i = 0; count && i < *count; ++i) {
    const std::size_t entry = *directory + 2 + std::size_t{12} * i;
    if (reader.number(entry, 2) != std::uint32_t{0x0112}) continue;
    const auto value = reader.number(entry + 8, 2);
    return value && *value >= 1 && *value <= 8 ? static_cast<int>(*value) : 1;
  }
  return 1;
}

int of_jpeg(std::string_view jpeg) {
  std::size_t at = 2;
  while (at + 4 <= jpeg.size() && static_cast<unsigned char>(jpeg[at]) == 0xFF) {
    const auto marker = static_cast<unsigned char>(jpeg[at + 1]);
    if (marker == 0xDA) break;  // the picture itself
    const std::size_t length =
        static_cast<unsigned char>(jpeg[at + 2]) * 256U + static_cast<unsigned char>(jpeg[at + 3]);
    const std::string_view segment = jpeg.substr(at + 4, length < 2 ? 0 : length - 2);
    if (marker == 0xE1 && segment.substr(0, 6) == std::string_view("Exif\0\0", 6)) {
      return orientation_in(segment.substr(6));
    }
    at += 2 + length;
  }
  return 1;
}

int of_png(std::string_view png) {
  std::size_t at = 8;
  while (at + 12 <= png.size()) {
    std::size_t length = 0;
    for (std::size_t i = 0; i < 4; ++i)
      length = length << 8 | static_cast<unsigned char>(png[at + i]);
    if (png.substr(at + 4, 4) == "eXIf") return orientation_in(png.substr(at + 8, length));
    at += 12 + length;
  }
  return 1;
}

}  // namespace

int exif_orientation(std::string_view image) {
  return image.substr(0, 4) == "\x89PNG" ? of_png(image) : of_jpeg(image);
}

}  // namespace microtome::host
