#include "layers/conductance.h"

#include <utility>

#include "result.h"

namespace attribution {

using namespace microtome;

namespace {

constexpr const char* paper =
    "Dhamdhere, Sundararajan, Yan 2018, How important is a neuron? (arXiv 1805.12233)";

/// The point at `t` of the line from `start` to `end`; the ends are themselves.
at::Tensor on_line(const at::Tensor& start, const at::Tensor& end, double t) {
  if (t == 0) return start;
  if (t == 1) return end;
  return start + t * (end - start);
}

/// The gradient of the scores by the value at `layer`, with `points` at the path's place.
at::Tensor layer_gradient(const ScoreFunction& score, const at::Tensor& points,
                          const HookPoint& layer) {
  Pass pass;
  pass.capture = score.target().capture();
  pass.differentiate = {layer};
  const Recording recording = score.run(points, std::move(pass));
  return recording.gradients(score.score(recording))[0];
}

at::Tensor layer_value(const ScoreFunction& score, const at::Tensor& points,
                       const HookPoint& layer) {
  Pass pass;
  pass.capture = {layer};
  pass.outputs = false;
  return score.run(points, std::move(pass)).captured[0];
}

/// The integral over [0, 1] of `gradient_at(position)`, float64.
template <class GradientAt>
at::Tensor integrated(Rule rule, std::int64_t steps, const Context& context,
                      GradientAt gradient_at) {
  at::Tensor total;
  for (const QuadratureNode& node : quadrature(rule, steps)) {
    if (node.weight == 0) continue;
    context.check_cancelled();
    const at::Tensor weighted = gradient_at(node.position).to(at::kDouble) * node.weight;
    total = total.defined() ? total + weighted : weighted;
  }
  return total;
}

/// Runs `integrate(start, end)` for each baseline, averages, and measures completeness against the
/// scores at the ends.
template <class Integrate>
Attributions over_baselines(const Baselines& baselines, const ScoreFunction& score,
                            const AttributionInput& input, Context& context, bool complete,
                            Integrate integrate) {
  const at::Tensor& end = score.value();
  const at::Tensor scores = score.clean_scores();
  const double share = 1 / static_cast<double>(baselines.size());
  at::Tensor total, delta;
  for (std::size_t i = 0; i < baselines.size(); ++i) {
    const at::Tensor start = baselines.at_hook(input, score.at(), i, end, context);
    const at::Tensor values = integrate(start, end) * share;
    total = total.defined() ? total + values : values;
    if (!complete) continue;
    const at::Tensor missed =
        row_sums(values) -
        (scores - score.scores(start, {}, baseline_words)).to(at::kDouble) * share;
    delta = delta.defined() ? delta + missed : missed;
  }
  Attributions result = attributions(score, scores, total);
  result.completeness_delta = delta;
  return result;
}

template <class Params>
void describe_layer_path(StageSpec<Params>& spec) {
  describe_attribution(spec, true);
  describe_baselines(spec);
  spec.parameter("along", &Params::along)
      .of("model")
      .doc("hook point before the layer at which the straight path runs");
}

}  // namespace

InternalInfluence::InternalInfluence(Params params)
    : BaselineStage(params), params_(std::move(params)) {
  quadrature(params_.rule, params_.steps);
}

void InternalInfluence::describe(StageSpec<Params>& spec) {
  spec.summary("Internal influence: a layer's gradient, averaged along a path at the input.");
  spec.paper(
      "Leino, Sen, Datta, Fredrikson, Li 2018, Influence-directed explanations (arXiv 1802.03788)");
  describe_layer_path(spec);
  spec.parameter("steps", &Params::steps).range(1, 65536).doc("evaluations of the gradient");
  spec.parameter("rule", &Params::rule)
      .choices(rule_words())
      .doc("how the integral is approximated");
}

void InternalInfluence::plan(const PlanInputs& inputs, Plan& plan) const {
  inputs.resolve("model", params_.along);
  BaselineStage::plan(inputs, plan);
}

Attributions InternalInfluence::attribute(const AttributionInput& input, Context& context) const {
  const ScoreFunction score = score_function(input, params_.along, context);
  return over_baselines(
      baselines(), score, input, context, false,
      [&](const at::Tensor& start, const at::Tensor& end) {
        return integrated(params_.rule, params_.steps, context, [&](double position) {
          return layer_gradient(score, on_line(start, end, position), common().at);
        });
      });
}

void Conductance::describe(StageSpec<Params>& spec) {
  spec.summary("Conductance: what flows through each unit of a layer along a path at the input.");
  spec.details(
      "By the definition: the sum over segments of the path of the change of the layer's value "
      "times the gradient by it in the segment's middle, both ends of the path included. Sums to "
      "the score difference between input and baseline as the steps grow.");
  spec.paper(paper);
  describe_layer_path(spec);
  spec.parameter("steps", &Params::steps).range(1, 65536).doc("segments of the path");
}

void Conductance::plan(const PlanInputs& inputs, Plan& plan) const {
  inputs.resolve("model", params_.along);
  BaselineStage::plan(inputs, plan);
}

Attributions Conductance::attribute(const AttributionInput& input, Context& context) const {
  const ScoreFunction score = score_function(input, params_.along, context);
  return over_baselines(
      baselines(), score, input, context, true,
      [&](const at::Tensor& start, const at::Tensor& end) {
        const auto steps = static_cast<double>(params_.steps);
        at::Tensor before = layer_value(score, start, common().at);
        at::Tensor total = at::zeros(before.sizes(), before.options().dtype(at::kDouble));
        for (std::int64_t k = 0; k < params_.steps; ++k) {
          context.check_cancelled();
          const auto at_step = static_cast<double>(k);
          const at::Tensor after =
              layer_value(score, on_line(start, end, (at_step + 1) / steps), common().at);
          const at::Tensor gradient =
              layer_gradient(score, on_line(start, end, (at_step + 0.5) / steps), common().at);
          total += (after - before).to(at::kDouble) * gradient;
          before = after;
        }
        return total;
      });
}

NeuronConductance::NeuronConductance(Params params)
    : BaselineStage(params), params_(std::move(params)) {
  quadrature(params_.rule, params_.steps);
}

void NeuronConductance::describe(StageSpec<Params>& spec) {
  spec.summary("Neuron conductance: what each input adds to a score through units of a layer.");
  spec.paper(paper);
  describe_attribution(spec);
  describe_baselines(spec);
  spec.parameter("neuron", &Params::neuron)
      .of("model")
      .required()
      .doc("the units, after `at`: `layer2[c=3,y=5,x=5]`; a whole layer is all of its units");
  spec.parameter("steps", &Params::steps).range(1, 65536).doc("evaluations of the gradient");
  spec.parameter("rule", &Params::rule)
      .choices(rule_words())
      .doc("how the integral is approximated");
}

void NeuronConductance::plan(const PlanInputs& inputs, Plan& plan) const {
  inputs.resolve("model", params_.neuron);
  BaselineStage::plan(inputs, plan);
}

Attributions NeuronConductance::attribute(const AttributionInput& input, Context& context) const {
  const ScoreFunction score = score_function(input, context);
  HookPoint layer = params_.neuron;
  layer.selector = {};
  const Axes axes = input.model.resolve(layer).axes;
  const auto units = [&](const at::Tensor& value) {
    return select(value, params_.neuron.selector, axes, context.directions());
  };
  return over_baselines(
      baselines(), score, input, context, false,
      [&](const at::Tensor& start, const at::Tensor& end) {
        const at::Tensor total =
            integrated(params_.rule, params_.steps, context, [&](double position) {
              Pass pass;
              pass.capture = score.target().capture();
              pass.differentiate = {common().at, layer};
              const Recording recording = score.run(on_line(start, end, position), std::move(pass));
              const at::Tensor by_layer = recording.gradients(score.score(recording), true)[1];
              // What the units pass on to the score is a factor now.
              const at::Tensor through =
                  (units(recording.differentiated[1]) * units(by_layer).detach()).sum();
              return recording.gradients(through)[0];
            });
        return total * (end - start).to(at::kDouble);
      });
}

}  // namespace attribution
