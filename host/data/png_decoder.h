#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "microtome/tensor.h"

namespace microtome::host {

/// Width and height as the file's header says; nothing without a header.
std::optional<std::pair<std::int64_t, std::int64_t>> png_size(std::string_view bytes);

/// Decodes a PNG file to 3 x H x W, 8 bit, RGB: the stored values, without gamma or colour profile.
/// Grey becomes RGB, 16 bits v become round(v * 255 / 65535), fewer than 8 are spread over 0..255,
/// alpha and transparent colours are dropped. Throws `Error` that says what is damaged.
at::Tensor decode_png(std::string_view bytes);

}  // namespace microtome::host
