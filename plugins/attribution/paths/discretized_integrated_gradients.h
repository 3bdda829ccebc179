#pragma once

#include <cstdint>
#include <memory>
#include <mutex>

#include "baselines/baselines.h"
#include "microtome/sdk.h"
#include "paths/anchor_search.h"

namespace attribution {

/// Which part of a value is one point among the real ones.
enum class PointOf { sample, position };

struct DiscretizedParams : BaselineParams {
  AnchorStrategy strategy = AnchorStrategy::greedy;
  PointOf point = PointOf::sample;
  std::int64_t anchors = 30;
  std::int64_t neighbours = 50;
  std::int64_t substeps = 1;
  std::int64_t background = 512;
};

/// Integrated gradients along a path through real points in place of the straight line, which
/// leaves the data: each coordinate is monotone, and gradients are taken at the points.
/// Sanyal, Ren 2021 (arXiv 2108.13654).
class DiscretizedIntegratedGradients final : public BaselineStage {
 public:
  using Params = DiscretizedParams;
  explicit DiscretizedIntegratedGradients(const Params& params)
      : BaselineStage(params), params_(params) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  microtome::Attributions attribute(const microtome::AttributionInput& input,
                                    microtome::Context& context) const override;

 private:
  std::shared_ptr<const ReferenceSet> reference(const microtome::AttributionInput& input,
                                                const at::Tensor& value,
                                                microtome::Context& context) const;
  Params params_;
  /// The neighbour graph, for chunks of the same points.
  struct Known {
    std::mutex mutex;
    std::shared_ptr<const ReferenceSet> set;
  };
  std::shared_ptr<Known> known_ = std::make_shared<Known>();
};

}  // namespace attribution
