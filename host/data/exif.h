#pragma once

#include <string_view>

namespace microtome::host {

/// The orientation, 1 to 8, that the EXIF data of a JPEG or PNG file say; 1 when they say none.
int exif_orientation(std::string_view image);

}  // namespace microtome::host
