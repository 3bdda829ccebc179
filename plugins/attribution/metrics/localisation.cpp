#include "metrics/localisation.h"

namespace attribution {

using namespace microtome;

void Localisation::describe(StageSpec<Params>& spec) {
  spec.summary(
      "Whether attributions lie on what is known to matter: pointing game, mass in a mask.");
  spec.details(
      "`relevance_mass` is the share of the positive relevance that lies in the mask; "
      "`pointing_game` whether the place of most relevance does. The floor is a random "
      "attribution, "
      "for which both are expected to be the share of the image that the mask covers: that share "
      "is "
      "taken, sample by sample. Samples whose mask is empty or full say nothing and are left out. "
      "A "
      "mask is ground truth only where the dataset decides the class by what is in it alone.");
  spec.paper(
      "Arras, Osman, Samek 2022, CLEVR-XAI: a benchmark dataset for the ground truth evaluation of "
      "neural network explanations (arXiv 2003.07258)");
  spec.paper(
      "Zhang, Bargal, Lin, Brandt, Shen, Sclaroff 2018, Top-down neural attention by excitation "
      "backprop (arXiv 1608.00507), for the pointing game");
  spec.input("data", {kind::dataset}).doc("the images that were explained, with masks");
  describe_compared(spec);
  spec.output("metrics", kind::metrics)
      .doc(
          "for each sample `relevance_mass` and `pointing_game`, N x method, and `covered`, the "
          "mask's share of the image");
  spec.parameter("mask", &Params::mask)
      .doc("field of the dataset, height x width; what is above 0 is in");
  describe_over(spec);
}

void Localisation::plan(const PlanInputs& inputs, Plan& plan) const {
  plan.random = true;
  plan.read = Read{.data = "data", .model = {}, .capture = {}, .forward = false};
  if (const DatasetInfo* data = inputs.dataset("data");
      data != nullptr && data->find(params_.mask) == nullptr) {
    std::vector<std::string> names;
    for (const FieldInfo& field : data->fields) names.push_back(field.name);
    inputs.problems().add({}, "mask: the dataset has no field \"" + params_.mask + "\"" +
                                  suggestion(params_.mask, names));
  }
  plan.outputs.push_back({"metrics",
                          kind::metrics,
                          {{"relevance_mass", at::kFloat, {-1, -1}, true},
                           {"pointing_game", at::kFloat, {-1, -1}, true},
                           {"covered", at::kFloat, {-1}, true}}});
}

void Localisation::batch(State& state, Chunk& chunk, Context& context) const {
  at::Tensor mask = chunk.batch.fields.at(params_.mask);
  if (mask.dim() == 4 && mask.size(1) == 1) mask = mask.squeeze(1);
  if (mask.dim() != 3)
    throw Error("mask: the field \"" + params_.mask + "\" must be height x width for each sample");
  const std::int64_t height = mask.size(1), width = mask.size(2);
  const at::Tensor in = mask.flatten(1) > 0;
  const at::Tensor covered = in.to(at::kDouble).mean(1);
  const Compared compared = Compared::of(context);
  std::vector<at::Tensor> masses, hits;
  for (std::size_t i = 0; i < compared.names.size(); ++i) {
    const at::Tensor relevance =
        relevance_of(compared.rows(i, chunk.batch.ids), params_.over, height, width);
    if (relevance.sizes() != in.sizes())
      throw Error("attributions \"" + compared.names[i] + "\" and the mask differ in size");
    const at::Tensor positive = relevance.clamp_min(0), whole = positive.sum(1);
    // Without any positive relevance a method points nowhere, like a random one.
    masses.push_back(at::where(
        whole > 0, positive.masked_fill(~in, 0).sum(1) / whole.clamp_min(1e-300), covered));
    hits.push_back(in.gather(1, relevance.argmax(1, true)).squeeze(1).to(at::kDouble));
  }
  const at::Tensor mass = at::stack(masses, 1), hit = at::stack(hits, 1);
  chunk.emit("metrics", "relevance_mass", mass.to(at::kFloat));
  chunk.emit("metrics", "pointing_game", hit.to(at::kFloat));
  chunk.emit("metrics", "covered", covered.to(at::kFloat));
  const at::Tensor said = (covered > 0).logical_and(covered < 1).nonzero().squeeze(1);
  state.parts = {at::cat({mass, hit, covered.unsqueeze(1)}, 1).index_select(0, said)};
}

void Localisation::finish(State& state, Context& context) const {
  const at::Tensor all = state.all();
  if (all.size(0) == 0) throw Error("every mask is empty or full, so there is nothing to find");
  const Compared compared = Compared::of(context);
  ArtifactWriter& writer = context.output("metrics");
  const std::int64_t count = compared.count();
  const at::Tensor floor = all.select(1, 2 * count);
  const char* caption =
      "Intervals at 95 % by bootstrap over samples; random is the share that the mask covers.";
  write_scores({"relevance_mass", "Share of positive relevance in the mask", caption, ""},
               compared.names, all.narrow(1, 0, count), floor, context, writer);
  write_scores({"pointing_game", "Largest relevance in the mask", caption, ""}, compared.names,
               all.narrow(1, count, count), floor, context, writer);
}

}  // namespace attribution
