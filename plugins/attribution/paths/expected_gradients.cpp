#include "paths/expected_gradients.h"

#include "baselines/background.h"
#include "result.h"

namespace attribution {

using namespace microtome;

namespace {

template <class Params>
void describe_draws(StageSpec<Params>& spec) {
  describe_attribution(spec);
  describe_background(spec);
  spec.parameter("draws", &Params::draws)
      .range(1, 1000000)
      .doc("random points for each sample, each with a background sample of its own");
}

}  // namespace

void BackgroundStage::plan(const PlanInputs& inputs, Plan& plan) const {
  AttributionStage::plan(inputs, plan);
  plan.random = true;
}

Attributions BackgroundStage::attribute(const AttributionInput& input, Context& context) const {
  const ScoreFunction score = score_function(input, context);
  const at::Tensor& value = score.value();
  const Background background = background_at_hook(input, common().at, background_, value, context);
  const std::int64_t rows = value.size(0);
  const at::TensorOptions options = at::TensorOptions().dtype(at::kFloat);
  // Each sample draws for itself, so that chunks don't matter: which sample, where, noise.
  std::vector<at::Generator> generators;
  for (std::int64_t row = 0; row < rows; ++row)
    generators.push_back(
        context.generator(1 + static_cast<std::uint64_t>(input.batch.position(row))));
  at::Tensor total = at::zeros(value.sizes(), value.options().dtype(at::kDouble));
  at::Tensor baseline_scores = at::zeros({rows}, total.options());
  for (std::int64_t draw = 0; draw < draws_; ++draw) {
    context.check_cancelled();
    at::Tensor chosen = at::empty({rows}, at::kLong), place = at::empty({rows}, options);
    at::Tensor end = value;
    if (noise_ > 0) end = value.clone();
    for (std::int64_t row = 0; row < rows; ++row) {
      at::Generator& generator = generators[static_cast<std::size_t>(row)];
      chosen[row].random_(0, background.values.size(0), generator);
      place[row].uniform_(0, 1, generator);
      if (noise_ > 0) {
        at::Tensor noise = at::empty(value[row].sizes(), options);
        end[row] += noise.normal_(0, noise_, generator).to(value.options());
      }
    }
    const at::Tensor start = background.values.index_select(0, chosen.to(value.device()));
    const at::Tensor step = end - start;
    const at::Tensor gradient =
        score.gradient(start + by_row(place.to(value.options()), value) * step).values;
    total.add_(gradient.to(at::kDouble) * step);
    baseline_scores += score.scores(start, {}, [&](std::int64_t row) {
      return background.name(chosen[row].item<std::int64_t>());
    });
  }
  const auto draws = static_cast<double>(draws_);
  const at::Tensor scores = score.clean_scores();
  Attributions result = attributions(score, scores, total / draws);
  result.completeness_delta =
      row_sums(total / draws) - (scores.to(at::kDouble) - baseline_scores / draws);
  return result;
}

void ExpectedGradients::describe(StageSpec<Params>& spec) {
  spec.summary("Expected gradients: integrated gradients averaged over baselines from the data.");
  spec.details(
      "Each draw takes a sample of the background and a point between it and the input, both at "
      "random. Attributions sum, up to the completeness delta, to the score minus its average over "
      "the background; the delta falls with the number of draws.");
  spec.paper(
      "Erion, Janizek, Sturmfels, Lundberg, Lee 2019, Improving performance of deep learning "
      "models "
      "with axiomatic attribution priors and expected gradients (arXiv 1906.10670)");
  describe_draws(spec);
}

void GradientShap::describe(StageSpec<Params>& spec) {
  spec.summary("GradientSHAP: expected gradients of inputs with noise.");
  spec.paper(
      "Lundberg, Lee 2017, A unified approach to interpreting model predictions (arXiv "
      "1705.07874)");
  describe_draws(spec);
  spec.parameter("noise", &Params::noise)
      .range(0, 1e6)
      .doc("standard deviation of the noise, in the units of the value at `at`");
}

}  // namespace attribution
