#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "microtome/sdk.h"

namespace attribution {

/// One path for each of N samples: its points, N x ..., by alpha in [0, 1]; alpha 0 is the
/// baseline, alpha 1 the sample itself.
using Path = std::function<at::Tensor(double)>;

/// start + alpha^exponents (end - start). The exponents, above 0, broadcast to a value.
Path power_path(const at::Tensor& start, const at::Tensor& end, const at::Tensor& exponents);
/// Straight pieces from point to point, each for an equal share of alpha.
Path polyline(std::vector<at::Tensor> points);
/// The Bezier curve with these control points, by De Casteljau's algorithm.
Path bezier(std::vector<at::Tensor> points);
/// From the most blurred image to the image: sigma falls linearly (Xu, Venugopalan, Sundararajan
/// 2020).
Path blur_path(const at::Tensor& images, double sigma);

/// Sum over `steps` equal steps of alpha of
///   (path(a[k+1]) - path(a[k])) * dF/dx(path((a[k] + a[k+1]) / 2)),
/// float64; it needs no derivative of the path. `check` may throw.
at::Tensor path_integral(const microtome::ScoreFunction& score, const Path& path,
                         std::int64_t steps, const std::function<void()>& check);

/// The path that moves the features of least gradient first, and what it gives each feature: a
/// share `fraction` of them at a time, none further than `most_apart` of the straight line's alpha
/// from it. Kapishnikov et al. 2021, algorithm 1; the gradient that is summed is that of the middle
/// of each step. float64.
struct GuidedSettings {
  std::int64_t steps = 50;
  double fraction = 0.25;
  double most_apart = 0.02;
};
at::Tensor guided_integral(const microtome::ScoreFunction& score, const at::Tensor& start,
                           const at::Tensor& end, const GuidedSettings& settings,
                           const std::function<void()>& check);

}  // namespace attribution
