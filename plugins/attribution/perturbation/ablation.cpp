#include "perturbation/ablation.h"

#include <utility>

#include "perturbation/by_sample.h"
#include "perturbation/maps.h"
#include "result.h"

namespace attribution {

using namespace microtome;

namespace {

/// Averages what `of_baseline(start)` gives over the baselines.
template <class OfBaseline>
at::Tensor averaged(const Baselines& baselines, const ScoreFunction& score,
                    const AttributionInput& input, Context& context, OfBaseline of_baseline) {
  at::Tensor total;
  for (std::size_t i = 0; i < baselines.size(); ++i) {
    const at::Tensor values =
        of_baseline(baselines.at_hook(input, score.at(), i, score.value(), context));
    total = total.defined() ? total + values : values;
  }
  return total / static_cast<double>(baselines.size());
}

}  // namespace

Occlusion::Occlusion(Params params) : BaselineStage(params), params_(std::move(params)) {
  if (params_.stride > params_.window)
    throw Error("stride: " + std::to_string(params_.stride) + " leaves gaps between windows of " +
                std::to_string(params_.window));
}

void Occlusion::describe(StageSpec<Params>& spec) {
  spec.summary("Occlusion: how far a score falls when a window of the image is covered.");
  spec.details(
      "The window, square and over all channels, moves by the stride until it has covered the last "
      "row and column; an element's value is the mean over the windows that cover it.");
  spec.paper(
      "Zeiler, Fergus 2013, Visualizing and understanding convolutional networks (arXiv "
      "1311.2901)");
  describe_attribution(spec);
  describe_baselines(spec);
  spec.parameter("window", &Params::window)
      .range(1, 100000)
      .unit("pixels")
      .doc("side of the window");
  spec.parameter("stride", &Params::stride)
      .range(1, 100000)
      .unit("pixels")
      .doc("by how much the window moves; the window's side at most");
}

void Occlusion::plan(const PlanInputs& inputs, Plan& plan) const {
  BaselineStage::plan(inputs, plan);
  plan.gradients = false;
  check_maps(inputs, common().at, "occlusion");
}

Attributions Occlusion::attribute(const AttributionInput& input, Context& context) const {
  const ScoreFunction score = score_function(input, context);
  const at::Tensor& value = score.value();
  demand_maps(score.axes(), "occlusion");
  const at::Tensor plain = score.clean_scores();
  const std::int64_t height = value.size(2), width = value.size(3);
  const auto places = [&](std::int64_t size) {
    return size <= params_.window
               ? 1
               : (size - params_.window + params_.stride - 1) / params_.stride + 1;
  };
  const at::Tensor total =
      averaged(baselines(), score, input, context, [&](const at::Tensor& start) {
        at::Tensor sum =
            at::zeros({value.size(0), 1, height, width}, value.options().dtype(at::kDouble));
        at::Tensor covered = at::zeros({1, 1, height, width}, sum.options());
        for (std::int64_t row = 0; row < places(height); ++row) {
          for (std::int64_t column = 0; column < places(width); ++column) {
            context.check_cancelled();
            const auto window = [&](const at::Tensor& whole) {
              const std::int64_t top = row * params_.stride, left = column * params_.stride;
              return whole.slice(2, top, std::min(top + params_.window, height))
                  .slice(3, left, std::min(left + params_.window, width));
            };
            at::Tensor occluded = value.clone();
            window(occluded).copy_(window(start));
            window(sum) += by_row((plain - score.scores(occluded)).to(at::kDouble), sum);
            window(covered) += 1;
          }
        }
        return (sum / covered).expand_as(value);
      });
  return attributions(score, plain, total);
}

void FeatureStage::plan(const PlanInputs& inputs, Plan& plan) const {
  BaselineStage::plan(inputs, plan);
  plan.gradients = false;
  grouping_.check(inputs, common().at);
}

Attributions FeatureStage::attribute(const AttributionInput& input, Context& context) const {
  if (!grouping_.is_by_sample()) return of_features(input, context);
  return by_sample(input, [&](const AttributionInput& one) { return of_features(one, context); });
}

void FeatureAblation::describe(StageSpec<Params>& spec) {
  spec.summary("Feature ablation: how far a score falls when one feature is put to the baseline.");
  describe_features(spec);
}

Attributions FeatureAblation::of_features(const AttributionInput& input, Context& context) const {
  const ScoreFunction score = score_function(input, context);
  const at::Tensor& value = score.value();
  const Features features = features_of(grouping(), value, score.axes(), input, score.at());
  const at::Tensor plain = score.clean_scores();
  const at::Tensor total =
      averaged(baselines(), score, input, context, [&](const at::Tensor& start) {
        at::Tensor falls = at::empty({value.size(0), features.count}, at::kDouble);
        at::Tensor present = at::ones({value.size(0), features.count}, at::kBool);
        for (std::int64_t feature = 0; feature < features.count; ++feature) {
          context.check_cancelled();
          present.select(1, feature).fill_(false);
          const at::Tensor scores = score.scores(features.composed(present, value, start));
          falls.select(1, feature).copy_((plain - scores).to(at::kDouble));
          present.select(1, feature).fill_(true);
        }
        return features.spread(falls.to(value.device()), value);
      });
  return attributions(score, plain, total);
}

}  // namespace attribution
