#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "baselines.h"
#include "microtome/sdk.h"
#include "quadrature.h"

namespace integrated_gradients {

struct Params : microtome::AttributionParams {
  microtome::Automatic<std::int64_t> steps = std::int64_t{32};
  Rule rule = Rule::gauss_legendre;
  std::vector<std::string> baseline = {"zeros"};
  double tolerance = 0.01;
  std::int64_t max_steps = 1024;
};

/// Integrated gradients along the straight path from a baseline:
///   a = (x - b) * integral over t in [0, 1] of dF/dx (b + t (x - b)) dt
/// at the input or at any hook point, whose value at the baseline is where the path begins there.
/// Sundararajan, Taly, Yan 2017 (arXiv 1703.01365).
class IntegratedGradients final : public microtome::AttributionStage {
 public:
  using Params = integrated_gradients::Params;
  explicit IntegratedGradients(Params params);
  static void describe(microtome::StageSpec<Params>& spec);
  microtome::Plan plan(const microtome::PlanInputs& inputs) const override;
  microtome::Attributions attribute(const microtome::AttributionInput& input,
                                    microtome::Context& context) const override;

 private:
  /// The value at the hook point where the path begins.
  at::Tensor start_of_path(const microtome::AttributionInput& input, const Baseline& baseline,
                           std::size_t number, const at::Tensor& end,
                           microtome::Context& context) const;
  /// The mean image of a dataset, computed once.
  at::Tensor mean_of(const microtome::Dataset& data) const;

  struct Mean {
    std::mutex mutex;
    const microtome::Dataset* of = nullptr;
    at::Tensor image;
  };

  Params params_;
  std::vector<Baseline> baselines_;
  std::shared_ptr<Mean> mean_ = std::make_shared<Mean>();
};

}  // namespace integrated_gradients
