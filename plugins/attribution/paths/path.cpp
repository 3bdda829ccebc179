#include "paths/path.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "baselines/baseline.h"

namespace attribution {

using microtome::ScoreFunction;

Path power_path(const at::Tensor& start, const at::Tensor& end, const at::Tensor& exponents) {
  return [start, end, exponents, step = end - start](double alpha) {
    if (alpha == 0) return start;
    if (alpha == 1) return end;
    return start + at::pow(alpha, exponents) * step;
  };
}

Path polyline(std::vector<at::Tensor> points) {
  return [points = std::move(points)](double alpha) {
    const auto pieces = static_cast<double>(points.size() - 1);
    const double place = std::clamp(alpha, 0.0, 1.0) * pieces;
    const double piece = std::min(std::floor(place), pieces - 1);
    const double within = place - piece;
    const auto first = static_cast<std::size_t>(piece);
    if (within == 0) return points[first];
    if (within == 1) return points[first + 1];
    return points[first] + within * (points[first + 1] - points[first]);
  };
}

Path bezier(std::vector<at::Tensor> points) {
  return [points = std::move(points)](double alpha) {
    if (alpha == 0) return points.front();
    if (alpha == 1) return points.back();
    std::vector<at::Tensor> between = points;
    for (std::size_t left = between.size() - 1; left > 0; --left) {
      for (std::size_t i = 0; i < left; ++i)
        between[i] = between[i] + alpha * (between[i + 1] - between[i]);
    }
    return between.front();
  };
}

Path blur_path(const at::Tensor& images, double sigma) {
  return [images, sigma](double alpha) { return blurred(images, (1 - alpha) * sigma); };
}

at::Tensor path_integral(const ScoreFunction& score, const Path& path, std::int64_t steps,
                         const std::function<void()>& check) {
  const auto place = [&](double k) { return k / static_cast<double>(steps); };
  at::Tensor from = path(0);
  at::Tensor total = at::zeros(from.sizes(), from.options().dtype(at::kDouble));
  for (std::int64_t k = 0; k < steps; ++k) {
    check();
    const auto step = static_cast<double>(k);
    const at::Tensor to = path(place(step + 1));
    total += score.gradient(path(place(step + 0.5))).values.to(at::kDouble) * (to - from);
    from = to;
  }
  return total;
}

namespace {

/// Where one sample goes in one step of guided integrated gradients. All flat, [D].
class GuidedStep {
 public:
  GuidedStep(at::Tensor start, at::Tensor end, const GuidedSettings& settings)
      : start_(std::move(start)), end_(std::move(end)), settings_(settings) {
    whole_ = (end_ - start_).abs().sum(at::kDouble).item<double>();
  }

  /// The next point from `x`, for a straight line that has come to `alpha`.
  at::Tensor next(at::Tensor x, const at::Tensor& gradient, double alpha) const {
    if (whole_ == 0 || alpha >= 1) return end_;
    const double lowest = std::max(alpha - settings_.most_apart, 0.0);
    const double highest = std::min(alpha + settings_.most_apart, 1.0);
    const at::Tensor step = end_ - start_;
    const at::Tensor least = start_ + lowest * step, most = start_ + highest * step;
    const double wanted = whole_ * (1 - alpha);
    // What lags behind is brought up.
    const at::Tensor moves = step != 0;
    const at::Tensor at_alpha =
        ((x - start_) / step.masked_fill(~moves, 1)).masked_fill(~moves, highest);
    x = at::where(at_alpha < lowest, least, x);
    at::Tensor open = moves.logical_and(at_alpha < highest);
    while (true) {
      const double distance = (x - end_).abs().sum(at::kDouble).item<double>();
      if (distance <= wanted || !open.any().item<bool>()) return x;
      const at::Tensor size = gradient.abs().masked_select(open);
      const auto count = static_cast<std::int64_t>(
          std::ceil(settings_.fraction * static_cast<double>(gradient.numel())));
      const at::Tensor threshold =
          std::get<0>(size.kthvalue(std::clamp<std::int64_t>(count, 1, size.numel())));
      const at::Tensor chosen = open.logical_and(gradient.abs() <= threshold);
      const double possible =
          (most - x).abs().masked_fill(~chosen, 0).sum(at::kDouble).item<double>();
      if (possible >= distance - wanted)
        return at::where(chosen, x + (distance - wanted) / possible * (most - x), x);
      x = at::where(chosen, most, x);
      open = open.logical_and(~chosen);
    }
  }

 private:
  at::Tensor start_, end_;
  GuidedSettings settings_;
  double whole_ = 0;
};

}  // namespace

at::Tensor guided_integral(const ScoreFunction& score, const at::Tensor& start,
                           const at::Tensor& end, const GuidedSettings& settings,
                           const std::function<void()>& check) {
  std::vector<GuidedStep> guides;
  for (std::int64_t row = 0; row < end.size(0); ++row)
    guides.emplace_back(start[row].flatten(), end[row].flatten(), settings);
  at::Tensor total = at::zeros(end.sizes(), end.options().dtype(at::kDouble));
  at::Tensor from = start;
  for (std::int64_t k = 1; k <= settings.steps; ++k) {
    check();
    const double alpha = static_cast<double>(k) / static_cast<double>(settings.steps);
    const at::Tensor gradient = score.gradient(from).values;
    std::vector<at::Tensor> rows;
    rows.reserve(guides.size());
    for (std::int64_t row = 0; row < end.size(0); ++row) {
      rows.push_back(guides[static_cast<std::size_t>(row)].next(from[row].flatten(),
                                                                gradient[row].flatten(), alpha));
    }
    const at::Tensor to = at::stack(rows).view(end.sizes());
    total += score.gradient((from + to) / 2).values.to(at::kDouble) * (to - from);
    from = to;
  }
  return total;
}

}  // namespace attribution
