#pragma once

#include <filesystem>

#include "microtome/tensor.h"

namespace microtome::host {

/// Reads a JPEG or PNG file as 3 x H x W, 8 bit, RGB. The format is told by the content, not by the
/// file's name. Values are those that are stored, as Pillow, torchvision and OpenCV read them:
/// gamma and colour profiles are ignored. Grey becomes RGB, CMYK is converted, 16 bits become 8,
/// alpha is dropped, EXIF orientation is applied. Throws `Error` that names the file when it is
/// damaged, truncated, of another format (saying which), or larger than 100 million pixels.
at::Tensor decode_image(const std::filesystem::path& file);

}  // namespace microtome::host
