#pragma once

#include <cstdint>

#include "metrics/relevance.h"
#include "microtome/sdk.h"

namespace attribution {

struct SideBySideParams {
  std::int64_t count = 8;
  OverChannels over = OverChannels::sum;
};

/// The maps of several methods on the same samples, to look at.
class SideBySide final : public microtome::Stage {
 public:
  using Params = SideBySideParams;
  explicit SideBySide(Params params) : params_(params) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  void run(microtome::Context& context) const override;

 private:
  Params params_;
};

}  // namespace attribution
