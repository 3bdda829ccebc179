#include "host/report/pictures.h"

#include <algorithm>

namespace microtome::host::report {
namespace {

at::Tensor to_bytes(const at::Tensor& colours) {
  return (colours.clamp(0, 1) * 255).round().to(at::kByte).permute({1, 2, 0}).contiguous();
}

at::Tensor scaled(const at::Tensor& values) {
  const at::Tensor floats = values.to(at::kFloat);
  const double largest = floats.abs().max().item<double>();
  return largest > 0 ? floats / largest : floats;
}

/// Red and blue of the diverging colours, as [3, 1, 1].
at::Tensor colour(double red, double green, double blue) {
  return at::tensor({red, green, blue}).to(at::kFloat).view({3, 1, 1});
}

/// Colour of the sign, [3, H, W].
at::Tensor signs(const at::Tensor& values) {
  return at::where(values.unsqueeze(0) > 0, colour(0.78, 0.09, 0.16), colour(0.08, 0.32, 0.70));
}

}  // namespace

at::Tensor to_rgb(const at::Tensor& image) {
  at::Tensor three = image.to(at::kFloat);
  if (three.size(0) == 1) three = three.expand({3, -1, -1});
  return to_bytes(three.slice(0, 0, 3));
}

at::Tensor at_most(const at::Tensor& image, std::int64_t pixels) {
  const std::int64_t height = image.size(1), width = image.size(2);
  const std::int64_t longest = std::max(height, width);
  if (longest <= pixels) return image;
  const auto scaled_side = [&](std::int64_t side) {
    return std::max<std::int64_t>(1, side * pixels / longest);
  };
  return at::adaptive_avg_pool2d(image.to(at::kFloat), {scaled_side(height), scaled_side(width)});
}

at::Tensor diverging(const at::Tensor& values) {
  const at::Tensor share = scaled(values);
  const at::Tensor size = share.abs().unsqueeze(0);
  return to_bytes(1 - size + size * signs(share));
}

at::Tensor overlay(const at::Tensor& image, const at::Tensor& values) {
  const at::Tensor grey = image.to(at::kFloat).mean(0, true).expand({3, -1, -1});
  const at::Tensor blocks = at::upsample_nearest2d(scaled(values).unsqueeze(0).unsqueeze(0),
                                                   {image.size(1), image.size(2)})[0][0];
  const at::Tensor size = blocks.abs().unsqueeze(0);
  return to_bytes((0.5 + 0.5 * grey) * (1 - size) + size * signs(blocks));
}

}  // namespace microtome::host::report
