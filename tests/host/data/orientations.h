#pragma once

#include <map>

#include "microtome/tensor.h"

namespace microtome::testing {

/// How an image that is stored as `image`, C x H x W, stands upright, by its EXIF orientation.
inline std::map<int, at::Tensor> upright_by_orientation(const at::Tensor& image) {
  const at::Tensor turned = image.transpose(1, 2);
  return {{1, image},  {2, image.flip({2})},  {3, image.flip({1, 2})},  {4, image.flip({1})},
          {5, turned}, {6, turned.flip({2})}, {7, turned.flip({1, 2})}, {8, turned.flip({1})}};
}

}  // namespace microtome::testing
