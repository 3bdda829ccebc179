#pragma once

#include <vector>

#include "microtome/sdk.h"

namespace evaluate {

/// How far a score moves when samples are changed in one respect.
class ScoreShift final : public microtome::Stage {
 public:
  struct Params {
    microtome::Target target = microtome::parse_target("predicted");
  };
  explicit ScoreShift(Params params) : params_(std::move(params)) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  void run(microtome::Context& context) const override;

 private:
  /// Positions of the same samples in both datasets.
  struct Pairs {
    std::vector<std::int64_t> plain, changed;
  };
  /// By id; throws `Error` that names a sample without its other half.
  static Pairs pairs(microtome::Context& context);
  void write(const at::Tensor& scores, microtome::Context& context) const;

  Params params_;
};

}  // namespace evaluate
