#pragma once

#include "metrics/relevance.h"
#include "microtome/sdk.h"

namespace attribution {

struct AgreementParams {
  OverChannels over = OverChannels::sum;
};

/// Rank correlation between the attributions of several methods.
class Agreement final : public microtome::Stage {
 public:
  using Params = AgreementParams;
  explicit Agreement(Params params) : params_(params) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  void run(microtome::Context& context) const override;

 private:
  Params params_;
};

/// What attributions are like by themselves: how complete, how spread out.
class Complexity final : public microtome::Stage {
 public:
  using Params = AgreementParams;
  explicit Complexity(Params params) : params_(params) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  void run(microtome::Context& context) const override;

 private:
  Params params_;
};

/// Spearman's rank correlation of rows, [N]; ties have their mean rank. 0 where one side has no
/// variance.
at::Tensor rank_correlation(const at::Tensor& a, const at::Tensor& b);

}  // namespace attribution
