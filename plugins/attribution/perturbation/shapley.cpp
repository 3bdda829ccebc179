#include "perturbation/shapley.h"

#include <cmath>
#include <utility>
#include <vector>

#include "result.h"

namespace attribution {

using namespace microtome;

namespace {

/// The game of a batch: the score when some features are there and the others are at a baseline.
struct Game {
  const ScoreFunction& score;
  const Features& features;
  const at::Tensor& start;
  Context& context;

  std::int64_t rows() const { return score.value().size(0); }
  /// Scores [N], float64. `present`: N x K.
  at::Tensor worth(const at::Tensor& present) const {
    context.check_cancelled();
    return score.scores(features.composed(present.to(at::kBool), score.value(), start))
        .to(at::kDouble)
        .cpu();
  }
};

/// Solves the game for each baseline and averages. `solve(game, generators)` gives N x K, float64,
/// whose sum over features should be the score difference.
template <class Solve>
Attributions solved(const Baselines& baselines, const Grouping& grouping,
                    const ScoreFunction& score, const AttributionInput& input, Context& context,
                    bool complete, Solve solve) {
  const at::Tensor& value = score.value();
  const Features features = features_of(grouping, value, score.axes(), input, score.at());
  const at::Tensor plain = score.clean_scores();
  const double share = 1 / static_cast<double>(baselines.size());
  at::Tensor total = at::zeros({value.size(0), features.count}, at::kDouble);
  at::Tensor difference = at::zeros({value.size(0)}, at::kDouble);
  for (std::size_t i = 0; i < baselines.size(); ++i) {
    const at::Tensor start = baselines.at_hook(input, score.at(), i, value, context);
    std::vector<at::Generator> generators = generators_of(input, value.size(0), i, context);
    total += solve(Game{score, features, start, context}, generators) * share;
    difference += (plain - score.scores(start, {}, baseline_words)).to(at::kDouble).cpu() * share;
  }
  Attributions result =
      attributions(score, plain, features.spread(total.to(value.device()), value));
  if (!grouping.is_by_sample()) result.more.emplace_back("by_feature", total.to(at::kFloat));
  if (complete) result.completeness_delta = total.sum(1) - difference;
  return result;
}

/// Coalitions N x M x K of 0 and 1, float64, and the weight of each, N x M.
struct Coalitions {
  at::Tensor present, weights;
};

/// All but the empty and the whole one, by the Shapley kernel.
Coalitions every_coalition(std::int64_t rows, std::int64_t count) {
  const std::int64_t last = (std::int64_t{1} << count) - 1;
  at::Tensor present = at::zeros({last - 1, count}, at::kDouble);
  at::Tensor weights = at::zeros({last - 1}, at::kDouble);
  for (std::int64_t coalition = 1; coalition < last; ++coalition) {
    std::int64_t size = 0;
    for (std::int64_t feature = 0; feature < count; ++feature) {
      if ((coalition >> feature & 1) == 0) continue;
      present[coalition - 1][feature] = 1;
      ++size;
    }
    const auto k = static_cast<double>(count), s = static_cast<double>(size);
    const double subsets =
        std::exp(std::lgamma(k + 1) - std::lgamma(s + 1) - std::lgamma(k - s + 1));
    weights[coalition - 1] = (k - 1) / (subsets * s * (k - s));
  }
  return {present.expand({rows, -1, -1}), weights.expand({rows, -1})};
}

/// Drawn by the Shapley kernel, each with its complement (Covert, Lee 2021, arXiv 2012.01536).
Coalitions drawn_coalitions(std::int64_t rows, std::int64_t count, std::int64_t wanted,
                            std::vector<at::Generator>& generators) {
  at::Tensor of_size = at::empty({count - 1}, at::kDouble);
  for (std::int64_t size = 1; size < count; ++size)
    of_size[size - 1] = 1.0 / static_cast<double>(size * (count - size));
  const std::int64_t pairs = (wanted + 1) / 2;
  at::Tensor present = at::zeros({rows, 2 * pairs, count}, at::kDouble);
  for (std::int64_t row = 0; row < rows; ++row) {
    at::Generator& generator = generators[static_cast<std::size_t>(row)];
    const at::Tensor sizes = at::multinomial(of_size, pairs, true, generator) + 1;
    const at::Tensor keys =
        at::rand({pairs, count}, generator, at::TensorOptions().dtype(at::kDouble));
    const at::Tensor order = std::get<1>(at::sort(keys, std::int64_t{1}));
    const at::Tensor in = at::arange(count).unsqueeze(0) < sizes.unsqueeze(1);
    const at::Tensor chosen =
        at::zeros({pairs, count}, at::kDouble).scatter(1, order, in.to(at::kDouble));
    present[row].slice(0, 0, pairs).copy_(chosen);
    present[row].slice(0, pairs).copy_(1 - chosen);
  }
  return {present, at::ones({rows, 2 * pairs}, at::kDouble)};
}

/// Worth of each coalition, N x M.
at::Tensor worths(const Game& game, const at::Tensor& present) {
  std::vector<at::Tensor> values;
  for (std::int64_t m = 0; m < present.size(1); ++m)
    values.push_back(game.worth(present.select(1, m)));
  return at::stack(values, 1);
}

at::Tensor ends(const Game& game, std::int64_t count, bool whole) {
  return game.worth(at::full({game.rows(), count}, whole ? 1 : 0, at::kLong));
}

}  // namespace

void ShapleySampling::describe(StageSpec<Params>& spec) {
  spec.summary("Shapley values by sampling the orders in which features come.");
  spec.details(
      "Features come one by one in a random order, each with what it adds to the score. Sums to "
      "the "
      "score difference exactly, whatever the number of orders. One run of the network for each "
      "feature, order and sample.");
  spec.paper(
      "Castro, Gomez, Tejada 2009, Polynomial calculation of the Shapley value based on sampling "
      "(doi 10.1016/j.cor.2008.04.004)");
  describe_features(spec);
  spec.parameter("orders", &Params::orders).range(1, 1000000).doc("random orders for each sample");
}

void ShapleySampling::plan(const PlanInputs& inputs, Plan& plan) const {
  FeatureStage::plan(inputs, plan);
  plan.random = true;
}

Attributions ShapleySampling::of_features(const AttributionInput& input, Context& context) const {
  const ScoreFunction score = score_function(input, context);
  return solved(
      baselines(), grouping(), score, input, context, true,
      [&](const Game& game, std::vector<at::Generator>& generators) {
        const std::int64_t rows = game.rows(), count = game.features.count;
        const at::Tensor empty = ends(game, count, false), whole = ends(game, count, true);
        at::Tensor total = at::zeros({rows, count}, at::kDouble);
        for (std::int64_t k = 0; k < orders_; ++k) {
          std::vector<at::Tensor> orders;
          orders.reserve(generators.size());
          for (at::Generator& generator : generators)
            orders.push_back(at::randperm(count, generator, at::TensorOptions().dtype(at::kLong)));
          const at::Tensor order = at::stack(orders);
          at::Tensor present = at::zeros({rows, count}, at::kBool), before = empty;
          for (std::int64_t place = 0; place < count; ++place) {
            const at::Tensor next = order.slice(1, place, place + 1);
            present.scatter_(1, next, 1);
            const at::Tensor after = place + 1 == count ? whole : game.worth(present);
            total.scatter_add_(1, next, (after - before).unsqueeze(1));
            before = after;
          }
        }
        return total / static_cast<double>(orders_);
      });
}

void KernelShap::describe(StageSpec<Params>& spec) {
  spec.summary("KernelSHAP: Shapley values as a weighted linear regression over coalitions.");
  spec.details(
      "Coalitions are drawn by the Shapley kernel in pairs with their complements; where there are "
      "no more than `coalitions` in all, each is taken once and the values are exact. The "
      "regression is constrained to sum to the score difference.");
  spec.paper(
      "Lundberg, Lee 2017, A unified approach to interpreting model predictions (arXiv "
      "1705.07874)");
  describe_features(spec);
  spec.parameter("coalitions", &Params::coalitions)
      .range(2, 10000000)
      .doc("runs of the network for each sample; more than there are features");
}

void KernelShap::plan(const PlanInputs& inputs, Plan& plan) const {
  FeatureStage::plan(inputs, plan);
  plan.random = true;
}

Attributions KernelShap::of_features(const AttributionInput& input, Context& context) const {
  const ScoreFunction score = score_function(input, context);
  return solved(
      baselines(), grouping(), score, input, context, true,
      [&](const Game& game, std::vector<at::Generator>& generators) -> at::Tensor {
        const std::int64_t rows = game.rows(), count = game.features.count;
        const at::Tensor empty = ends(game, count, false);
        const at::Tensor difference = ends(game, count, true) - empty;
        if (count == 1) return difference.unsqueeze(1);
        const bool all = count < 40 && (std::int64_t{1} << count) - 2 <= coalitions_;
        if (!all && coalitions_ <= count) {
          throw Error("coalitions: " + std::to_string(coalitions_) + " can't tell " +
                      std::to_string(count) + " features apart; take more, or larger features");
        }
        const Coalitions drawn = all ? every_coalition(rows, count)
                                     : drawn_coalitions(rows, count, coalitions_, generators);
        const at::Tensor rise = worths(game, drawn.present) - empty.unsqueeze(1);
        // Least squares under the constraint, by a Lagrange multiplier.
        const at::Tensor weighted = drawn.present * drawn.weights.unsqueeze(2);
        const at::Tensor normal = weighted.transpose(1, 2).matmul(drawn.present);
        const at::Tensor right = weighted.transpose(1, 2).matmul(rise.unsqueeze(2));
        const at::Tensor both = at::cat({right, at::ones_like(right)}, 2);
        const at::Tensor rank = at::linalg_matrix_rank(normal, 1e-10, true);
        if ((rank < count).any().item<bool>()) {
          throw Error("the coalitions that were drawn do not tell all " + std::to_string(count) +
                      " features apart; take more coalitions");
        }
        const at::Tensor inverse = at::linalg_solve(normal, both);
        const at::Tensor free = inverse.select(2, 0), along = inverse.select(2, 1);
        const at::Tensor multiplier = (free.sum(1) - difference) / along.sum(1);
        return free - along * multiplier.unsqueeze(1);
      });
}

void Lime::describe(StageSpec<Params>& spec) {
  spec.summary("LIME: a linear model of the score in which features are there, around the sample.");
  spec.details(
      "Each feature is there or not by a fair coin; a coalition weighs exp(-d^2 / width^2), d "
      "being "
      "the cosine distance from the whole sample, as in the paper (its authors' code takes the "
      "root). Ridge regression with a free intercept; the coefficients are the attributions and "
      "need not sum to the score difference.");
  spec.paper("Ribeiro, Singh, Guestrin 2016, Why should I trust you? (arXiv 1602.04938)");
  describe_features(spec);
  spec.parameter("coalitions", &Params::coalitions)
      .range(2, 10000000)
      .doc("runs of the network for each sample");
  spec.parameter("kernel_width", &Params::kernel_width).range(1e-3, 1e6).doc("width of the kernel");
  spec.parameter("ridge", &Params::ridge).range(0, 1e12).doc("penalty of the squared coefficients");
}

void Lime::plan(const PlanInputs& inputs, Plan& plan) const {
  FeatureStage::plan(inputs, plan);
  plan.random = true;
}

Attributions Lime::of_features(const AttributionInput& input, Context& context) const {
  const ScoreFunction score = score_function(input, context);
  return solved(
      baselines(), grouping(), score, input, context, false,
      [&](const Game& game, std::vector<at::Generator>& generators) {
        const std::int64_t rows = game.rows(), count = game.features.count;
        if (params_.ridge == 0 && params_.coalitions <= count) {
          throw Error("coalitions: " + std::to_string(params_.coalitions) + " can't tell " +
                      std::to_string(count) + " features apart without a ridge");
        }
        at::Tensor present = at::empty({rows, params_.coalitions, count}, at::kDouble);
        for (std::int64_t row = 0; row < rows; ++row)
          present[row].bernoulli_(0.5, generators[static_cast<std::size_t>(row)]);
        present.select(1, 0).fill_(1);
        const at::Tensor worth = worths(game, present);
        const at::Tensor cosine = (present.sum(2) / static_cast<double>(count)).sqrt();
        const at::Tensor distance = 1 - cosine;
        const at::Tensor weights =
            (-(distance * distance) / (params_.kernel_width * params_.kernel_width)).exp();
        const at::Tensor share = (weights / weights.sum(1, true)).unsqueeze(2);
        // A free intercept: both sides without their weighted mean.
        const at::Tensor centred = present - (present * share).sum(1, true);
        const at::Tensor score_centred =
            worth.unsqueeze(2) - (worth.unsqueeze(2) * share).sum(1, true);
        const at::Tensor weighted = centred * weights.unsqueeze(2);
        const at::Tensor normal =
            weighted.transpose(1, 2).matmul(centred) + params_.ridge * at::eye(count, at::kDouble);
        const at::Tensor right = weighted.transpose(1, 2).matmul(score_centred);
        return at::linalg_solve(normal, right).squeeze(2);
      });
}

}  // namespace attribution
