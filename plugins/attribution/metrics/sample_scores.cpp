#include "metrics/sample_scores.h"

namespace attribution {

at::Tensor SampleScores::all() const {
  if (parts.empty()) throw microtome::Error("no sample could be read, so there are no scores");
  return at::cat(parts);
}

void SampleScoreStage::merge(State& earlier, State&& later) const {
  earlier.parts.insert(earlier.parts.end(), later.parts.begin(), later.parts.end());
}

}  // namespace attribution
