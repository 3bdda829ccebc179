#include "gradient/rectifier_rules.h"

#include <algorithm>
#include <array>
#include <string>

#include "result.h"

namespace attribution {

using namespace microtome;

namespace {

/// ReLU6 is a `hardtanh` or a `clamp` from 0 on.
constexpr std::array rectifiers = {"aten::relu",  "aten::relu6",     "aten::hardtanh",
                                   "aten::clamp", "aten::clamp_min", "aten::threshold"};
constexpr std::array other_activations = {
    "aten::leaky_relu", "aten::prelu",    "aten::rrelu",     "aten::elu",        "aten::selu",
    "aten::celu",       "aten::gelu",     "aten::silu",      "aten::mish",       "aten::sigmoid",
    "aten::tanh",       "aten::softplus", "aten::hardswish", "aten::hardsigmoid"};

template <class List>
bool is_among(const GraphNode& node, const List& operations) {
  return std::find(operations.begin(), operations.end(), node.operation) != operations.end();
}

/// Whether it cuts off at zero: `clamp` and `hardtanh` may have other bounds.
bool cuts_at_zero(const BackwardCall& call) {
  if (call.node.operation == "aten::relu" || call.node.operation == "aten::relu6") return true;
  const auto is_zero = [](const c10::IValue& value) {
    return value.isScalar() && value.toScalar().toDouble() == 0;
  };
  if (call.node.operation == "aten::threshold")
    return is_zero(call.arguments.at(1)) && is_zero(call.arguments.at(2));
  return is_zero(call.arguments.at(1));
}

}  // namespace

BackwardRules rectifier_rules(RectifierRule rule) {
  BackwardRules rules;
  for (const char* operation : rectifiers) {
    rules.on(operation, [rule](const BackwardCall& call) {
      const at::Tensor& arriving = call.output_gradients[0];
      std::vector<at::Tensor> result = call.standard();
      if (!result.empty() && result[0].defined() && arriving.defined() && cuts_at_zero(call)) {
        result[0] = rule == RectifierRule::guided ? result[0].clamp_min(0) : arriving.clamp_min(0);
      }
      return result;
    });
  }
  return rules;
}

void check_rectifiers(const PlanInputs& inputs) {
  const Model* model = inputs.model("model");
  if (model == nullptr) return;
  const auto& nodes = model->graph().nodes;
  for (const GraphNode& node : nodes) {
    if (!is_among(node, other_activations)) continue;
    inputs.problems().add({}, "the model has " + node.operation +
                                  (node.module.empty() ? "" : " in \"" + node.module + "\"") +
                                  ", and the rule is for ReLU alone: there it would quietly be the "
                                  "plain gradient. Take saliency or integrated_gradients");
    return;
  }
  if (std::none_of(nodes.begin(), nodes.end(),
                   [](const GraphNode& node) { return is_among(node, rectifiers); })) {
    inputs.problems().add({},
                          "the model has no ReLU, so this would be the plain gradient; take "
                          "saliency");
  }
}

void RectifierStage::plan(const PlanInputs& inputs, Plan& plan) const {
  check_rectifiers(inputs);
  AttributionStage::plan(inputs, plan);
}

Attributions RectifierStage::attribute(const AttributionInput& input, Context& context) const {
  const ScoreFunction score = score_function(input, context);
  const ScoreFunction::Gradient gradient =
      score.gradient(score.value(), {}, rectifier_rules(rule_));
  return attributions(score, gradient.scores, gradient.values);
}

void GuidedBackprop::describe(StageSpec<Params>& spec) {
  spec.summary(
      "Guided backpropagation: gradients of which each ReLU passes only what is positive.");
  spec.details(
      "Acts on the operators of the network, so a functional ReLU, one that is called twice and "
      "ReLU6 count. Known to change little when the weights of upper layers are drawn anew "
      "(Adebayo "
      "2018): do not read it as an explanation of a class.");
  spec.paper(
      "Springenberg, Dosovitskiy, Brox, Riedmiller 2014, Striving for simplicity (arXiv "
      "1412.6806)");
  describe_attribution(spec);
}

void Deconvolution::describe(StageSpec<Params>& spec) {
  spec.summary(
      "Deconvolution: gradients of which each ReLU passes what is positive, whatever its own input "
      "was.");
  spec.paper(
      "Zeiler, Fergus 2013, Visualizing and understanding convolutional networks (arXiv "
      "1311.2901)");
  describe_attribution(spec);
}

}  // namespace attribution
