#pragma once

#include <optional>

#include "microtome/sdk.h"
#include "rules/relevance_rules.h"

namespace attribution {

/// Layer-wise relevance propagation: the score is handed back through the network, layer by layer.
/// Bach, Binder, Montavon, Klauschen, Mueller, Samek 2015 (PLOS ONE 10, e0130140).
class Lrp final : public microtome::AttributionStage {
 public:
  struct Params : microtome::AttributionParams {
    LayerRule first = LayerRule::flat;
    LayerRule convolution = LayerRule::z_plus;
    LayerRule dense = LayerRule::epsilon;
    double epsilon = 1e-6;
    double gamma = 0.25;
    double alpha = 2;
    microtome::Automatic<double> low, high;
  };
  explicit Lrp(Params params) : AttributionStage(params), params_(std::move(params)) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  microtome::Attributions attribute(const microtome::AttributionInput& input,
                                    microtome::Context& context) const override;

 private:
  bool uses(LayerRule rule) const;
  RelevanceSettings settings(const microtome::Model& model) const;

  Params params_;
};

}  // namespace attribution
