#include "perturbation/smooth_mask.h"

#include <algorithm>
#include <cmath>

namespace attribution {

namespace {

constexpr double coldness = 20;
/// In units of sigma.
constexpr double cut_off = 1.5;

}  // namespace

SmoothMask::Side SmoothMask::side(std::int64_t pixels, std::int64_t margin, double sigma,
                                  const at::TensorOptions& options) {
  Side side;
  side.pixels = pixels;
  const auto intervals = static_cast<std::int64_t>(
      std::ceil(static_cast<double>(pixels - 1) / std::max(1.0, sigma / 3)));
  side.inside = intervals + 1;
  if (intervals > 0)
    side.spacing = static_cast<double>(pixels - 1) / static_cast<double>(intervals);
  side.reach = static_cast<std::int64_t>(std::ceil(cut_off * sigma / side.spacing));
  const auto outside =
      static_cast<std::int64_t>(std::ceil(static_cast<double>(margin) / side.spacing));
  side.padding = outside + side.reach;
  const at::Tensor places = at::arange(-margin, pixels + margin, at::kDouble);
  const at::Tensor nearest = (places / side.spacing).round();
  side.first = (nearest + static_cast<double>(outside)).to(at::kLong).to(options.device());
  side.places = (places - nearest * side.spacing).to(options);
  side.membership = at::zeros({places.size(0), side.inside + 2 * outside}, options)
                        .scatter_(1, side.first.unsqueeze(1), 1);
  return side;
}

SmoothMask::SmoothMask(std::int64_t height, std::int64_t width, double sigma,
                       const at::TensorOptions& options)
    : margin_(static_cast<std::int64_t>(std::ceil(sigma))),
      rows_(side(height, margin_, sigma, options)),
      columns_(side(width, margin_, sigma, options)) {
  for (std::int64_t row = -rows_.reach; row <= rows_.reach; ++row) {
    const at::Tensor down = (rows_.places - static_cast<double>(row) * rows_.spacing).square();
    for (std::int64_t column = -columns_.reach; column <= columns_.reach; ++column) {
      const at::Tensor across =
          (columns_.places - static_cast<double>(column) * columns_.spacing).square();
      const at::Tensor distance = (down.unsqueeze(1) + across.unsqueeze(0)).sqrt() / sigma;
      const at::Tensor is_near = distance <= cut_off;
      if (!is_near.any().item<bool>()) continue;
      const at::Tensor kernel = (-2 * (distance - 0.5).clamp_min(0).square()).exp();
      near_.push_back({row + rows_.reach, column + columns_.reach, kernel * is_near});
    }
  }
}

at::Tensor SmoothMask::on_map(const at::Tensor& mask) const {
  return mask.narrow(2, margin_, rows_.pixels).narrow(3, margin_, columns_.pixels);
}

template <class Take>
void SmoothMask::for_near(const at::Tensor& points, Take take) const {
  const at::Tensor padded = at::constant_pad_nd(
      points, {columns_.padding, columns_.padding, rows_.padding, rows_.padding});
  at::Tensor of_row;
  std::int64_t row = -1;
  for (const Near& near : near_) {
    if (near.row != row) of_row = padded.index_select(2, rows_.first + near.row);
    row = near.row;
    take(near, of_row.index_select(3, columns_.first + near.column).mul_(near.kernel));
  }
}

SmoothMask::Made SmoothMask::of(const at::Tensor& points) const {
  at::Tensor sum, weighted;
  for_near(points, [&](const Near&, const at::Tensor& contribution) {
    const at::Tensor weight = (contribution * coldness).exp_();
    if (!sum.defined()) {
      sum = at::zeros_like(weight);
      weighted = at::zeros_like(weight);
    }
    sum.add_(weight);
    weighted.addcmul_(weight, contribution);
  });
  return {points, weighted / sum, sum};
}

at::Tensor SmoothMask::gradient(const Made& made, const at::Tensor& by_mask) const {
  const at::Tensor scale = by_mask / made.sum;
  const std::int64_t down = rows_.membership.size(1), across = columns_.membership.size(1);
  at::Tensor found = at::zeros(
      {made.points.size(0), 1, rows() + 2 * rows_.padding, columns() + 2 * columns_.padding},
      made.points.options());
  for_near(made.points, [&](const Near& near, const at::Tensor& contribution) {
    // d smax / d f = softmax(20 f) (1 + 20 (f - smax)).
    at::Tensor by_contribution = (contribution - made.mask).mul_(coldness).add_(1);
    by_contribution.mul_((contribution * coldness).exp_()).mul_(scale).mul_(near.kernel);
    found.narrow(2, near.row, down).narrow(3, near.column, across) +=
        at::matmul(rows_.membership.t(), at::matmul(by_contribution, columns_.membership));
  });
  return found.narrow(2, rows_.padding, rows()).narrow(3, columns_.padding, columns());
}

}  // namespace attribution
