#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "baselines/baselines.h"
#include "microtome/sdk.h"

namespace attribution {

/// What a mask is to do to the score.
enum class MaskGame { preserve, remove, dual };
/// What stands where a mask hides.
enum class Hidden { blur, baseline };

struct ExtremalParams : BaselineParams {
  std::vector<double> areas = {0.1};
  MaskGame game = MaskGame::preserve;
  Hidden hidden = Hidden::blur;
  std::int64_t steps = 800;
  std::optional<double> sigma;
  std::optional<double> blur;
  double learning_rate = 0.01;
  double area_weight = 300;
  bool flip = true;
};

/// The smooth mask of a given area that keeps (or takes away) most of the score, found by ascent.
/// Fong, Patrick, Vedaldi 2019 (arXiv 1910.08485).
class ExtremalPerturbation final : public BaselineStage {
 public:
  using Params = ExtremalParams;
  explicit ExtremalPerturbation(const Params& params);
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  microtome::Attributions attribute(const microtome::AttributionInput& input,
                                    microtome::Context& context) const override;

 private:
  Params params_;
};

}  // namespace attribution
