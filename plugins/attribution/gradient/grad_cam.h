#pragma once

#include "microtome/sdk.h"

namespace attribution {

/// Base of the class activation maps: of a layer N x C x H x W one map N x 1 x H x W at the layer's
/// resolution; bringing it to the image's is a matter of the view.
class ActivationMap : public microtome::AttributionStage {
 public:
  using AttributionStage::AttributionStage;
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;

 protected:
  /// Says what all of them have in common.
  static void describe_map(microtome::StageSpec<microtome::AttributionParams>& spec);
};

/// Selvaraju et al. 2016 (arXiv 1610.02391): channels weighed by the mean over places of the
/// gradient, summed, and what is negative cut off.
class GradCam final : public ActivationMap {
 public:
  using Params = microtome::AttributionParams;
  explicit GradCam(Params params) : ActivationMap(std::move(params)) {}
  static void describe(microtome::StageSpec<Params>& spec);
  microtome::Attributions attribute(const microtome::AttributionInput& input,
                                    microtome::Context& context) const override;
};

/// Chattopadhyay et al. 2017 (arXiv 1710.11063): places are weighed before they are averaged.
class GradCamPlusPlus final : public ActivationMap {
 public:
  using Params = microtome::AttributionParams;
  explicit GradCamPlusPlus(Params params) : ActivationMap(std::move(params)) {}
  static void describe(microtome::StageSpec<Params>& spec);
  microtome::Attributions attribute(const microtome::AttributionInput& input,
                                    microtome::Context& context) const override;
};

/// Wang et al. 2019 (arXiv 1910.01279): channels weighed by the score of the image that each of
/// them, as a mask, leaves; no gradients.
class ScoreCam final : public ActivationMap {
 public:
  using Params = microtome::AttributionParams;
  explicit ScoreCam(Params params) : ActivationMap(std::move(params)) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  microtome::Attributions attribute(const microtome::AttributionInput& input,
                                    microtome::Context& context) const override;
};

/// Grad-CAM, brought to the image's size, times guided backpropagation: of the image, like it.
class GuidedGradCam final : public microtome::AttributionStage {
 public:
  struct Params : microtome::AttributionParams {
    microtome::HookPoint layer;
  };
  explicit GuidedGradCam(Params params) : AttributionStage(params), params_(std::move(params)) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  microtome::Attributions attribute(const microtome::AttributionInput& input,
                                    microtome::Context& context) const override;

 private:
  Params params_;
};

}  // namespace attribution
