#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "microtome/sdk.h"

namespace evaluate {

/// Each sample's scores, [n, 3] by chunk: as it is, changed, and of another sample.
struct Scores {
  std::vector<at::Tensor> parts;
};

/// How far a score moves when samples are changed in one respect.
class ScoreShift final : public microtome::StreamingStage<Scores> {
 public:
  struct Params {
    microtome::Target target = microtome::parse_target("predicted");
  };
  explicit ScoreShift(Params params) : params_(std::move(params)) {}
  static void describe(microtome::StageSpec<Params>& spec);
  microtome::Plan plan(const microtome::PlanInputs& inputs) const override;
  void batch(State& state, microtome::Chunk& chunk, microtome::Context& context) const override;
  void merge(State& earlier, State&& later) const override;
  void finish(State& state, microtome::Context& context) const override;

 private:
  /// Of each sample in the order of the dataset, the position of another one.
  at::Tensor others(std::int64_t size, microtome::Context& context) const;

  Params params_;
  /// The others, drawn once for all chunks.
  struct Known {
    std::mutex mutex;
    at::Tensor others;
  };
  std::shared_ptr<Known> known_ = std::make_shared<Known>();
};

}  // namespace evaluate
