#pragma once

#include "microtome/sdk.h"
#include "perturbation/ablation.h"

namespace attribution {

/// Shapley values by random orders in which features come: each order's gains sum to the score
/// difference, so completeness holds whatever the number of orders.
/// Castro, Gomez, Tejada 2009; Strumbelj, Kononenko 2010.
class ShapleySampling final : public FeatureStage {
 public:
  struct Params : FeatureParams {
    std::int64_t orders = 25;
  };
  explicit ShapleySampling(const Params& params) : FeatureStage(params), orders_(params.orders) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;

 protected:
  microtome::Attributions of_features(const microtome::AttributionInput& input,
                                      microtome::Context& context) const override;

 private:
  std::int64_t orders_;
};

/// Shapley values as a weighted least squares problem over random coalitions, constrained to sum to
/// the score difference. Lundberg, Lee 2017 (arXiv 1705.07874).
class KernelShap final : public FeatureStage {
 public:
  struct Params : FeatureParams {
    std::int64_t coalitions = 512;
  };
  explicit KernelShap(const Params& params)
      : FeatureStage(params), coalitions_(params.coalitions) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;

 protected:
  microtome::Attributions of_features(const microtome::AttributionInput& input,
                                      microtome::Context& context) const override;

 private:
  std::int64_t coalitions_;
};

/// A linear model of the score in which features are there, fitted by ridge regression on random
/// coalitions that weigh more the fewer features are away. Ribeiro, Singh, Guestrin 2016 (arXiv
/// 1602.04938).
class Lime final : public FeatureStage {
 public:
  struct Params : FeatureParams {
    std::int64_t coalitions = 512;
    double kernel_width = 0.25;
    double ridge = 1;
  };
  explicit Lime(Params params) : FeatureStage(params), params_(std::move(params)) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;

 protected:
  microtome::Attributions of_features(const microtome::AttributionInput& input,
                                      microtome::Context& context) const override;

 private:
  Params params_;
};

}  // namespace attribution
