#include "metrics/parameter_randomisation.h"

namespace attribution {

at::Tensor structural_similarity(const at::Tensor& a, const at::Tensor& b) {
  constexpr std::int64_t window = 7;
  if (a.size(1) < window || a.size(2) < window)
    throw microtome::Error("structural similarity needs maps of 7 x 7 at least");
  const at::Tensor x = a.to(at::kDouble).unsqueeze(1), y = b.to(at::kDouble).unsqueeze(1);
  const auto mean = [](const at::Tensor& map) {
    return at::avg_pool2d(map, {window, window}, {1, 1});
  };
  const at::Tensor range = (x.flatten(1).amax(1) - x.flatten(1).amin(1)).view({-1, 1, 1, 1});
  const at::Tensor c1 = (0.01 * range).square().clamp_min(1e-12);
  const at::Tensor c2 = (0.03 * range).square().clamp_min(1e-12);
  const at::Tensor mean_x = mean(x), mean_y = mean(y);
  // Of a sample, as in the paper's code.
  const double unbiased = static_cast<double>(window * window) / (window * window - 1);
  const at::Tensor of_x = (mean(x * x) - mean_x * mean_x) * unbiased;
  const at::Tensor of_y = (mean(y * y) - mean_y * mean_y) * unbiased;
  const at::Tensor both = (mean(x * y) - mean_x * mean_y) * unbiased;
  return ((2 * mean_x * mean_y + c1) * (2 * both + c2) /
          ((mean_x.square() + mean_y.square() + c1) * (of_x + of_y + c2)))
      .flatten(1)
      .mean(1);
}

}  // namespace attribution
