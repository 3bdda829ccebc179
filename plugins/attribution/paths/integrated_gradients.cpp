#include "paths/integrated_gradients.h"

#include <algorithm>

#include "memory.h"
#include "result.h"

namespace attribution {

using namespace microtome;

namespace {

/// A straight path at the hook point for each sample of a batch.
struct StraightPath {
  const ScoreFunction& score;
  at::Tensor start, end;
};

/// Attributions along one path, with what was reached.
struct Integral {
  at::Tensor attributions;  ///< float64
  at::Tensor delta;         ///< float64
  at::Tensor steps;         ///< int64, evaluations of the gradient
  at::Tensor converged;     ///< bool
};

/// `rows`: which samples; undefined for all of them.
Integral integrate(const StraightPath& path, Rule rule, std::int64_t steps,
                   const at::Tensor& difference, Context& context, const at::Tensor& rows = {}) {
  const auto chosen = [&](const at::Tensor& values) {
    return rows.defined() ? values.index_select(0, rows.to(values.device())) : values;
  };
  const std::vector<QuadratureNode> nodes = quadrature(rule, steps);
  const at::Tensor start = chosen(path.start), end = chosen(path.end);
  Integral result;
  result.attributions =
      path.score.line_integral(start, end, nodes, rows, [&] { context.check_cancelled(); });
  result.attributions.mul_(end - start);
  result.delta = row_sums(result.attributions) - chosen(difference);
  result.steps = at::full({start.size(0)}, static_cast<std::int64_t>(nodes.size()), at::kLong);
  result.converged = at::ones({start.size(0)}, at::kBool);
  return result;
}

/// Doubles the steps until each sample's completeness delta is within the tolerance of its score
/// difference.
Integral refine(const StraightPath& path, const IntegratedGradientsParams& params,
                const at::Tensor& difference, Context& context) {
  std::int64_t steps = fitting_steps(params.rule, std::min<std::int64_t>(16, params.max_steps));
  Integral result = integrate(path, params.rule, steps, difference, context);
  while (true) {
    const at::Tensor fine =
        result.delta.abs() <= params.tolerance * difference.abs().clamp_min(1e-6);
    result.converged = fine;
    const at::Tensor open = fine.logical_not().nonzero().squeeze(1);
    steps *= 2;
    if (open.numel() == 0 || fitting_steps(params.rule, steps) > params.max_steps) return result;
    const Integral better = integrate(path, params.rule, steps, difference, context, open);
    result.attributions.index_copy_(0, open, better.attributions);
    result.delta.index_copy_(0, open, better.delta);
    result.steps.index_copy_(0, open, better.steps);
  }
}

}  // namespace

IntegratedGradients::IntegratedGradients(Params params)
    : BaselineStage(params), params_(std::move(params)) {
  if (const auto* steps = std::get_if<std::int64_t>(&params_.steps))
    quadrature(params_.rule, *steps);
}

void IntegratedGradients::describe(StageSpec<Params>& spec) {
  spec.summary(
      "Integrated gradients: what each input, or each unit of a layer, adds to a score compared "
      "with a baseline.");
  spec.details(
      "Attributions sum to the score difference between input and baseline, up to the completeness "
      "delta, which is written for each "
      "sample. At a layer the path is the straight line between its values at the baseline and at "
      "the input. Several baselines are averaged.");
  spec.paper(
      "Sundararajan, Taly, Yan 2017, Axiomatic attribution for deep networks (arXiv 1703.01365)");
  describe_attribution(spec);
  spec.parameter("steps", &Params::steps)
      .range(1, 65536)
      .doc(
          "evaluations of the gradient (intervals for trapezoid, simpson, boole), or auto: doubled "
          "from 16 until the completeness delta is within the tolerance, for each sample");
  spec.parameter("rule", &Params::rule)
      .choices(rule_words())
      .doc("how the integral is approximated; all weights sum to 1");
  describe_baselines(spec);
  spec.parameter("tolerance", &Params::tolerance)
      .range(1e-9, 1)
      .unit("share of the score difference")
      .doc("for steps: auto");
  spec.parameter("max_steps", &Params::max_steps)
      .range(1, 65536)
      .doc("for steps: auto; samples that do not get there are marked in `converged`");
}

void IntegratedGradients::plan(const PlanInputs& inputs, Plan& plan) const {
  BaselineStage::plan(inputs, plan);
  plan.rows_at_least = ScoreFunction::rows_at_once;
  // The sum over the path, in double precision and of a few steps in single, behind what is affine
  // at the network's beginning.
  plan.bytes_per_sample = 3 * bytes_of_largest_value(inputs);
}

Attributions IntegratedGradients::attribute(const AttributionInput& input, Context& context) const {
  const ScoreFunction score_of = score_function(input, context);
  const at::Tensor score = score_of.clean_scores().to(at::kDouble);
  at::Tensor values, delta, steps, converged;
  for (std::size_t i = 0; i < baselines().size(); ++i) {
    const at::Tensor& end = score_of.value();
    const StraightPath path{score_of, baselines().at_hook(input, common().at, i, end, context),
                            end};
    const at::Tensor difference =
        score - score_of.scores(path.start, {}, baseline_words).to(at::kDouble);
    const auto* fixed = std::get_if<std::int64_t>(&params_.steps);
    const Integral integral = fixed != nullptr
                                  ? integrate(path, params_.rule, *fixed, difference, context)
                                  : refine(path, params_, difference, context);
    const double share = 1.0 / static_cast<double>(baselines().size());
    values = i == 0 ? integral.attributions * share : values + integral.attributions * share;
    delta = i == 0 ? integral.delta * share : delta + integral.delta * share;
    steps = i == 0 ? integral.steps : steps + integral.steps;
    converged = i == 0 ? integral.converged : converged.logical_and(integral.converged);
  }
  Attributions result;
  result.values = values.to(at::kFloat);
  result.score = score.to(at::kFloat);
  result.completeness_delta = delta;
  result.more = {{"steps", steps}};
  if (score_of.target().classes().defined())
    result.more.emplace_back("target", score_of.target().classes());
  if (std::holds_alternative<std::monostate>(params_.steps)) {
    result.more.emplace_back("converged", converged);
    const auto open = converged.logical_not().sum().item<std::int64_t>();
    if (open > 0) {
      context.log(LogLevel::warning,
                  std::to_string(open) + " of the samples \"" + input.batch.ids.front() +
                      "\" to \"" + input.batch.ids.back() +
                      "\" did not reach the tolerance within " + std::to_string(params_.max_steps) +
                      " steps; they are marked in `converged`");
    }
  }
  return result;
}

}  // namespace attribution
