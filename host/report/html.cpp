#include "host/report/html.h"

#include <png.h>
#include <turbojpeg.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>

#include "microtome/error.h"
#include "microtome/utf8.h"

namespace microtome::host::report {
namespace {

std::string encode_png(const at::Tensor& pixels) {
  const at::Tensor bytes = pixels.to(at::kByte).cpu().contiguous();
  png_image description;
  std::memset(&description, 0, sizeof description);
  description.version = PNG_IMAGE_VERSION;
  description.width = static_cast<png_uint_32>(bytes.size(1));
  description.height = static_cast<png_uint_32>(bytes.size(0));
  description.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = 0;
  const void* data = bytes.data_ptr<std::uint8_t>();
  if (png_image_write_to_memory(&description, nullptr, &size, 0, data, 0, nullptr) == 0)
    throw Error(std::string("a picture of the report can't be written: ") + description.message);
  std::string file(size, '\0');
  if (png_image_write_to_memory(&description, file.data(), &size, 0, data, 0, nullptr) == 0)
    throw Error(std::string("a picture of the report can't be written: ") + description.message);
  file.resize(size);
  return file;
}

std::string encode_jpeg(const at::Tensor& pixels) {
  constexpr int quality = 92;
  const at::Tensor bytes = pixels.to(at::kByte).cpu().contiguous();
  const std::unique_ptr<void, int (*)(tjhandle)> handle(tjInitCompress(), tjDestroy);
  unsigned char* data = nullptr;
  unsigned long size = 0;
  const int failed =
      tjCompress2(handle.get(), bytes.data_ptr<std::uint8_t>(), static_cast<int>(bytes.size(1)), 0,
                  static_cast<int>(bytes.size(0)), TJPF_RGB, &data, &size, TJSAMP_444, quality, 0);
  const std::unique_ptr<unsigned char, void (*)(unsigned char*)> owner(data, tjFree);
  if (failed != 0)
    throw Error(std::string("a picture of the report can't be written: ") +
                tjGetErrorStr2(handle.get()));
  return {reinterpret_cast<const char*>(data), size};
}

std::string base64(const std::string& bytes) {
  constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 3; ++k)
      group = group << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    for (std::size_t k = 0; k < 4; ++k)
      text += i + k > bytes.size() ? '=' : digits[group >> (18 - 6 * k) & 63U];
  }
  return text;
}

}  // namespace

namespace {

/// A byte that is no character: `\xE9`.
std::string visible(unsigned char byte) {
  constexpr char digits[] = "0123456789ABCDEF";
  return {'\\', 'x', digits[byte >> 4U], digits[byte & 15U]};
}

}  // namespace

std::string escape(std::string_view text) {
  std::string safe;
  std::size_t bad = find_invalid_utf8(text);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const auto byte = static_cast<unsigned char>(c);
    if (i == bad) {
      safe += visible(byte);
      bad = find_invalid_utf8(text, i + 1);
      continue;
    }
    switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      case '\'':
        safe += "&#39;";
        break;
      case '\n':
      case '\t':
        safe += c;
        break;
      default:
        safe += byte < 32 || byte == 127 ? visible(byte) : std::string(1, c);
    }
  }
  return safe;
}

std::string escape_name(std::string_view name) {
  std::string one_line;
  for (const char c : name) {
    if (c == '\n') {
      one_line += "\\n";
    } else if (c == '\t') {
      one_line += "\\t";
    } else {
      one_line += c;
    }
  }
  return escape(one_line);
}

std::string image(const at::Tensor& pixels, int width, const std::string& alt) {
  return "<img width=\"" + std::to_string(width) + "\" alt=\"" + escape(alt) +
         "\" src=\"data:image/png;base64," + base64(encode_png(pixels)) + "\">";
}

std::string photograph(const at::Tensor& pixels, int width, const std::string& alt) {
  constexpr std::int64_t smallest = 64;
  if (std::max(pixels.size(0), pixels.size(1)) <= smallest) return image(pixels, width, alt);
  return "<img width=\"" + std::to_string(width) + "\" alt=\"" + escape(alt) +
         "\" src=\"data:image/jpeg;base64," + base64(encode_jpeg(pixels)) + "\">";
}

std::string number(double value) {
  char text[40];
  const double size = std::abs(value);
  const bool plain = value == 0 || (size >= 1e-3 && size < 1e6);
  std::snprintf(text, sizeof text, plain ? "%.4g" : "%.3e", value);
  return text;
}

}  // namespace microtome::host::report
