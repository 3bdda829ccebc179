#include "metrics/infidelity.h"

#include <algorithm>

namespace attribution {

using namespace microtome;

void Infidelity::describe(StageSpec<Params>& spec) {
  spec.summary("Infidelity: how well attributions say what perturbations do to a score.");
  spec.details(
      "Means over perturbations I of (I . Phi - (f(x) - f(x - I)))^2: normal noise, or squares "
      "that "
      "are removed (set to zero in the space of `at`). Less is better. `infidelity` takes the "
      "attributions as they are; `infidelity_scaled` with the factor that suits them best, so that "
      "methods in other units can be compared. The floor is a random attribution.");
  spec.paper(
      "Yeh, Hsieh, Suggala, Inouye, Ravikumar 2019, On the (in)fidelity and sensitivity of "
      "explanations (arXiv 1901.09392)");
  spec.input("model", {kind::model}).doc("the network that was explained");
  spec.input("data", {kind::dataset}).doc("the samples that were explained");
  describe_compared(spec);
  spec.output("metrics", kind::metrics)
      .doc("for each sample `raw` and `scaled`, N x method; the last method is random");
  spec.parameter("at", &Params::at).of("model").doc("hook point whose value was credited");
  spec.parameter("target", &Params::target).doc("the score that was explained");
  spec.parameter("perturbation", &Params::perturbation)
      .choices({"noise", "square"})
      .doc("noise: normal; square: a square is removed, over all channels");
  spec.parameter("draws", &Params::draws).range(2, 100000).doc("perturbations of each sample");
  spec.parameter("noise", &Params::noise)
      .range(1e-9, 1e6)
      .doc("standard deviation, in the units of the value at `at`");
  spec.parameter("side", &Params::side).range(1, 10000).unit("pixels").doc("of the square");
}

void Infidelity::plan(const PlanInputs& inputs, Plan& plan) const {
  plan.random = true;
  plan.read = Read{.data = "data", .model = "model", .capture = {}, .forward = false};
  inputs.check_target("model", "data", params_.target);
  if (params_.target.direction || params_.target.what == Target::What::kl)
    inputs.problems().add(params_.target.location,
                          "infidelity takes classes, contrasts, losses and units as targets");
  if (const auto info = inputs.resolve("model", params_.at); info && !info->shape.empty()) {
    const bool is_map = info->shape.size() == 4;
    if (params_.perturbation == Perturbation::square && !is_map)
      inputs.problems().add(params_.at.location,
                            "squares are removed from maps, N x C x H x W; take "
                            "perturbation: noise");
    if (is_map && params_.perturbation == Perturbation::square &&
        params_.side > std::min(info->shape[2], info->shape[3]))
      inputs.problems().add({}, "side: the map is smaller than the square");
  }
  plan.outputs.push_back(
      {"metrics",
       kind::metrics,
       {{"raw", at::kFloat, {-1, -1}, true}, {"scaled", at::kFloat, {-1, -1}, true}}});
}

at::Tensor Infidelity::drawn(const at::Tensor& value, const Batch& batch, std::int64_t draw,
                             const Context& context) const {
  constexpr std::uint64_t own_streams = std::uint64_t{1} << 61;
  at::Tensor change = at::zeros(value.sizes(), at::kFloat);
  for (std::int64_t row = 0; row < value.size(0); ++row) {
    at::Generator generator =
        context.generator(own_streams + (static_cast<std::uint64_t>(batch.position(row)) << 20) +
                          static_cast<std::uint64_t>(draw));
    if (params_.perturbation == Perturbation::noise) {
      change[row].normal_(0, params_.noise, generator);
      continue;
    }
    const std::int64_t side = params_.side;
    const auto place = [&](std::int64_t size) {
      return at::randint(size - side + 1, {1}, generator, at::TensorOptions().dtype(at::kLong))
          .item<std::int64_t>();
    };
    const std::int64_t y = place(value.size(2)), x = place(value.size(3));
    change[row].narrow(1, y, side).narrow(2, x, side).fill_(1);
  }
  change = change.to(value.options());
  return params_.perturbation == Perturbation::noise ? change : change * value;
}

void Infidelity::batch(State& state, Chunk& chunk, Context& context) const {
  ScoreFunction score(*chunk.model, chunk.inputs, params_.at, [&](const Recording& plain) {
    return TargetScore(params_.target, plain, chunk.batch);
  });
  score.name_samples(chunk.batch.ids);
  const at::Tensor& value = score.value();
  const Compared compared = Compared::of(context);
  std::vector<at::Tensor> attributions;
  for (std::size_t i = 0; i < compared.names.size(); ++i) {
    attributions.push_back(compared.rows(i, chunk.batch.ids).to(at::kDouble));
    if (attributions.back().sizes() != value.sizes()) {
      throw Error("attributions \"" + compared.names[i] +
                  "\" have another shape than the value at \"" + params_.at.text() +
                  "\"; infidelity multiplies the two");
    }
  }
  const std::int64_t places = value.numel() / value.size(0);
  attributions.push_back(random_relevance(chunk.batch, places, 0, context).view(value.sizes()));
  const at::Tensor phi = at::stack(attributions, 1).flatten(2);  // [N, methods + 1, P]
  const at::Tensor clean = score.clean_scores().to(at::kDouble);
  // Moments over the draws: of I.Phi times df, (I.Phi)^2 and df^2.
  at::Tensor product, square, effect;
  for (std::int64_t draw = 0; draw < params_.draws; ++draw) {
    context.check_cancelled();
    const at::Tensor change = drawn(value, chunk.batch, draw, context);
    const at::Tensor fall =
        (clean - score.scores(value - change).to(at::kDouble)).cpu().unsqueeze(1);
    const at::Tensor said =
        at::matmul(phi, change.cpu().to(at::kDouble).flatten(1).unsqueeze(2)).squeeze(2);
    const auto add = [](at::Tensor& sum, const at::Tensor& more) {
      sum = sum.defined() ? sum + more : more;
    };
    add(product, said * fall);
    add(square, said * said);
    add(effect, fall * fall);
  }
  const auto draws = static_cast<double>(params_.draws);
  product /= draws, square /= draws, effect /= draws;
  const at::Tensor raw = square - 2 * product + effect;
  // With the best factor; attributions that say nothing leave all of the effect.
  const at::Tensor scaled =
      effect - at::where(square > 0, product * product / square.masked_fill(square <= 0, 1),
                         at::zeros_like(square));
  chunk.emit("metrics", "raw", raw.to(at::kFloat));
  chunk.emit("metrics", "scaled", scaled.to(at::kFloat));
  state.parts = {at::stack({raw, scaled}, 1)};
}

void Infidelity::finish(State& state, Context& context) const {
  ArtifactWriter& writer = context.output("metrics");
  const Compared compared = Compared::of(context);
  const at::Tensor all = state.all();
  const char* caption = "Less is better; intervals at 95 % by bootstrap over samples.";
  const auto write = [&](std::int64_t which, const char* name, const char* title) {
    const at::Tensor scores = all.select(1, which);
    write_scores({name, title, caption, "squared score"}, compared.names,
                 scores.narrow(1, 0, compared.count()), scores.select(1, compared.count()), context,
                 writer);
  };
  write(1, "infidelity_scaled", "Infidelity, each method at its best scale");
  write(0, "infidelity", "Infidelity as it is");
}

}  // namespace attribution
