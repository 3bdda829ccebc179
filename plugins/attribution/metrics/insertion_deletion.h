#pragma once

#include <cstdint>
#include <vector>

#include "baselines/baselines.h"
#include "metrics/relevance.h"
#include "microtome/sdk.h"

namespace attribution {

/// Curves of all samples so far, and each sample's areas.
struct CurveTotals {
  at::Tensor curves;              ///< sums, [methods + 1, modes, scales, steps + 1]
  std::vector<at::Tensor> areas;  ///< of each chunk, [N, methods + 1, modes, scales]
  std::int64_t samples = 0;
};

struct InsertionDeletionParams {
  microtome::Target target = microtome::parse_target("predicted");
  std::int64_t steps = 100;
  OverChannels over = OverChannels::sum;
  double sigma = 8;
  std::int64_t random_orders = 10;
};

/// How fast a class's score comes when the pixels of most relevance come first, and how fast it
/// goes when they go first. Petsiuk, Das, Saenko 2018 (arXiv 1806.07421).
class InsertionDeletion final : public microtome::StreamingStage<CurveTotals> {
 public:
  using Params = InsertionDeletionParams;
  explicit InsertionDeletion(Params params) : params_(std::move(params)) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  void batch(State& state, microtome::Chunk& chunk, microtome::Context& context) const override;
  void merge(State& earlier, State&& later) const override;
  void finish(State& state, microtome::Context& context) const override;

 private:
  Params params_;
  Baselines colour_{{"mean_colour"}};  ///< keeps the mean for all chunks
};

}  // namespace attribution
