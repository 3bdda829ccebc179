#include "rules/lrp.h"

#include "result.h"
#include "rules/rule_checks.h"

namespace attribution {

using namespace microtome;

void Lrp::describe(StageSpec<Params>& spec) {
  spec.summary("Layer-wise relevance propagation: hands the score back, layer by layer.");
  spec.details(
      "One rule for layers that read the credited value itself, one for convolutions, one for "
      "dense layers: the default (flat, z_plus, epsilon) is the composite for image classifiers of "
      "Kohlbrenner et al. 2020. Batch norms are merged into the convolutions before them; the "
      "rules "
      "act on operators, and one without a rule is an error. Relevance sums to the score but for "
      "what biases and epsilon take, which `conservation_delta` says for each sample.");
  spec.paper(
      "Bach, Binder, Montavon, Klauschen, Mueller, Samek 2015, On pixel-wise explanations for "
      "non-linear classifier decisions (PLOS ONE 10, e0130140); rules as in Montavon, Binder, "
      "Lapuschkin, Samek, Mueller 2019, Layer-wise relevance propagation: an overview");
  describe_attribution(spec);
  spec.parameter("first", &Params::first)
      .choices(layer_rule_words())
      .doc("rule of the layers that read the credited value itself");
  spec.parameter("convolution", &Params::convolution)
      .choices(layer_rule_words())
      .doc("rule of the other convolutions");
  spec.parameter("dense", &Params::dense)
      .choices(layer_rule_words())
      .doc("rule of the other dense layers");
  spec.parameter("epsilon", &Params::epsilon)
      .range(0, 1e6)
      .doc("added to the denominators of epsilon, gamma, z_box, of sums and of averages");
  spec.parameter("gamma", &Params::gamma)
      .range(0, 1e6)
      .doc("how much gamma favours contributions of the output's own sign");
  spec.parameter("alpha", &Params::alpha)
      .range(1, 1e6)
      .doc("weight of the positive shares in alpha_beta; beta is alpha - 1");
  spec.parameter("low", &Params::low)
      .doc("least value that the input can have, for z_box; auto: of pixels 0..1, normalised");
  spec.parameter("high", &Params::high)
      .doc("largest value that the input can have, for z_box; auto: of pixels 0..1, normalised");
}

bool Lrp::uses(LayerRule rule) const {
  return params_.first == rule || params_.convolution == rule || params_.dense == rule;
}

RelevanceSettings Lrp::settings(const Model& model) const {
  RelevanceSettings settings{params_.first,
                             params_.convolution,
                             params_.dense,
                             params_.epsilon,
                             params_.gamma,
                             params_.alpha,
                             {},
                             {}};
  if (!uses(LayerRule::z_box)) return settings;
  const auto bound = [&](const Automatic<double>& given, double pixel) {
    if (const auto* number = std::get_if<double>(&given)) return at::scalar_tensor(*number);
    const std::vector<std::int64_t>& shape = model.inputs().at(0).shape;
    const at::Tensor pixels = at::full({1, shape.empty() ? 3 : shape[0], 1, 1}, pixel);
    return common().at.module == "pixels" ? pixels : model.normalise(pixels);
  };
  settings.low = bound(params_.low, 0);
  settings.high = bound(params_.high, 1);
  return settings;
}

void Lrp::plan(const PlanInputs& inputs, Plan& plan) const {
  AttributionStage::plan(inputs, plan);
  plan.bytes_per_sample = bytes_of_rules(inputs);
  check_linear_target(inputs, common().target, "lrp");
  const Model* model = inputs.model("model");
  if (model == nullptr) return;
  const bool bounds_are_given =
      std::holds_alternative<double>(params_.low) && std::holds_alternative<double>(params_.high);
  if (params_.convolution == LayerRule::z_box || params_.dense == LayerRule::z_box) {
    inputs.problems().add({}, "z_box is for inputs within bounds: take it as `first` alone");
  } else if (uses(LayerRule::z_box) && !bounds_are_given &&
             !(model->normalises() && common().at.is_model_input())) {
    inputs.problems().add({}, "z_box needs to know the bounds of the value at \"" +
                                  common().at.text() +
                                  "\": give low and high, or the model input: {mean, std}");
  } else {
    check_rules(inputs, common(), relevance_rules(settings(*model)), 1);
  }
}

Attributions Lrp::attribute(const AttributionInput& input, Context& context) const {
  const ScoreFunction score = score_function(input, context);
  const ScoreFunction::Gradient relevance =
      score.relevance(score.value(), {}, relevance_rules(settings(input.model)));
  Attributions result = attributions(score, relevance.scores, relevance.values);
  result.more.emplace_back("conservation_delta",
                           row_sums(relevance.values) - relevance.scores.to(at::kDouble));
  return result;
}

}  // namespace attribution
