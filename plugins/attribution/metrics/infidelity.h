#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "metrics/relevance.h"
#include "metrics/sample_scores.h"
#include "microtome/sdk.h"

namespace attribution {

enum class Perturbation { noise, square };

struct InfidelityParams {
  microtome::HookPoint at = microtome::parse_hook_point("input");
  microtome::Target target = microtome::parse_target("predicted");
  Perturbation perturbation = Perturbation::square;
  std::int64_t draws = 64;
  double noise = 0.2;
  std::int64_t side = 8;
};

/// How well attributions say what perturbations do to a score:
///   E over I of (I . Phi - (f(x) - f(x - I)))^2
/// raw, and with the scale of Phi that is best, E[I.Phi df] / E[(I.Phi)^2], in which methods are
/// compared. Yeh, Hsieh, Suggala, Inouye, Ravikumar 2019 (arXiv 1901.09392).
class Infidelity final : public SampleScoreStage {
 public:
  using Params = InfidelityParams;
  explicit Infidelity(Params params) : params_(std::move(params)) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  void batch(State& state, microtome::Chunk& chunk, microtome::Context& context) const override;
  void finish(State& state, microtome::Context& context) const override;

 private:
  at::Tensor drawn(const at::Tensor& value, const microtome::Batch& batch, std::int64_t draw,
                   const microtome::Context& context) const;
  Params params_;
};

}  // namespace attribution
