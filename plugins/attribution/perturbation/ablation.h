#pragma once

#include "baselines/baselines.h"
#include "microtome/sdk.h"
#include "perturbation/features.h"

namespace attribution {

/// The score's fall when a window of the value is put to the baseline, averaged over the windows
/// that cover an element. Zeiler, Fergus 2013 (arXiv 1311.2901).
class Occlusion final : public BaselineStage {
 public:
  struct Params : BaselineParams {
    std::int64_t window = 8;
    std::int64_t stride = 4;
  };
  explicit Occlusion(Params params);
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  microtome::Attributions attribute(const microtome::AttributionInput& input,
                                    microtome::Context& context) const override;

 private:
  Params params_;
};

struct FeatureParams : BaselineParams {
  std::string features = "grid:8";
};

/// Base of the methods that put groups of elements to the baseline.
class FeatureStage : public BaselineStage {
 public:
  explicit FeatureStage(const FeatureParams& params)
      : BaselineStage(params), grouping_(Grouping::parse(params.features)) {}
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  /// Where each sample has features of its own, sample by sample: with a number of features that
  /// comes from others the draws of a sample would depend on them.
  microtome::Attributions attribute(const microtome::AttributionInput& input,
                                    microtome::Context& context) const final;

 protected:
  virtual microtome::Attributions of_features(const microtome::AttributionInput& input,
                                              microtome::Context& context) const = 0;
  const Grouping& grouping() const { return grouping_; }

 private:
  Grouping grouping_;
};

template <class Params>
void describe_features(microtome::StageSpec<Params>& spec) {
  describe_attribution(spec);
  describe_baselines(spec);
  spec.parameter("features", &Params::features).doc(Grouping::doc);
}

/// The score's fall when one feature is put to the baseline, the others being there.
class FeatureAblation final : public FeatureStage {
 public:
  using Params = FeatureParams;
  explicit FeatureAblation(const Params& params) : FeatureStage(params) {}
  static void describe(microtome::StageSpec<Params>& spec);

 protected:
  microtome::Attributions of_features(const microtome::AttributionInput& input,
                                      microtome::Context& context) const override;
};

}  // namespace attribution
