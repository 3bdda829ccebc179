#pragma once

#include <vector>

#include "microtome/sdk.h"
#include "receptive_field.h"

namespace top_activations {

struct Params {
  microtome::HookPoint layer;
  std::vector<std::int64_t> units = {0, 1, 2, 3};
  std::int64_t count = 8;
  std::int64_t crop_size = 64;
};

/// The samples that excite each unit most and least so far. Rows are units.
struct Extremes {
  at::Tensor values, samples, places;                    ///< [U, up to count], largest first
  at::Tensor least_values, least_samples, least_places;  ///< [U, up to count], smallest first
};

/// What excites units of a layer.
class TopActivations final : public microtome::StreamingStage<Extremes> {
 public:
  using Params = top_activations::Params;
  explicit TopActivations(Params params) : params_(std::move(params)) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  void batch(Extremes& state, microtome::Chunk& chunk, microtome::Context& context) const override;
  void merge(Extremes& earlier, Extremes&& later) const override;
  void finish(Extremes& state, microtome::Context& context) const override;

 private:
  /// What the places see, [U, count, C, S, S]; writes their boxes to `boxes` [U, count, 4].
  at::Tensor crops(const at::Tensor& samples, const at::Tensor& places, at::Tensor boxes,
                   ReceptiveFields& fields, const microtome::FieldInfo& image,
                   microtome::Context& context) const;
  Params params_;
};

}  // namespace top_activations
