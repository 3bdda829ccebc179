#pragma once

#include "microtome/sdk.h"

namespace attribution {

struct ExpectedGradientsParams : microtome::AttributionParams {
  std::int64_t draws = 64;
  std::int64_t background = 64;
};

/// Gradients at random points between random samples of a background and the input, each times the
/// difference of the two. Base of the two methods below, which differ in noise.
class BackgroundStage : public microtome::AttributionStage {
 public:
  BackgroundStage(const ExpectedGradientsParams& params, double noise)
      : AttributionStage(params),
        draws_(params.draws),
        background_(params.background),
        noise_(noise) {}
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  microtome::Attributions attribute(const microtome::AttributionInput& input,
                                    microtome::Context& context) const override;

 private:
  std::int64_t draws_, background_;
  double noise_;
};

/// Erion, Janizek, Sturmfels, Lundberg, Lee 2019 (arXiv 1906.10670).
class ExpectedGradients final : public BackgroundStage {
 public:
  using Params = ExpectedGradientsParams;
  explicit ExpectedGradients(const Params& params) : BackgroundStage(params, 0) {}
  static void describe(microtome::StageSpec<Params>& spec);
};

/// Expected gradients of an input with noise (Lundberg, Lee 2017, arXiv 1705.07874, as the authors'
/// code has it).
class GradientShap final : public BackgroundStage {
 public:
  struct Params : ExpectedGradientsParams {
    double noise = 0.09;
  };
  explicit GradientShap(const Params& params) : BackgroundStage(params, params.noise) {}
  static void describe(microtome::StageSpec<Params>& spec);
};

}  // namespace attribution
