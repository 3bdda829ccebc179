#pragma once

#include <string>

#include "metrics/relevance.h"
#include "metrics/sample_scores.h"
#include "microtome/sdk.h"

namespace attribution {

struct LocalisationParams {
  std::string mask = "mask";
  OverChannels over = OverChannels::sum;
};

/// Whether attributions lie on what is known to matter: the pointing game (Zhang, Bargal, Lin,
/// Brandt, Shen, Sclaroff 2018) and relevance mass accuracy (Arras, Osman, Samek 2022).
class Localisation final : public SampleScoreStage {
 public:
  using Params = LocalisationParams;
  explicit Localisation(Params params) : params_(std::move(params)) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  void batch(State& state, microtome::Chunk& chunk, microtome::Context& context) const override;
  void finish(State& state, microtome::Context& context) const override;

 private:
  Params params_;
};

}  // namespace attribution
