#pragma once

#include <cstdint>

#include "baselines/background.h"
#include "baselines/baselines.h"
#include "microtome/sdk.h"
#include "rules/deep_lift_rules.h"

namespace attribution {

/// DeepLIFT: what each input adds to the difference of a score to that at a reference, by
/// multipliers that go back through the network's operators.
/// Shrikumar, Greenside, Kundaje 2017 (arXiv 1704.02685).
class DeepLift final : public BaselineStage {
 public:
  struct Params : BaselineParams {
    DeepLiftRule rule = DeepLiftRule::rescale;
  };
  explicit DeepLift(const Params& params) : BaselineStage(params), rule_(params.rule) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  microtome::Attributions attribute(const microtome::AttributionInput& input,
                                    microtome::Context& context) const override;

 private:
  DeepLiftRule rule_;
};

/// DeepLIFT averaged over references from the data, which makes it an estimate of Shapley values.
/// Lundberg, Lee 2017 (arXiv 1705.07874).
class DeepLiftShap final : public microtome::AttributionStage {
 public:
  struct Params : microtome::AttributionParams {
    DeepLiftRule rule = DeepLiftRule::rescale;
    std::int64_t background = 16;
  };
  explicit DeepLiftShap(const Params& params)
      : AttributionStage(params), rule_(params.rule), background_(params.background) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  microtome::Attributions attribute(const microtome::AttributionInput& input,
                                    microtome::Context& context) const override;

 private:
  DeepLiftRule rule_;
  std::int64_t background_;
};

}  // namespace attribution
