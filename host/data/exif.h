#pragma once

#include <string_view>

namespace microtome::host {

/// The orientation, 1 to 8, that a JPEG file's EXIF data say; 1 when they say none.
int exif_orientation(std::string_view jpeg);

}  // namespace microtome::host
