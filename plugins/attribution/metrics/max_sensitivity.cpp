#include "metrics/max_sensitivity.h"

#include "inner_method.h"

namespace attribution {

using namespace microtome;

void MaxSensitivity::describe(StageSpec<Params>& spec) {
  spec.summary("Max-sensitivity: how much a small change of the input can change an attribution.");
  spec.details(
      "The largest |Phi(y) - Phi(x)| / |Phi(x)|, in the Euclidean norm, over y drawn evenly from "
      "the cube of half-width `radius` around x in model space; the target is that of x. Less is "
      "better, though a method that ignores its input has 0. The floor is a random attribution, "
      "drawn anew for each y.");
  spec.paper(
      "Yeh, Hsieh, Suggala, Inouye, Ravikumar 2019, On the (in)fidelity and sensitivity of "
      "explanations (arXiv 1901.09392)");
  spec.input("model", {kind::model}).doc("the network that is explained");
  spec.input("data", {kind::dataset}).doc("the samples that are explained");
  spec.output("metrics", kind::metrics).doc("for each sample `max_sensitivity` and `random`");
  spec.parameter("method", &Params::method).required().doc("the attribution method");
  spec.parameter("draws", &Params::draws).range(1, 100000).doc("changed inputs for each sample");
  spec.parameter("radius", &Params::radius)
      .range(1e-9, 1e6)
      .doc("half-width of the cube, in model space");
}

void MaxSensitivity::plan(const PlanInputs& inputs, Plan& plan) const {
  method_of(params_.method);
  params_.method.stage->plan(inputs, plan);
  plan.random = true;
  plan.outputs = {
      {"metrics",
       kind::metrics,
       {{"max_sensitivity", at::kFloat, {-1}, true}, {"random", at::kFloat, {-1}, true}}}};
}

void MaxSensitivity::batch(State& state, Chunk& chunk, Context& context) const {
  constexpr std::uint64_t own_streams = std::uint64_t{1} << 61;
  const AttributionMethod& method = method_of(params_.method);
  const AttributionInput plain{*chunk.model, chunk.inputs, chunk.batch, &context.dataset("data"),
                               nullptr};
  const TargetScore target = method.target_score(plain, context);
  const auto attributed = [&](const NamedTensors& inputs) {
    const AttributionInput input{*chunk.model, inputs, chunk.batch, plain.data, &target};
    const at::Tensor values = method.attribute(input, context).values.to(at::kDouble).flatten(1);
    demand_finite(values, chunk.batch.ids, "the attribution");
    return values;
  };
  const auto norm = [](const at::Tensor& rows) { return rows.square().sum(1).sqrt(); };
  const at::Tensor values = attributed(chunk.inputs);
  const at::Tensor size = norm(values);
  const at::Tensor noise = random_relevance(chunk.batch, values.size(1), 0, context);
  at::Tensor largest = at::zeros_like(size), of_random = at::zeros_like(size);
  for (std::int64_t draw = 0; draw < params_.draws; ++draw) {
    context.check_cancelled();
    NamedTensors moved;
    for (const auto& [name, value] : chunk.inputs) {
      if (!value.is_floating_point()) {
        moved.set(name, value);
        continue;
      }
      at::Tensor change = at::empty(value.sizes(), at::kFloat);
      for (std::int64_t row = 0; row < value.size(0); ++row) {
        at::Generator generator = context.generator(
            own_streams + (static_cast<std::uint64_t>(chunk.batch.position(row)) << 20) +
            static_cast<std::uint64_t>(draw));
        change[row].uniform_(-params_.radius, params_.radius, generator);
      }
      moved.set(name, value + change.to(value.options()) * per_model_unit(*chunk.model, value));
    }
    const at::Tensor change = norm(attributed(moved) - values);
    // An attribution of nothing can't change by a share of itself.
    largest = at::maximum(largest, at::where(size > 0, change / size.clamp_min(1e-300),
                                             at::where(change > 0, at::full_like(change, 1e30),
                                                       at::zeros_like(change))));
    const at::Tensor other = random_relevance(chunk.batch, values.size(1), draw + 1, context);
    of_random = at::maximum(of_random, norm(other - noise) / norm(noise));
  }
  chunk.emit("metrics", "max_sensitivity", largest.to(at::kFloat));
  chunk.emit("metrics", "random", of_random.to(at::kFloat));
  state.parts = {at::stack({largest, of_random}, 1)};
}

void MaxSensitivity::finish(State& state, Context& context) const {
  const at::Tensor all = state.all();
  write_scores({"max_sensitivity", "Largest change of the attribution",
                "Less is better; intervals at 95 % by bootstrap over samples.",
                "share of the attribution's norm"},
               {params_.method.uses}, all.narrow(1, 0, 1), all.select(1, 1), context,
               context.output("metrics"));
}

}  // namespace attribution
