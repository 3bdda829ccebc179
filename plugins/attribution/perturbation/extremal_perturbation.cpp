#include "perturbation/extremal_perturbation.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "perturbation/maps.h"
#include "perturbation/smooth_mask.h"
#include "result.h"

namespace attribution {

using namespace microtome;

namespace {

/// The authors' values for images of 224 pixels.
constexpr double sigma_share = 21.0 / 224, blur_share = 20.0 / 224;
constexpr std::int64_t blur_levels = 8;
constexpr double momentum = 0.9;
/// Values of a mask that differ by about this are equal to its ranking.
constexpr double tie = 0.01;
/// By how much the weight of the area grows from the first step to the last.
constexpr double area_weight_growth = 16;

/// A value at rising levels of perturbation, last as it is, to be read between the levels.
class Pyramid {
 public:
  explicit Pyramid(const std::vector<at::Tensor>& levels) : levels_(at::stack(levels, 1)) {}

  struct Reading {
    at::Tensor value;  ///< N x C x H x W
    at::Tensor slope;  ///< derivative of the value by the mask, like it
  };
  /// The level is `mask` (N x 1 x H x W, 0..1) of the way up.
  Reading at(const at::Tensor& mask) const {
    const auto last = static_cast<double>(levels_.size(1) - 1);
    const at::Tensor height = mask * last, below = height.floor().clamp(0, last - 1);
    const at::Tensor number = below.to(at::kLong);
    const at::Tensor lower = level(number), rise = level(number + 1) - lower;
    return {lower + rise * (height - below), rise * last};
  }

 private:
  at::Tensor level(const at::Tensor& number) const {
    std::vector<std::int64_t> shape = levels_.sizes().vec();
    shape[1] = 1;
    return levels_.gather(1, number.unsqueeze(1).expand(shape)).squeeze(1);
  }

  at::Tensor levels_;  ///< N x levels x C x H x W
};

/// What the search for a mask of one area found.
struct Found {
  at::Tensor mask;   ///< N x 1 x H x W
  at::Tensor score;  ///< of what the mask lets through, [N]
};

/// The search for masks of the samples of a batch.
struct Search {
  const ExtremalParams& params;
  const ScoreFunction& score;
  const Pyramid& pyramid;
  const SmoothMask& smooth;

  /// Derivative by the mask of the reward for a shown or a hidden part, N x 1 x H x W.
  at::Tensor reward_gradient(const at::Tensor& shown, bool flipped) const {
    const auto turned = [&](const at::Tensor& value) { return flipped ? value.flip(3) : value; };
    const Pyramid::Reading read = pyramid.at(shown);
    const at::Tensor by_value = turned(score.gradient(turned(read.value)).values);
    return (by_value * read.slope).sum(1, true);
  }

  Found masks(double area, Context& context) const {
    const at::Tensor& value = score.value();
    const std::int64_t rows = value.size(0), margin = smooth.margin();
    const std::int64_t places = (value.size(2) + 2 * margin) * (value.size(3) + 2 * margin);
    at::Tensor points = at::ones({rows, 1, smooth.rows(), smooth.columns()}, value.options());
    at::Tensor velocity = at::zeros_like(points);
    // A mask of the area, a share of the map, its values in rising order.
    const auto there = static_cast<std::int64_t>(
        std::llround(static_cast<double>(value.size(2) * value.size(3)) * area));
    const at::Tensor wanted = at::zeros({places}, value.options());
    wanted.narrow(0, places - there, there).fill_(1);
    for (std::int64_t step = 0; step < params.steps; ++step) {
      context.check_cancelled();
      const SmoothMask::Made made = smooth.of(points);
      const bool flipped = params.flip && step % 2 == 0;
      const at::Tensor shown = smooth.on_map(made.mask);
      at::Tensor by_mask = at::zeros_like(made.mask), by_shown = smooth.on_map(by_mask);
      if (params.game != MaskGame::remove) by_shown += reward_gradient(shown, flipped);
      // -S(1 - mask) has the slope of S at 1 - mask.
      if (params.game != MaskGame::preserve) by_shown += reward_gradient(1 - shown, flipped);
      // Values that are all but equal, as all are at first, rank as the score would have them.
      const at::Tensor pull = by_mask.flatten(1), mask = made.mask.flatten(1);
      const at::Tensor usual = pull.abs().mean(1, true).clamp_min(1e-30);
      const at::Tensor order = std::get<1>((mask + (pull / usual).clamp(-3, 3) * tie).sort(1));
      const at::Tensor sorted = mask.gather(1, order);
      const double weight = params.area_weight *
                            std::pow(area_weight_growth,
                                     static_cast<double>(step) / static_cast<double>(params.steps));
      by_mask.view({rows, places})
          .scatter_add_(1, order, (sorted - wanted) * (-2 * weight / static_cast<double>(places)));
      velocity.mul_(momentum).add_(smooth.gradient(made, by_mask), 1 - momentum);
      points.add_(velocity, params.learning_rate).clamp_(0, 1);
    }
    const at::Tensor mask = smooth.on_map(smooth.of(points).mask);
    return {mask,
            score.scores(pyramid.at(params.game == MaskGame::remove ? 1 - mask : mask).value)};
  }
};

}  // namespace

ExtremalPerturbation::ExtremalPerturbation(const Params& params)
    : BaselineStage(params), params_(params) {
  if (params_.areas.empty()) throw Error("areas: name one at least");
}

void ExtremalPerturbation::describe(StageSpec<Params>& spec) {
  spec.summary("Extremal perturbation: the mask of a given area that keeps most of a score.");
  spec.details(
      "A mask that is smooth by construction is moved up the gradient of the score while its area "
      "is drawn to the one given: it shows by itself what is enough (or, for delete, what is "
      "needed). `attributions` is the mean mask over the areas, one channel, 0..1; "
      "`perturbed_score`, N x areas, the score that it leaves (for delete, without what is in it), "
      "`area`, N x areas, what it covers. The blur repeats the image's border (in the authors' "
      "code it darkens towards it), the area is a share of the image alone, and its weight grows "
      "16-fold whatever the number of steps. Scales are shares of the shorter side unless given.");
  spec.paper(
      "Fong, Patrick, Vedaldi 2019, Understanding deep networks via extremal perturbations and "
      "smooth masks (arXiv 1910.08485)");
  describe_attribution(spec);
  describe_baselines(spec);
  spec.parameter("areas", &Params::areas)
      .range(1e-4, 0.9999)
      .doc("shares of the image that masks are to cover, each searched for by itself");
  spec.parameter("game", &Params::game)
      .choices({"preserve", "delete", "dual"})
      .doc(
          "preserve: the most score by what the mask shows; delete: the least without it; dual: "
          "both");
  spec.parameter("hidden", &Params::hidden)
      .choices({"blur", "baseline"})
      .doc("what is where the mask hides: the value blurred, or the baseline");
  spec.parameter("steps", &Params::steps)
      .range(1, 1000000)
      .doc("gradients for each area (twice as many for dual)");
  spec.parameter("sigma", &Params::sigma)
      .range(0.1, 1e4)
      .unit("pixels")
      .doc("how smooth a mask is; 21 / 224 of the shorter side when it is not given");
  spec.parameter("blur", &Params::blur)
      .range(0.1, 1e4)
      .unit("pixels")
      .doc("standard deviation of the strongest blur; 20 / 224 of the shorter side when not given");
  spec.parameter("learning_rate", &Params::learning_rate)
      .range(1e-6, 1e3)
      .doc("of the ascent, which has momentum 0.9");
  spec.parameter("area_weight", &Params::area_weight)
      .range(0, 1e9)
      .doc("of the squared distance to a mask of the area, in units of the score, at first");
  spec.parameter("flip", &Params::flip)
      .doc("every other step sees the mirror image; false where left and right differ");
}

void ExtremalPerturbation::plan(const PlanInputs& inputs, Plan& plan) const {
  BaselineStage::plan(inputs, plan);
  if (params_.hidden == Hidden::blur && params_.baseline != BaselineParams().baseline)
    inputs.problems().add({}, "baseline is for hidden: baseline; a blurred value is there now");
  check_maps(inputs, common().at, "extremal_perturbation");
  promise_one_channel(plan);
}

Attributions ExtremalPerturbation::attribute(const AttributionInput& input,
                                             Context& context) const {
  const ScoreFunction score = score_function(input, context);
  const at::Tensor& value = score.value();
  demand_maps(score.axes(), "extremal_perturbation");
  const auto side = static_cast<double>(std::min(value.size(2), value.size(3)));
  const SmoothMask smooth(value.size(2), value.size(3), params_.sigma.value_or(side * sigma_share),
                          value.options());
  const auto count = static_cast<double>(params_.areas.size());
  const std::size_t starts = params_.hidden == Hidden::blur ? 1 : baselines().size();
  at::Tensor values = at::zeros({value.size(0), 1, value.size(2), value.size(3)},
                                value.options().dtype(at::kDouble));
  std::vector<at::Tensor> left(params_.areas.size()), areas(params_.areas.size());
  for (std::size_t i = 0; i < starts; ++i) {
    std::vector<at::Tensor> levels;
    if (params_.hidden == Hidden::blur) {
      const double strongest = params_.blur.value_or(side * blur_share);
      for (std::int64_t level = 0; level < blur_levels; ++level) {
        levels.push_back(blurred(value, strongest * static_cast<double>(blur_levels - 1 - level) /
                                            static_cast<double>(blur_levels - 1)));
      }
    } else {
      levels = {baselines().at_hook(input, common().at, i, value, context), value};
    }
    const Pyramid pyramid(levels);
    const Search search{params_, score, pyramid, smooth};
    for (std::size_t k = 0; k < params_.areas.size(); ++k) {
      const Found found = search.masks(params_.areas[k], context);
      const auto add = [&](at::Tensor& mean, const at::Tensor& more) {
        const at::Tensor share = more.to(at::kDouble) / static_cast<double>(starts);
        mean = mean.defined() ? mean + share : share;
      };
      values += found.mask / (count * static_cast<double>(starts));
      add(left[k], found.score);
      add(areas[k], found.mask.mean({1, 2, 3}));
    }
  }
  Attributions result = attributions(score, score.clean_scores(), values);
  result.more.emplace_back("perturbed_score", at::stack(left, 1).to(at::kFloat));
  result.more.emplace_back("area", at::stack(areas, 1).to(at::kFloat));
  return result;
}

}  // namespace attribution
