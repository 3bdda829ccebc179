#pragma once

#include <string>
#include <vector>

#include "microtome/sdk.h"

namespace attribution {

/// How a layer shares the relevance of its outputs among its inputs.
enum class LayerRule {
  epsilon,     ///< in proportion to each contribution, damped (Bach et al. 2015)
  gamma,       ///< with contributions of the output's own sign favoured (Montavon et al. 2019)
  z_plus,      ///< positive contributions alone, without the bias (Montavon et al. 2017)
  alpha_beta,  ///< alpha times the positive less beta times the negative shares (Bach et al. 2015)
  flat,        ///< equally over the receptive field
  z_box,       ///< for inputs within bounds (Montavon et al. 2017)
};

/// Words for the rules, in the order of the enumeration.
const std::vector<std::string>& layer_rule_words();

/// Which rule each kind of layer has, with what the rules need.
struct RelevanceSettings {
  LayerRule first = LayerRule::flat;  ///< layers that read the credited value itself
  LayerRule convolution = LayerRule::z_plus;
  LayerRule dense = LayerRule::epsilon;
  double epsilon = 1e-6;
  double gamma = 0.25;
  double alpha = 2;      ///< beta is alpha - 1
  at::Tensor low, high;  ///< bounds of the credited value, for z_box; they broadcast to it
};

/// Relevance in place of gradients, for `ScoreFunction::relevance`. Batch norms are merged into the
/// convolutions before them; others share by the epsilon rule, as averages do. Sums are split in
/// proportion, maxima take all, activations and what only moves values pass relevance on.
microtome::BackwardRules relevance_rules(const RelevanceSettings& settings);

}  // namespace attribution
