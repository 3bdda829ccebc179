#pragma once

#include <cstdint>

#include "microtome/sdk.h"

namespace attribution {

/// Superpixels of images by SLIC: int64, N x 1 x H x W, numbered from 0 in each image without gaps.
/// `images`: N x C x H x W, brought to 0..1 by the extremes of each; three channels are taken for
/// sRGB and compared in CIELAB. `side`, in pixels, is about that of a superpixel; `compactness`
/// weighs distance in space against distance in colour (10 is usual, CIELAB units).
/// Achanta, Shaji, Smith, Lucchi, Fua, Süsstrunk 2012, SLIC superpixels compared to
/// state-of-the-art superpixel methods (doi 10.1109/TPAMI.2012.120).
at::Tensor superpixels(const at::Tensor& images, std::int64_t side, double compactness);

}  // namespace attribution
