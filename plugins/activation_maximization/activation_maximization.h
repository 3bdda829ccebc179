#pragma once

#include <optional>
#include <vector>

#include "image_parametrisation.h"
#include "microtome/sdk.h"
#include "objective.h"
#include "transformation.h"

namespace activation_maximization {

struct Params {
  std::vector<microtome::Target> targets;
  std::int64_t images = 2;
  std::int64_t steps = 256;
  double learning_rate = 0.05;
  Parametrisation parametrisation = Parametrisation::fourier;
  std::optional<std::int64_t> size;
  double l2 = 0;
  double total_variation = 0;
  double diversity = 0;
  double jitter = 8;
  double rotation = 5;
  double scale = 0.1;
  std::int64_t padding = 8;
};

/// Images that excite units as much as can be.
class ActivationMaximization final : public microtome::Stage {
 public:
  using Params = activation_maximization::Params;
  explicit ActivationMaximization(Params params) : params_(std::move(params)) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  void run(microtome::Context& context) const override;

 private:
  struct Found {
    at::Tensor images;  ///< [images, C, H, W]
    at::Tensor curve;   ///< [steps] mean score
    at::Tensor unseen;  ///< [images, moves] scores under moves that were not optimised
    bool no_gradient = false;
  };
  Found maximise(const Objective& objective, const at::Tensor& colour,
                 const std::vector<std::int64_t>& shape, std::uint64_t stream,
                 microtome::Context& context) const;
  Transformation transformation() const;
  bool regularised() const {
    return params_.l2 > 0 || params_.total_variation > 0 || params_.diversity > 0;
  }
  Params params_;
};

}  // namespace activation_maximization
