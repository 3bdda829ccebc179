#pragma once

#include <vector>

#include "microtome/sdk.h"

namespace attribution {

/// Each sample's scores of one metric, by chunk.
struct SampleScores {
  std::vector<at::Tensor> parts;

  /// Throws `microtome::Error` when there are none.
  at::Tensor all() const;
};

/// Base of the metrics that score samples one by one.
class SampleScoreStage : public microtome::StreamingStage<SampleScores> {
 public:
  void merge(State& earlier, State&& later) const final;
};

}  // namespace attribution
