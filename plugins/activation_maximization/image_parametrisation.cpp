#include "image_parametrisation.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace activation_maximization {

namespace {

/// Distance from frequency 0 of each entry of a real transform, in cycles a pixel, [H, W / 2 + 1].
at::Tensor frequencies(std::int64_t height, std::int64_t width) {
  const at::Tensor y = at::fft_fftfreq(height, 1.0, at::kDouble).unsqueeze(1);
  const at::Tensor x = at::fft_rfftfreq(width, 1.0, at::kDouble).unsqueeze(0);
  return (y * y + x * x).sqrt();
}

}  // namespace

ImageParametrisation::ImageParametrisation(Parametrisation kind, std::int64_t images,
                                           std::int64_t channels, std::int64_t height,
                                           std::int64_t width, at::Tensor colour,
                                           at::Generator generator)
    : kind_(kind), height_(height), width_(width), colour_(colour.to(at::kFloat)) {
  constexpr double start = 0.01;
  if (kind == Parametrisation::fourier) {
    const auto lowest = 1.0 / static_cast<double>(std::max(height, width));
    // The root of the number of pixels makes the transform keep the size of its numbers; a quarter,
    // that of a sigmoid's slope the other way, makes steps of both parametrisations alike.
    weight_ = (0.25 * std::sqrt(static_cast<double>(height * width)) /
               frequencies(height, width).clamp_min(lowest))
                  .to(at::kFloat)
                  .unsqueeze(2);
    numbers_ = at::randn({images, channels, height, width / 2 + 1, 2}, generator, at::kFloat);
  } else {
    numbers_ = at::randn({images, channels, height, width}, generator, at::kFloat);
  }
  numbers_ = (numbers_ * start).requires_grad_();
}

at::Tensor ImageParametrisation::images() const {
  at::Tensor values = numbers_;
  if (kind_ == Parametrisation::fourier) {
    const std::vector<std::int64_t> size{height_, width_};
    values = at::fft_irfft2(at::view_as_complex((numbers_ * weight_).contiguous()),
                            at::IntArrayRef(size));
  }
  return at::einsum("ck,nkhw->nchw", {colour_, values}).sigmoid();
}

at::Tensor colour_root(const at::Tensor& images) {
  const at::Tensor colours =
      images.to(at::kDouble).transpose(0, 1).flatten(1);  // [C, everything else]
  const at::Tensor centred = colours - colours.mean(1, true);
  const at::Tensor covariance = centred.mm(centred.t()) / static_cast<double>(centred.size(1));
  const auto [values, vectors] = at::linalg_eigh(covariance);
  const at::Tensor root = vectors * values.clamp_min(1e-6).sqrt();
  return root / root.norm(2, {0}).max();
}

at::Tensor high_frequency_share(const at::Tensor& images) {
  const at::Tensor grey = images.to(at::kDouble).mean(1);
  const at::Tensor centred = grey - grey.mean({1, 2}, true);
  at::Tensor power = at::fft_rfft2(centred).abs().square();
  // All but the first and, for an even width, the last column stand for two.
  const std::int64_t width = images.size(3);
  at::Tensor twice = at::full({power.size(2)}, 2.0, at::kDouble);
  twice[0] = 1.0;
  if (width % 2 == 0) twice[-1] = 1.0;
  power = power * twice;
  const at::Tensor high = (frequencies(images.size(2), width) > 0.25).to(at::kDouble);
  return (power * high).sum({1, 2}) / power.sum({1, 2}).clamp_min(1e-300);
}

}  // namespace activation_maximization
