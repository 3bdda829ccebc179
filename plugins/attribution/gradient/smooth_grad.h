#pragma once

#include "microtome/sdk.h"

namespace attribution {

/// What is made of the attributions of noisy inputs.
enum class Smoothing { mean, mean_of_squares, variance };

struct SmoothGradParams {
  microtome::NestedStage method;
  Smoothing smoothing = Smoothing::mean;
  std::int64_t draws = 50;
  double noise = 0.15;
};

/// SmoothGrad (Smilkov et al. 2017, arXiv 1706.03825), SmoothGrad-squared (Hooker et al. 2018,
/// arXiv 1806.10758) and VarGrad (Adebayo et al. 2018, arXiv 1810.03307) around any attribution
/// method.
class SmoothGrad final : public microtome::AttributionStage {
 public:
  using Params = SmoothGradParams;
  explicit SmoothGrad(Params params);
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  microtome::Attributions attribute(const microtome::AttributionInput& input,
                                    microtome::Context& context) const override;

 private:
  const microtome::AttributionMethod& method() const;
  Params params_;
};

}  // namespace attribution
