#include "paths/discretized_integrated_gradients.h"

#include "baselines/background.h"
#include "result.h"

namespace attribution {

using namespace microtome;

namespace {

/// Positions with a vector each.
bool is_row_of_vectors(const Axes& axes) { return axes.size() == 2 && axes[1] == "c"; }

}  // namespace

void DiscretizedIntegratedGradients::describe(StageSpec<Params>& spec) {
  spec.summary("Integrated gradients along a path through real points.");
  spec.details(
      "From the input to the baseline by anchors among the neighbours of the last one; coordinates "
      "that would turn back are put on the straight line instead, so each coordinate is monotone. "
      "Sums the steps times the mean gradient of their two ends: gradients are of real points, or "
      "close to them (`approximation_error`, in the units of the value; `straight_error` is that "
      "of "
      "as many points of the straight line). The last step counts like the others (in the authors' "
      "code it is zero), so attributions sum to the score difference up to the completeness "
      "delta.");
  spec.paper(
      "Sanyal, Ren 2021, Discretized integrated gradients for explaining language models (arXiv "
      "2108.13654)");
  describe_attribution(spec);
  describe_baselines(spec);
  describe_background(spec);
  spec.parameter("strategy", &Params::strategy)
      .choices({"greedy", "max_count"})
      .doc(
          "greedy: the anchor that has to be moved least; max_count: the one with most "
          "coordinates that need not be moved");
  spec.parameter("point", &Params::point)
      .choices({"sample", "position"})
      .doc(
          "what is a point among the real ones: the whole value of a sample, or the vector of "
          "each position (N x positions x D), each on a path of its own");
  spec.parameter("anchors", &Params::anchors).range(1, 10000).doc("points between the ends");
  spec.parameter("neighbours", &Params::neighbours)
      .range(1, 10000)
      .doc("of each real point, that a path may go to");
  spec.parameter("substeps", &Params::substeps)
      .range(1, 10000)
      .doc(
          "parts of each step with a gradient at their ends; 1: gradients of the points alone. Few "
          "points lie far apart, and completeness then needs gradients between them");
}

void DiscretizedIntegratedGradients::plan(const PlanInputs& inputs, Plan& plan) const {
  BaselineStage::plan(inputs, plan);
  plan.random = true;
  if (const auto info = inputs.resolve("model", common().at); info && !info->shape.empty() &&
                                                              params_.point == PointOf::position &&
                                                              !is_row_of_vectors(info->axes)) {
    inputs.problems().add(common().at.location,
                          "point: position needs a value of N x positions x D");
  }
}

std::shared_ptr<const ReferenceSet> DiscretizedIntegratedGradients::reference(
    const AttributionInput& input, const at::Tensor& value, Context& context) const {
  const at::Tensor background =
      background_at_hook(input, common().at, params_.background, value, context).values;
  at::Tensor points =
      params_.point == PointOf::sample ? background.flatten(1) : background.flatten(0, 1);
  if (params_.point == PointOf::position) {
    // Tokens come back in every text; a vector that is there twice is one point.
    points = std::get<0>(at::unique_dim(points, 0));
  }
  points = points.cpu();
  const std::lock_guard lock(known_->mutex);
  if (known_->set == nullptr || !known_->set->points.equal(points))
    known_->set =
        std::make_shared<const ReferenceSet>(ReferenceSet::of(points, params_.neighbours));
  return known_->set;
}

Attributions DiscretizedIntegratedGradients::attribute(const AttributionInput& input,
                                                       Context& context) const {
  const ScoreFunction score = score_function(input, context);
  const at::Tensor& end = score.value();
  const auto real = reference(input, end, context);
  const at::Tensor scores = score.clean_scores().to(at::kDouble);
  if (params_.point == PointOf::position && !is_row_of_vectors(score.axes()))
    throw Error("point: position needs a value of N x positions x D; the axes here are " +
                axes_text(score.axes()));
  const std::int64_t width = real->points.size(1);
  at::Tensor values, baseline_scores, errors, straight_errors;
  const double share = 1.0 / static_cast<double>(baselines().size());
  const auto add = [&](at::Tensor& sum, const at::Tensor& more) {
    sum = sum.defined() ? sum + more * share : more * share;
  };
  for (std::size_t number = 0; number < baselines().size(); ++number) {
    const at::Tensor start = baselines().at_hook(input, common().at, number, end, context);
    // Rows of one point each, one path for each row.
    const at::Tensor starts = start.cpu().reshape({-1, width}),
                     ends = end.cpu().reshape({-1, width});
    std::vector<at::Tensor> paths;
    std::vector<double> error, straight_error;
    for (std::int64_t row = 0; row < ends.size(0); ++row) {
      context.check_cancelled();
      AnchoredPath path =
          anchored_path(*real, starts[row], ends[row], params_.anchors, params_.strategy);
      paths.push_back(std::move(path.points));
      error.push_back(path.error);
      straight_error.push_back(path.straight_error);
    }
    const at::Tensor points = at::stack(paths, 1);  // points x rows x D
    at::Tensor integral = at::zeros(end.sizes(), end.options().dtype(at::kDouble));
    at::Tensor here, gradient;
    for (std::int64_t k = 0; k < points.size(0); ++k) {
      const at::Tensor next = points[k].reshape(end.sizes()).to(end.options());
      if (k == 0) {
        const ScoreFunction::Gradient found =
            score.gradient(next, {}, {}, [](std::int64_t) { return std::string(baseline_words); });
        add(baseline_scores, found.scores.to(at::kDouble));
        here = next;
        gradient = found.values;
        continue;
      }
      const at::Tensor part = (next - here) / static_cast<double>(params_.substeps);
      for (std::int64_t i = 1; i <= params_.substeps; ++i) {
        context.check_cancelled();
        const at::Tensor there =
            i == params_.substeps ? next : here + part * static_cast<double>(i);
        const at::Tensor found = score.gradient(there).values;
        integral += part.to(at::kDouble) * (gradient + found) / 2;
        gradient = found;
      }
      here = next;
    }
    add(values, integral);
    const auto by_sample = [&](const std::vector<double>& rows) {
      return at::tensor(rows, at::kDouble).view({end.size(0), -1}).mean(1);
    };
    add(errors, by_sample(error));
    add(straight_errors, by_sample(straight_error));
  }
  Attributions result = attributions(score, scores, values);
  result.completeness_delta = row_sums(values) - (scores - baseline_scores);
  result.more.emplace_back("approximation_error", errors);
  result.more.emplace_back("straight_error", straight_errors);
  return result;
}

}  // namespace attribution
