#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "microtome/tensor.h"

namespace microtome::testing {

/// A chunk of a PNG file: length, name, content, checksum.
std::string png_chunk(const std::string& name, const std::string& content);

/// A PNG file put together by hand, so that tests know each stored byte. Rows are bytes as the file
/// holds them, without compression or filters.
struct PngFile {
  std::uint32_t width = 0, height = 0;
  int depth = 8;   ///< bits of a sample
  int colour = 2;  ///< 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGB with alpha
  std::vector<std::string> rows;
  std::vector<std::pair<std::string, std::string>> before;  ///< chunks before the pixels
  std::vector<std::pair<std::string, std::string>> after;   ///< and after them

  std::string bytes() const;
};

/// Of C x H x W, 8 bit; C of the colour type.
PngFile png_of(const at::Tensor& image, int colour);

}  // namespace microtome::testing
