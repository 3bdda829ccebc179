#include "paths/integrated_hessians.h"

#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "paths/quadrature.h"
#include "result.h"

namespace attribution {

using namespace microtome;

namespace {

/// Groups whose pairs are all computed: one product with the Hessian for each, at each point.
constexpr std::int64_t most_groups = 256;

/// Nodes of an integral over t of -ln t f(t). With t = u^2 the weight is -4 u ln u, which is no
/// longer infinite at 0.
std::vector<QuadratureNode> logarithmic_nodes(std::int64_t steps) {
  std::vector<QuadratureNode> nodes = quadrature(Rule::gauss_legendre, steps);
  for (QuadratureNode& node : nodes) {
    const double u = node.position;
    node = {u * u, -4 * u * std::log(u) * node.weight};
  }
  return nodes;
}

}  // namespace

IntegratedHessians::IntegratedHessians(const Params& params)
    : BaselineStage(params), params_(params) {
  if (params_.features) grouping_ = Grouping::parse(*params_.features);
}

void IntegratedHessians::describe(StageSpec<Params>& spec) {
  spec.summary("Integrated Hessians: how pairs of features act together on a score.");
  spec.details(
      "`attributions` holds what each element takes part in, the sum over its pairs; with "
      "`features`, `interactions` holds all pairs of groups. A network of ReLUs alone is linear in "
      "pieces, so its pairs have no interaction but at the kinks, which no point meets: make it "
      "smooth as the authors do, with a model {from: net, weights: same, softplus: 10}, or expect "
      "the diagonal alone. All pairs sum to the score difference, up to the completeness delta.");
  spec.paper(
      "Janizek, Sturmfels, Lee 2020, Explaining explanations: axiomatic feature interactions for "
      "deep networks (arXiv 2002.04138)");
  describe_attribution(spec);
  describe_baselines(spec);
  spec.parameter("steps", &Params::steps).range(1, 65536).doc("evaluations of the Hessian");
  spec.parameter("features", &Params::features)
      .doc(std::string("groups whose pairs are wanted, 256 at most: ") + Grouping::doc);
}

void IntegratedHessians::plan(const PlanInputs& inputs, Plan& plan) const {
  if (grouping_) grouping_->check(inputs, common().at);
  if (grouping_ && grouping_->is_by_sample())
    inputs.problems().add({},
                          "features: regions differ from sample to sample, so their pairs have no "
                          "common matrix; take grid:N, channel or unit");
  BaselineStage::plan(inputs, plan);
}

Attributions IntegratedHessians::attribute(const AttributionInput& input, Context& context) const {
  const ScoreFunction score = score_function(input, context);
  const at::Tensor& end = score.value();
  const std::int64_t rows = end.size(0);
  const std::vector<QuadratureNode> nodes = logarithmic_nodes(params_.steps);
  const std::optional<Features> groups =
      grouping_ ? std::optional(features_of(*grouping_, end, score.axes(), input, score.at()))
                : std::nullopt;
  const std::int64_t count = groups ? groups->count : 0;
  if (count > most_groups) {
    throw Error("features: there are " + std::to_string(count) + " groups, " +
                std::to_string(most_groups) + " are the most whose pairs can be computed");
  }
  const at::Tensor scores = score.clean_scores().to(at::kDouble);
  const at::TensorOptions precise = end.options().dtype(at::kDouble);
  at::Tensor values = at::zeros(end.sizes(), precise);
  at::Tensor pairs = at::zeros({rows, count, count}, precise);
  at::Tensor baseline_scores = at::zeros({rows}, precise);
  const double share = 1.0 / static_cast<double>(baselines().size());
  for (std::size_t number = 0; number < baselines().size(); ++number) {
    const at::Tensor start = baselines().at_hook(input, common().at, number, end, context);
    const at::Tensor step = end - start;
    baseline_scores += score.scores(start, {}, baseline_words).to(at::kDouble) * share;
    // Sums over the elements of each group.
    const auto by_group = [&](const at::Tensor& elements) {
      const at::Tensor index = groups->index.expand_as(elements).flatten(1).to(elements.device());
      return at::zeros({rows, count}, precise).scatter_add_(1, index, elements.flatten(1));
    };
    for (const QuadratureNode& node : nodes) {
      context.check_cancelled();
      Pass pass;
      pass.capture = score.target().capture();
      pass.differentiate = {score.at()};
      const Recording recording = score.run(start + node.position * step, std::move(pass));
      const at::AutoGradMode mode(true);
      const at::Tensor gradient =
          recording.gradients(score.score(recording), true, /*create_graph=*/true)[0];
      // Of step . gradient by the value: the Hessian times a direction.
      const auto product = [&](const at::Tensor& direction) {
        if (!gradient.requires_grad()) return at::zeros_like(direction);
        const at::Tensor found =
            torch::autograd::grad({(gradient * direction).sum()}, {recording.differentiated[0]}, {},
                                  /*retain_graph=*/true, false, /*allow_unused=*/true)[0];
        return found.defined() ? found : at::zeros_like(direction);
      };
      const at::Tensor diagonal = gradient.detach().to(at::kDouble) * step * (node.weight * share);
      const double weight = node.weight * node.position * share;
      values += diagonal + product(step).to(at::kDouble) * step * weight;
      if (!groups) continue;
      pairs += by_group(diagonal).diag_embed();
      for (std::int64_t g = 0; g < count; ++g) {
        const at::Tensor of_group = step * (groups->index == g).to(step.options());
        pairs.select(1, g) += by_group(product(of_group).to(at::kDouble) * step * weight);
      }
    }
  }
  Attributions result = attributions(score, scores, values);
  result.completeness_delta = row_sums(values) - (scores - baseline_scores);
  if (groups) result.more.emplace_back("interactions", pairs.to(at::kFloat));
  return result;
}

}  // namespace attribution
