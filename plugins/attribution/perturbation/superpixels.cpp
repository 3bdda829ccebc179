#include "perturbation/superpixels.h"

#include <algorithm>
#include <vector>

extern "C" {
#include <vl/slic.h>
}

namespace attribution {

namespace {

/// sRGB in 0..1 as CIELAB of a D65 white (IEC 61966-2-1, CIE 15), 3 x H x W.
at::Tensor to_lab(const at::Tensor& image) {
  const at::Tensor linear =
      at::where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055).pow(2.4));
  const at::Tensor to_xyz =
      at::tensor({0.4124, 0.3576, 0.1805, 0.2126, 0.7152, 0.0722, 0.0193, 0.1192, 0.9505},
                 at::kFloat)
          .view({3, 3});
  const at::Tensor white = at::tensor({0.9505, 1.0, 1.0890}, at::kFloat).view({3, 1});
  const at::Tensor xyz = at::matmul(to_xyz, linear.flatten(1)) / white;
  constexpr double bend = 6.0 / 29;
  const at::Tensor f = at::where(xyz > bend * bend * bend, xyz.clamp_min(0).pow(1.0 / 3),
                                 xyz / (3 * bend * bend) + 4.0 / 29);
  return at::stack({116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])}).view_as(image);
}

}  // namespace

at::Tensor superpixels(const at::Tensor& images, std::int64_t side, double compactness) {
  const at::Tensor all = images.detach().to(at::kCPU, at::kFloat);
  const std::int64_t height = all.size(2), width = all.size(3);
  at::Tensor regions = at::empty({all.size(0), 1, height, width}, at::kLong);
  std::vector<vl_uint32> found(static_cast<std::size_t>(height * width));
  // Pieces of less than half of a superpixel are joined to a neighbour.
  const std::int64_t smallest = side * side / 2;
  for (std::int64_t row = 0; row < all.size(0); ++row) {
    at::Tensor image = all[row];
    const at::Tensor low = image.min(), range = image.max() - low;
    image = (image - low) / range.clamp_min(1e-12);
    if (image.size(0) == 3) image = to_lab(image);
    image = image.contiguous();
    vl_slic_segment(found.data(), image.data_ptr<float>(), static_cast<vl_size>(width),
                    static_cast<vl_size>(height), static_cast<vl_size>(image.size(0)),
                    static_cast<vl_size>(side), static_cast<float>(compactness * compactness),
                    static_cast<vl_size>(smallest));
    at::Tensor numbers = at::empty({height, width}, at::kLong);
    std::copy(found.begin(), found.end(), numbers.data_ptr<std::int64_t>());
    regions[row][0].copy_(
        std::get<1>(at::_unique(numbers, /*sorted=*/true, /*return_inverse=*/true)));
  }
  return regions;
}

}  // namespace attribution
