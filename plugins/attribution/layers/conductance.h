#pragma once

#include "baselines/baselines.h"
#include "microtome/sdk.h"
#include "paths/quadrature.h"

namespace attribution {

/// Parameters of the methods whose path runs at the input while a layer is looked at.
struct LayerPathParams : BaselineParams {
  microtome::HookPoint along = microtome::parse_hook_point("input");
  std::int64_t steps = 32;
};

/// Average over the straight path of the gradient by a layer: internal influence.
/// Leino et al. 2018 (arXiv 1802.03788).
class InternalInfluence final : public BaselineStage {
 public:
  struct Params : LayerPathParams {
    Rule rule = Rule::gauss_legendre;
  };
  explicit InternalInfluence(Params params);
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  microtome::Attributions attribute(const microtome::AttributionInput& input,
                                    microtome::Context& context) const override;

 private:
  Params params_;
};

/// What flows through each unit of a layer along the straight path at the input:
///   integral over t of dF/dz (x(t)) dz/dt dt, as a sum of (z[k+1] - z[k]) dF/dz(middle).
/// Dhamdhere, Sundararajan, Yan 2018 (arXiv 1805.12233).
class Conductance final : public BaselineStage {
 public:
  using Params = LayerPathParams;
  explicit Conductance(Params params) : BaselineStage(params), params_(std::move(params)) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  microtome::Attributions attribute(const microtome::AttributionInput& input,
                                    microtome::Context& context) const override;

 private:
  Params params_;
};

/// What each input adds to the score through some units of a layer:
///   (x - b) * integral over t of sum over units j of dF/dz_j dz_j/dx dt.
/// Over all units of a layer it sums to integrated gradients; over inputs, to the units'
/// conductance.
class NeuronConductance final : public BaselineStage {
 public:
  struct Params : BaselineParams {
    microtome::HookPoint neuron;
    std::int64_t steps = 32;
    Rule rule = Rule::gauss_legendre;
  };
  explicit NeuronConductance(Params params);
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  microtome::Attributions attribute(const microtome::AttributionInput& input,
                                    microtome::Context& context) const override;

 private:
  Params params_;
};

}  // namespace attribution
