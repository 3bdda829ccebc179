#pragma once

#include "baselines/baselines.h"
#include "microtome/sdk.h"

namespace attribution {

/// The mean score of randomly masked images, by place: each mask is credited, where it lets the
/// image through, with the score that it leaves. Petsiuk, Das, Saenko 2018 (arXiv 1806.07421).
class Rise final : public BaselineStage {
 public:
  struct Params : BaselineParams {
    std::int64_t masks = 1000;
    std::int64_t cells = 7;
    double present = 0.5;
  };
  explicit Rise(Params params) : BaselineStage(params), params_(std::move(params)) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  microtome::Attributions attribute(const microtome::AttributionInput& input,
                                    microtome::Context& context) const override;

 private:
  Params params_;
};

}  // namespace attribution
