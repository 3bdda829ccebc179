#pragma once

#include "microtome/sdk.h"

namespace attribution {

struct SaliencyParams : microtome::AttributionParams {
  bool absolute = true;
};

/// The gradient of the score, by default its absolute value.
/// Simonyan, Vedaldi, Zisserman 2013 (arXiv 1312.6034).
class Saliency final : public microtome::AttributionStage {
 public:
  using Params = SaliencyParams;
  explicit Saliency(Params params) : AttributionStage(params), params_(std::move(params)) {}
  static void describe(microtome::StageSpec<Params>& spec);
  microtome::Attributions attribute(const microtome::AttributionInput& input,
                                    microtome::Context& context) const override;

 private:
  Params params_;
};

/// The value times the gradient of the score by it.
/// Shrikumar, Greenside, Shcherbina, Kundaje 2016 (arXiv 1605.01713).
class InputXGradient final : public microtome::AttributionStage {
 public:
  using Params = microtome::AttributionParams;
  explicit InputXGradient(Params params) : AttributionStage(std::move(params)) {}
  static void describe(microtome::StageSpec<Params>& spec);
  microtome::Attributions attribute(const microtome::AttributionInput& input,
                                    microtome::Context& context) const override;
};

}  // namespace attribution
