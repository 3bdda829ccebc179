#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "metrics/relevance.h"
#include "metrics/sample_scores.h"
#include "microtome/sdk.h"

namespace attribution {

struct ParameterRandomisationParams {
  microtome::NestedStage method;
  std::int64_t seeds = 5;
  std::int64_t depths = 8;
  OverChannels over = OverChannels::sum;
};

/// Whether an attribution depends on what the network has learnt: its likeness to the attributions
/// of networks whose layers are drawn anew, from the top down.
/// Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim 2018 (arXiv 1810.03292).
class ParameterRandomisation final : public SampleScoreStage {
 public:
  using Params = ParameterRandomisationParams;
  explicit ParameterRandomisation(Params params) : params_(std::move(params)) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  void batch(State& state, microtome::Chunk& chunk, microtome::Context& context) const override;
  void finish(State& state, microtome::Context& context) const override;

 private:
  /// How many layers are drawn anew at each depth.
  std::vector<std::size_t> depths(std::size_t layers) const;
  Params params_;
};

/// Modules that hold parameters, the last to run first, each with the names of its parameters.
struct ParameterLayer {
  std::string module;
  std::vector<std::string> parameters;
};
std::vector<ParameterLayer> layers_from_the_top(const microtome::Model& model);

/// Structural similarity of maps N x H x W, [N]; windows of 7 x 7. Wang, Bovik, Sheikh, Simoncelli
/// 2004. `a` says the range of values.
at::Tensor structural_similarity(const at::Tensor& a, const at::Tensor& b);

}  // namespace attribution
