#pragma once

#include <cstdint>

#include "baselines/baselines.h"
#include "microtome/sdk.h"
#include "paths/quadrature.h"

namespace attribution {

struct IntegratedGradientsParams : BaselineParams {
  microtome::Automatic<std::int64_t> steps = std::int64_t{32};
  Rule rule = Rule::gauss_legendre;
  double tolerance = 0.01;
  std::int64_t max_steps = 1024;
};

/// Integrated gradients along the straight path from a baseline:
///   a = (x - b) * integral over t in [0, 1] of dF/dx (b + t (x - b)) dt
/// at the input or at any hook point, whose value at the baseline is where the path begins there.
/// Sundararajan, Taly, Yan 2017 (arXiv 1703.01365).
class IntegratedGradients final : public BaselineStage {
 public:
  using Params = IntegratedGradientsParams;
  explicit IntegratedGradients(Params params);
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  microtome::Attributions attribute(const microtome::AttributionInput& input,
                                    microtome::Context& context) const override;

 private:
  Params params_;
};

}  // namespace attribution
