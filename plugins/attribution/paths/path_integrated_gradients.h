#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "baselines/baselines.h"
#include "microtome/sdk.h"
#include "paths/path.h"

namespace attribution {

enum class PathKind { straight, power, waypoints, bezier, blur, guided, given };

struct PathIntegratedGradientsParams : BaselineParams {
  PathKind path = PathKind::straight;
  std::int64_t steps = 64;
  std::vector<double> exponents = {1};
  std::vector<std::string> points;
  double sigma = 16;
  double fraction = 0.25;
  double most_apart = 0.02;
};

/// Integrated gradients along any path from a baseline to the input:
///   a_i = integral over alpha in [0, 1] of dF/dx_i(path(alpha)) path_i'(alpha) d alpha
/// Sundararajan, Taly, Yan 2017, section 3 (path methods); Friedman 2004.
class PathIntegratedGradients final : public BaselineStage {
 public:
  using Params = PathIntegratedGradientsParams;
  explicit PathIntegratedGradients(Params params)
      : BaselineStage(params), params_(std::move(params)) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  microtome::Attributions attribute(const microtome::AttributionInput& input,
                                    microtome::Context& context) const override;

 private:
  at::Tensor exponents(const at::Tensor& value, const microtome::Axes& axes) const;
  std::vector<at::Tensor> control_points(const microtome::AttributionInput& input,
                                         const at::Tensor& value) const;
  Path path(const microtome::AttributionInput& input, const at::Tensor& start,
            const at::Tensor& end, microtome::Context& context) const;
  Params params_;
};

}  // namespace attribution
