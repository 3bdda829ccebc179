#pragma once

#include "microtome/sdk.h"

namespace attribution {

/// What a ReLU passes back in place of its derivative.
enum class RectifierRule {
  guided,         ///< the positive part of what arrives, where the ReLU was open
  deconvolution,  ///< the positive part of what arrives, whether it was open or not
};

/// The gradient by a changed rule at each ReLU and ReLU6, whether they are modules or functions.
class RectifierStage : public microtome::AttributionStage {
 public:
  RectifierStage(microtome::AttributionParams params, RectifierRule rule)
      : AttributionStage(std::move(params)), rule_(rule) {}
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  microtome::Attributions attribute(const microtome::AttributionInput& input,
                                    microtome::Context& context) const override;

 private:
  RectifierRule rule_;
};

/// Springenberg, Dosovitskiy, Brox, Riedmiller 2014 (arXiv 1412.6806).
class GuidedBackprop final : public RectifierStage {
 public:
  using Params = microtome::AttributionParams;
  explicit GuidedBackprop(Params params)
      : RectifierStage(std::move(params), RectifierRule::guided) {}
  static void describe(microtome::StageSpec<Params>& spec);
};

/// Zeiler, Fergus 2013 (arXiv 1311.2901).
class Deconvolution final : public RectifierStage {
 public:
  using Params = microtome::AttributionParams;
  explicit Deconvolution(Params params)
      : RectifierStage(std::move(params), RectifierRule::deconvolution) {}
  static void describe(microtome::StageSpec<Params>& spec);
};

/// The table of rules.
microtome::BackwardRules rectifier_rules(RectifierRule rule);
/// Adds what keeps the rule from having a meaning for the model at the port "model": a network
/// without ReLU, or with an activation that the rule says nothing about.
void check_rectifiers(const microtome::PlanInputs& inputs);

}  // namespace attribution
