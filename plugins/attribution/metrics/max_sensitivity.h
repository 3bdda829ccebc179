#pragma once

#include <cstdint>

#include "metrics/relevance.h"
#include "metrics/sample_scores.h"
#include "microtome/sdk.h"

namespace attribution {

struct MaxSensitivityParams {
  microtome::NestedStage method;
  std::int64_t draws = 10;
  double radius = 0.02;
};

/// How much a small change of the input can change an attribution: the largest
/// |Phi(y) - Phi(x)| / |Phi(x)| over some y near x. Yeh et al. 2019 (arXiv 1901.09392).
class MaxSensitivity final : public SampleScoreStage {
 public:
  using Params = MaxSensitivityParams;
  explicit MaxSensitivity(Params params) : params_(std::move(params)) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  void batch(State& state, microtome::Chunk& chunk, microtome::Context& context) const override;
  void finish(State& state, microtome::Context& context) const override;

 private:
  Params params_;
};

}  // namespace attribution
