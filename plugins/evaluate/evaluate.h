#pragma once

#include <string>

#include "microtome/sdk.h"

namespace evaluate {

/// Counts over some samples. Sized by the first chunk.
struct Counts {
  at::Tensor confusion;    ///< [true, predicted] int64
  at::Tensor within_five;  ///< correct within the first five, by true class
};

/// Accuracy of a classifier.
class Evaluate final : public microtome::StreamingStage<Counts> {
 public:
  struct Params {
    std::string label = "label";
    std::string output;
  };
  explicit Evaluate(Params params) : params_(std::move(params)) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  void batch(State& state, microtome::Chunk& chunk, microtome::Context& context) const override;
  void merge(State& earlier, State&& later) const override;
  void finish(State& state, microtome::Context& context) const override;

 private:
  Params params_;
};

}  // namespace evaluate
