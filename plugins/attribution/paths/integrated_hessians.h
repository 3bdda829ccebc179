#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "baselines/baselines.h"
#include "microtome/sdk.h"
#include "perturbation/features.h"

namespace attribution {

struct IntegratedHessiansParams : BaselineParams {
  std::int64_t steps = 32;
  std::optional<std::string> features;
};

/// How pairs of features act together: integrated gradients of integrated gradients.
///   I_ij = d_i d_j * integral over t of -t ln t * d2F/dx_i dx_j (b + t d), d = x - b, for i != j,
///   I_ii the same with i = j, and d_i * integral of -ln t * dF/dx_i (b + t d) added
/// which are the paper's double integrals over alpha and beta with t = alpha beta. All of them sum
/// to F(x) - F(b). Janizek, Sturmfels, Lee 2020 (arXiv 2002.04138).
class IntegratedHessians final : public BaselineStage {
 public:
  using Params = IntegratedHessiansParams;
  explicit IntegratedHessians(const Params& params);
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  microtome::Attributions attribute(const microtome::AttributionInput& input,
                                    microtome::Context& context) const override;

 private:
  Params params_;
  std::optional<Grouping> grouping_;
};

}  // namespace attribution
