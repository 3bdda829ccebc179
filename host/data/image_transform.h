#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "microtome/parameter.h"
#include "microtome/tensor.h"

namespace microtome::host {

/// What happens to an image on its way into a batch, in this order.
struct ImageTransform {
  std::int64_t channels = 3;         ///< 3: RGB; 1: grey
  std::vector<std::int64_t> resize;  ///< empty, {short side} or {height, width}
  std::optional<std::int64_t> crop;  ///< side of the centre crop
  std::vector<double> mean, std;     ///< `normalize`; empty: pixels stay in 0..1

  bool normalises() const { return !mean.empty(); }
  Value to_value() const;
};

/// 3 x H x W of 8 bit to C x H x W float in 0..1, transformed. Grey is that of ITU-R 601, 0.299 R +
/// 0.587 G + 0.114 B, rounded to 8 bit as Pillow's `convert("L")` does. Resizing is bilinear with
/// antialiasing, as torchvision's and Pillow's, and rounds to 8 bit as they do. Throws `Error` when
/// the crop is larger than the image.
at::Tensor apply(const ImageTransform& transform, const at::Tensor& image);

}  // namespace microtome::host

namespace microtome {

template <>
struct ParameterType<host::ImageTransform> {
  static std::string name() { return "transform"; }
  static Value schema();
  static host::ImageTransform read(const Value& value, ReadContext& context);
  static Value write(const host::ImageTransform& value) { return value.to_value(); }
};

}  // namespace microtome
