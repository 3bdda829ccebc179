#include "perturbation/rise.h"

#include <utility>
#include <vector>

#include "perturbation/maps.h"
#include "result.h"

namespace attribution {

using namespace microtome;

namespace {

/// A mask in 0..1, H x W: a grid of cells that are there or not, made smooth, at a random place.
at::Tensor drawn_mask(std::int64_t height, std::int64_t width, std::int64_t cells, double present,
                      at::Generator& generator) {
  const std::int64_t cell_height = (height + cells - 1) / cells,
                     cell_width = (width + cells - 1) / cells;
  at::Tensor grid = at::empty({1, 1, cells, cells}, at::kFloat);
  grid.bernoulli_(present, generator);
  const at::Tensor large =
      at::upsample_bilinear2d(grid, {(cells + 1) * cell_height, (cells + 1) * cell_width}, false);
  at::Tensor shift = at::empty({2}, at::kLong);
  shift[0].random_(0, cell_height, generator);
  shift[1].random_(0, cell_width, generator);
  return large[0][0]
      .narrow(0, shift[0].item<std::int64_t>(), height)
      .narrow(1, shift[1].item<std::int64_t>(), width);
}

}  // namespace

void Rise::describe(StageSpec<Params>& spec) {
  spec.summary("RISE: how high a score is, on average, when a place of the image is to be seen.");
  spec.details(
      "A map of the score's own size, not of what a place adds: it does not sum to a score "
      "difference. What a mask hides is at the baseline (zeros: as in the paper, which multiplies "
      "the image). The paper's score is the probability: `target: {of: predicted, on: prob}`.");
  spec.paper(
      "Petsiuk, Das, Saenko 2018, RISE: Randomized input sampling for explanation of black-box "
      "models (arXiv 1806.07421)");
  describe_attribution(spec);
  describe_baselines(spec);
  spec.parameter("masks", &Params::masks)
      .range(1, 10000000)
      .doc("runs of the network for each sample and baseline");
  spec.parameter("cells", &Params::cells).range(1, 1000).doc("cells of a mask, down and across");
  spec.parameter("present", &Params::present)
      .range(1e-3, 1)
      .doc("probability that a cell is to be seen");
}

void Rise::plan(const PlanInputs& inputs, Plan& plan) const {
  BaselineStage::plan(inputs, plan);
  plan.gradients = false;
  plan.random = true;
  check_maps(inputs, common().at, "rise");
  promise_one_channel(plan);
}

Attributions Rise::attribute(const AttributionInput& input, Context& context) const {
  const ScoreFunction score = score_function(input, context);
  const at::Tensor& value = score.value();
  demand_maps(score.axes(), "rise");
  const std::int64_t rows = value.size(0), height = value.size(2), width = value.size(3);
  at::Tensor total = at::zeros({rows, 1, height, width}, value.options().dtype(at::kDouble));
  for (std::size_t i = 0; i < baselines().size(); ++i) {
    const at::Tensor start = baselines().at_hook(input, common().at, i, value, context);
    std::vector<at::Generator> generators = generators_of(input, rows, i, context);
    for (std::int64_t k = 0; k < params_.masks; ++k) {
      context.check_cancelled();
      std::vector<at::Tensor> masks;
      masks.reserve(generators.size());
      for (at::Generator& generator : generators)
        masks.push_back(drawn_mask(height, width, params_.cells, params_.present, generator));
      const at::Tensor mask = at::stack(masks).unsqueeze(1).to(value.options());
      const at::Tensor scores = score.scores(start + mask * (value - start));
      total.add_(mask * by_row(scores, mask));
    }
  }
  const double scale = params_.present * static_cast<double>(params_.masks) *
                       static_cast<double>(baselines().size());
  return attributions(score, score.clean_scores(), total / scale);
}

}  // namespace attribution
