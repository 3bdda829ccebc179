#include "rules/relevance_rules.h"

#include <algorithm>
#include <set>

#include "rules/operators.h"
#include "rules/pairs.h"

namespace attribution {

using namespace microtome;

namespace {

bool is_layer(const GraphNode& node) {
  const auto& names = layer_operators();
  return std::find(names.begin(), names.end(), node.operation) != names.end();
}

bool is_dense(const GraphNode& node) {
  static const std::set<std::string> names = {"aten::linear", "aten::addmm", "aten::matmul",
                                              "aten::mm"};
  return names.contains(node.operation);
}

/// relevance / sums, damped by epsilon; 0 where there is nothing to share among.
at::Tensor shares(const at::Tensor& relevance, const at::Tensor& sums, double epsilon) {
  const at::Tensor damped = sums + at::where(sums < 0, -epsilon, epsilon);
  const at::Tensor none = damped == 0;
  return (relevance / damped.masked_fill(none, 1)).masked_fill(none, 0);
}

/// A part of what a layer adds up: its own operator on another input, with other weights.
struct Term {
  at::Tensor input, weight, bias;  ///< bias undefined: none
};

/// The relevance that reaches each term's input, for outputs that are the sum of the terms.
std::vector<at::Tensor> distribute(const BackwardCall& call, const std::vector<Term>& terms,
                                   const at::Tensor& relevance, double epsilon) {
  const LayerArguments places = layer_arguments(call);
  const auto arguments_of = [&](const Term& term) {
    std::vector<c10::IValue> arguments = call.arguments;
    arguments[places.input] = term.input;
    arguments[places.weight] = term.weight;
    if (places.bias) {
      arguments[*places.bias] =
          term.bias.defined() ? term.bias : at::zeros_like(arguments[*places.bias].toTensor());
    }
    return arguments;
  };
  at::Tensor sums;
  for (const Term& term : terms) {
    const at::Tensor part = call.call(arguments_of(term)).at(0);
    sums = sums.defined() ? sums + part : part;
  }
  const at::Tensor share = shares(relevance, sums, epsilon);
  std::vector<at::Tensor> result;
  result.reserve(terms.size());
  for (const Term& term : terms)
    result.push_back(term.input * pull_back(call, arguments_of(term), {places.input}, share)[0]);
  return result;
}

at::Tensor sum_of(const std::vector<at::Tensor>& parts) {
  at::Tensor sum = parts.at(0);
  for (std::size_t i = 1; i < parts.size(); ++i) sum = sum + parts[i];
  return sum;
}

at::Tensor positive_part(const at::Tensor& value) { return value.clamp_min(0); }
at::Tensor negative_part(const at::Tensor& value) { return value.clamp_max(0); }

at::Tensor by_layer_rule(const BackwardCall& call, LayerRule rule,
                         const RelevanceSettings& settings) {
  const LayerArguments places = layer_arguments(call);
  const at::Tensor& x = call.arguments[places.input].toTensor();
  const at::Tensor& w = call.arguments[places.weight].toTensor();
  const at::Tensor b = places.bias ? call.arguments[*places.bias].toTensor() : at::Tensor();
  const at::Tensor& relevance = call.output_gradients[0];
  const auto with = [&](const std::vector<Term>& terms, const at::Tensor& part, double epsilon) {
    return sum_of(distribute(call, terms, part, epsilon));
  };
  const auto of_sign = [&](bool plus) {
    return std::vector<Term>{{positive_part(x), plus ? positive_part(w) : negative_part(w), {}},
                             {negative_part(x), plus ? negative_part(w) : positive_part(w), {}}};
  };
  const auto bias_of_sign = [&](bool plus) {
    if (!b.defined()) return b;
    return plus ? positive_part(b) : negative_part(b);
  };
  switch (rule) {
    case LayerRule::epsilon:
      return with({{x, w, b}}, relevance, settings.epsilon);
    case LayerRule::gamma: {
      // The output's sign says which contributions are favoured; for inputs and outputs that are
      // not negative this is w + gamma w+ alone.
      const at::Tensor above = call.outputs[0] >= 0;
      const auto favouring = [&](bool plus) {
        const double g = settings.gamma;
        const at::Tensor bias = b.defined() ? b + g * bias_of_sign(plus) : b;
        return std::vector<Term>{
            {positive_part(x), w + g * (plus ? positive_part(w) : negative_part(w)), bias},
            {negative_part(x), w + g * (plus ? negative_part(w) : positive_part(w)), {}}};
      };
      return with(favouring(true), relevance.masked_fill(~above, 0), settings.epsilon) +
             with(favouring(false), relevance.masked_fill(above, 0), settings.epsilon);
    }
    case LayerRule::z_plus:
      return with(of_sign(true), relevance, 0);
    case LayerRule::alpha_beta: {
      const auto biased = [&](bool plus) {
        std::vector<Term> terms = of_sign(plus);
        terms[0].bias = bias_of_sign(plus);
        return terms;
      };
      const double alpha = settings.alpha, beta = settings.alpha - 1;
      const at::Tensor plus = with(biased(true), relevance, 0);
      return beta == 0 ? alpha * plus : alpha * plus - beta * with(biased(false), relevance, 0);
    }
    case LayerRule::flat:
      return with({{at::ones_like(x), at::ones_like(w), {}}}, relevance, 0);
    case LayerRule::z_box: {
      const at::Tensor low = settings.low.to(x.options()).expand_as(x);
      const at::Tensor high = settings.high.to(x.options()).expand_as(x);
      return with({{x, w, {}}, {low, -positive_part(w), {}}, {high, -negative_part(w), {}}},
                  relevance, settings.epsilon);
    }
  }
  throw Error("lrp: unknown rule");
}

/// Whether a layer reads the credited value, with no other layer between.
bool is_first(const BackwardCall& call, std::set<const GraphNode*>& seen) {
  for (const std::size_t argument : recorded_arguments(call)) {
    const BackwardCall* producer = call.producer(argument);
    if (producer == nullptr) return true;
    if (is_layer(producer->node) || !seen.insert(&producer->node).second) continue;
    if (is_first(*producer, seen)) return true;
  }
  return false;
}

std::vector<at::Tensor> layer(const BackwardCall& call, const RelevanceSettings& settings) {
  const std::vector<std::size_t> recorded = recorded_arguments(call);
  if (recorded.size() != 1)
    refuse(call, "lrp",
           "multiplies two values that both depend on what is credited; there is no rule for that");
  std::set<const GraphNode*> seen;
  const LayerRule rule = is_first(call, seen)  ? settings.first
                         : is_dense(call.node) ? settings.dense
                                               : settings.convolution;
  std::vector<at::Tensor> result = no_gradients(call);
  result[recorded[0]] = by_layer_rule(call, rule, settings);
  return result;
}

/// Averages, and batch norms that no convolution stands before: each input in proportion to what it
/// contributes.
std::vector<at::Tensor> by_proportion(const BackwardCall& call, double epsilon) {
  const at::Tensor share = shares(call.output_gradients[0], call.outputs[0], epsilon);
  std::vector<at::Tensor> result = no_gradients(call);
  result.at(0) = call.arguments.at(0).toTensor() * pull_back(call, call.arguments, {0}, share)[0];
  return result;
}

std::vector<at::Tensor> sum(const BackwardCall& call, double epsilon) {
  // An infinite term takes all, as it would in the limit.
  const at::Tensor share = shares(call.output_gradients[0], bounded(call.outputs[0]), epsilon);
  std::vector<at::Tensor> result = no_gradients(call);
  for (const std::size_t i : recorded_arguments(call)) {
    const at::Tensor& term = call.arguments[i].toTensor();
    result[i] = (bounded(term) * share * addend_factor(call, i)).sum_to_size(term.sizes());
  }
  return result;
}

std::vector<at::Tensor> scaling(const BackwardCall& call) {
  const std::vector<std::size_t> recorded = recorded_arguments(call);
  if (recorded.size() != 1)
    refuse(call, "lrp",
           "joins two values that both depend on what is credited; there is no rule for that");
  std::vector<at::Tensor> result = no_gradients(call);
  result[recorded[0]] = call.output_gradients[0].sum_to_size(
      call.arguments[tensor_places(call).at(recorded[0])].toTensor().sizes());
  return result;
}

}  // namespace

const std::vector<std::string>& layer_rule_words() {
  static const std::vector<std::string> words = {"epsilon",    "gamma", "z_plus",
                                                 "alpha_beta", "flat",  "z_box"};
  return words;
}

BackwardRules relevance_rules(const RelevanceSettings& settings) {
  BackwardRules rules;
  rules.merge_batch_norms().refuse_others("lrp");
  const double epsilon = settings.epsilon;
  for (const std::string& operation : layer_operators()) {
    rules.on(operation, [settings](const BackwardCall& call) { return layer(call, settings); });
  }
  const BackwardRule proportional = [epsilon](const BackwardCall& call) {
    return by_proportion(call, epsilon);
  };
  for (const std::string& operation : averaging_operators()) rules.on(operation, proportional);
  rules.on("aten::batch_norm", proportional);
  for (const char* operation : {"aten::add", "aten::sub"})
    rules.on(operation, [epsilon](const BackwardCall& call) { return sum(call, epsilon); });
  for (const std::string& operation : elementwise_operators()) rules.on(operation, scaling);
  for (const char* operation : {"aten::mul", "aten::div", "aten::neg", "aten::pow"})
    rules.on(operation, scaling);
  // A derivative of 0 and 1 hands relevance on, and to the maximum alone.
  const BackwardRule derivative = [](const BackwardCall& call) { return call.standard(); };
  for (const std::string& operation : moving_operators()) rules.on(operation, derivative);
  for (const std::string& operation : max_pooling_operators()) rules.on(operation, derivative);
  return rules;
}

}  // namespace attribution
