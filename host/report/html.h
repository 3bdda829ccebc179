#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "microtome/tensor.h"

namespace microtome::host::report {

/// Text that stands in a page or in an attribute: names, labels and file names are never markup.
/// What is not UTF-8, and control characters but for tabs and line ends, show as `\xE9`.
std::string escape(std::string_view text);
/// The same of a name on one line, such as a sample's id: tabs and line ends show too.
std::string escape_name(std::string_view name);

/// `<img>` with the picture inside the page: [H, W, 3] of 8 bit, shown `width` pixels wide without
/// smoothing.
std::string image(const at::Tensor& pixels, int width, const std::string& alt);

/// The same of a photograph: a JPEG where a side is longer than 64 pixels, so that the page stays
/// small. Drawings and maps keep their edges by `image`.
std::string photograph(const at::Tensor& pixels, int width, const std::string& alt);

/// A number as a person wants it: four digits, no trailing zeros.
std::string number(double value);

}  // namespace microtome::host::report
