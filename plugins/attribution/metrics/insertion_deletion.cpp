#include "metrics/insertion_deletion.h"

#include <array>
#include <cmath>

namespace attribution {

using namespace microtome;

namespace {

constexpr std::array modes = {"insertion", "deletion"};
constexpr std::array scales = {"prob", "logit"};

/// Places of images by falling relevance; equal ones in a random order.
at::Tensor falling_order(const at::Tensor& relevance, const Batch& batch, const Context& context) {
  constexpr std::uint64_t tie_streams = std::uint64_t{1} << 61;
  at::Tensor order = at::empty(relevance.sizes(), at::kLong);
  for (std::int64_t row = 0; row < relevance.size(0); ++row) {
    at::Generator generator =
        context.generator(tie_streams + static_cast<std::uint64_t>(batch.position(row)));
    const at::Tensor shuffled = at::randperm(relevance.size(1), generator);
    const at::Tensor sorted = std::get<1>(
        relevance[row].index_select(0, shuffled).sort(/*stable=*/true, 0, /*descending=*/true));
    order[row].copy_(shuffled.index_select(0, sorted));
  }
  return order;
}

/// Area under a curve over [0, 1] by the trapezoid rule; the last dimension is that of the steps.
at::Tensor area_under(const at::Tensor& curves) {
  const std::int64_t last = curves.size(-1) - 1;
  return (curves.sum(-1) - (curves.select(-1, 0) + curves.select(-1, last)) / 2) /
         static_cast<double>(last);
}

/// The image is the model's only input here, in its own space.
HookPoint image_hook(const Model& model) {
  return parse_hook_point(model.normalises() ? "pixels" : "input");
}

}  // namespace

void InsertionDeletion::describe(StageSpec<Params>& spec) {
  spec.summary(
      "Insertion and deletion: how the score of a class follows the pixels of most relevance.");
  spec.details(
      "Deletion replaces pixels by the mean colour of the data, the most relevant first; insertion "
      "puts them into a blurred image. The class is that of the clean image throughout. The area "
      "under each curve is given for the softmax probability and the logit, raw and less that of "
      "random orders of the same sample; more is better for insertion, less for deletion. Maps of "
      "another size are stretched to the image.");
  spec.paper(
      "Petsiuk, Das, Saenko 2018, RISE: randomized input sampling for explanation of black-box "
      "models (arXiv 1806.07421)");
  spec.input("model", {kind::model}).doc("the network that was explained");
  spec.input("data", {kind::dataset}).doc("the images that were explained");
  describe_compared(spec);
  spec.output("metrics", kind::metrics)
      .doc(
          "`insertion` and `deletion` curves, method x step, of the probability (the last method "
          "is random), `insertion_logit`, `deletion_logit`, and for each sample `areas`, N x "
          "method x (insertion, deletion) x (prob, logit)");
  spec.parameter("target", &Params::target)
      .doc("predicted, label or class(k): the class whose score is followed");
  spec.parameter("steps", &Params::steps)
      .range(1, 10000)
      .doc("equal steps from none to all pixels");
  describe_over(spec);
  spec.parameter("sigma", &Params::sigma)
      .range(1e-3, 1e4)
      .unit("pixels")
      .doc("of the Gaussian blur that insertion begins with");
  spec.parameter("random_orders", &Params::random_orders)
      .range(1, 1000)
      .doc("random orders of each sample, the floor");
}

void InsertionDeletion::plan(const PlanInputs& inputs, Plan& plan) const {
  plan.random = true;
  plan.read = Read{.data = "data", .model = "model", .capture = {}, .forward = false};
  inputs.check_target("model", "data", params_.target);
  const Target::What what = params_.target.what;
  if (what != Target::What::predicted && what != Target::What::label &&
      what != Target::What::class_index) {
    inputs.problems().add(params_.target.location,
                          "insertion and deletion follow a class: predicted, label or class(k)");
  }
  if (const Model* model = inputs.model("model")) {
    if (model->inputs().size() != 1) {
      inputs.problems().add({}, "insertion and deletion need a model with one input, an image");
    } else {
      inputs.resolve("model", image_hook(*model));
    }
  }
  plan.outputs.push_back({"metrics",
                          kind::metrics,
                          {{"insertion", at::kFloat, {-1, params_.steps + 1}, false},
                           {"deletion", at::kFloat, {-1, params_.steps + 1}, false},
                           {"insertion_logit", at::kFloat, {-1, params_.steps + 1}, false},
                           {"deletion_logit", at::kFloat, {-1, params_.steps + 1}, false},
                           {"areas", at::kFloat, {-1, -1, 2, 2}, true}}});
}

void InsertionDeletion::batch(State& state, Chunk& chunk, Context& context) const {
  const Model& model = *chunk.model;
  const AttributionInput input{model, chunk.inputs, chunk.batch, &context.dataset("data"), nullptr};
  const HookPoint at = image_hook(model);
  ScoreFunction score(model, chunk.inputs, at, [&](const Recording& plain) {
    return TargetScore(params_.target, plain, chunk.batch);
  });
  score.name_samples(chunk.batch.ids);
  const at::Tensor& images = score.value();
  if (images.dim() != 4) throw Error("insertion and deletion need images, N x C x H x W");
  const at::Tensor mean = colour_.at_hook(input, at, 0, images, context);
  const at::Tensor blurry = blurred(images, params_.sigma);
  const std::int64_t rows = images.size(0), height = images.size(2), width = images.size(3);
  const std::int64_t places = height * width, steps = params_.steps;
  const at::Tensor classes = score.target().classes().to(images.device()).unsqueeze(1);

  // [N, scales] for images with some pixels replaced.
  const auto scores_of = [&](const at::Tensor& points) {
    const Recording recording = score.run(points, {});
    const at::Tensor logits = recording.output(params_.target.output).to(at::kDouble);
    return at::cat({logits.softmax(1).gather(1, classes), logits.gather(1, classes)}, 1);
  };
  // The ends are the same for every order.
  const at::Tensor clean = scores_of(images), none = scores_of(mean), soft = scores_of(blurry);
  demand_finite(clean, chunk.batch.ids, "the score");
  demand_finite(none, chunk.batch.ids, "the score of the mean colour");
  demand_finite(soft, chunk.batch.ids, "the score of the blurred image");
  // [N, modes, scales, steps + 1] by an order of places.
  const auto curves_of = [&](const at::Tensor& order) {
    at::Tensor rank = at::empty_like(order);
    rank.scatter_(1, order, at::arange(places).unsqueeze(0).expand_as(order));
    rank = rank.view({rows, 1, height, width}).to(images.device());
    at::Tensor curves = at::empty({rows, 2, 2, steps + 1}, at::kDouble);
    for (std::int64_t k = 0; k <= steps; ++k) {
      context.check_cancelled();
      const bool first = k == 0, last = k == steps;
      const at::Tensor top = rank < places * k / steps;
      curves.select(3, k).select(1, 0).copy_(first  ? soft
                                             : last ? clean
                                                    : scores_of(at::where(top, images, blurry)));
      curves.select(3, k).select(1, 1).copy_(first  ? clean
                                             : last ? none
                                                    : scores_of(at::where(top, mean, images)));
    }
    return curves;
  };

  const Compared compared = Compared::of(context);
  std::vector<at::Tensor> all;
  all.reserve(compared.names.size() + 1);
  for (std::size_t i = 0; i < compared.names.size(); ++i) {
    const at::Tensor relevance =
        relevance_of(compared.rows(i, chunk.batch.ids), params_.over, height, width);
    if (relevance.size(1) != places)
      throw Error("attributions \"" + compared.names[i] + "\" are not of images of this size");
    all.push_back(curves_of(falling_order(relevance, chunk.batch, context)));
  }
  at::Tensor random;
  for (std::int64_t draw = 0; draw < params_.random_orders; ++draw) {
    const at::Tensor noise = random_relevance(chunk.batch, places, draw, context);
    const at::Tensor curves = curves_of(std::get<1>(noise.sort(1)));
    random = random.defined() ? random + curves : curves;
  }
  all.push_back(random / static_cast<double>(params_.random_orders));
  const at::Tensor curves = at::stack(all, 1);  // [N, methods + 1, modes, scales, steps + 1]
  demand_finite(curves, chunk.batch.ids, "the score as pixels come and go");
  const at::Tensor areas = area_under(curves);
  chunk.emit("metrics", "areas", areas.to(at::kFloat));
  state.curves = curves.sum(0);
  state.areas = {areas};
  state.samples = rows;
}

void InsertionDeletion::merge(State& earlier, State&& later) const {
  if (!later.curves.defined()) return;
  earlier.curves = earlier.curves.defined() ? earlier.curves + later.curves : later.curves;
  earlier.areas.insert(earlier.areas.end(), later.areas.begin(), later.areas.end());
  earlier.samples += later.samples;
}

void InsertionDeletion::finish(State& state, Context& context) const {
  if (state.samples == 0) throw Error("no sample could be read, so there are no curves");
  ArtifactWriter& writer = context.output("metrics");
  const Compared compared = Compared::of(context);
  const at::Tensor mean = (state.curves / static_cast<double>(state.samples)).to(at::kFloat);
  const at::Tensor areas = at::cat(state.areas);
  Value::List series;
  for (const std::string& name : compared.names) series.emplace_back(name);
  series.emplace_back(random_name);
  for (std::size_t mode = 0; mode < modes.size(); ++mode) {
    for (std::size_t scale = 0; scale < scales.size(); ++scale) {
      const auto m = static_cast<std::int64_t>(mode), s = static_cast<std::int64_t>(scale);
      const std::string name = std::string(modes[mode]) + (scale == 0 ? "" : "_logit");
      writer.tensor(name, mean.select(1, m).select(1, s));
      const at::Tensor of_mode = areas.select(2, m).select(2, s);
      write_scores({std::string(modes[mode]) + "_" + scales[scale],
                    std::string("Area under ") + modes[mode] + ", " + scales[scale],
                    mode == 0 ? "More is better; intervals at 95 % by bootstrap over samples."
                              : "Less is better; intervals at 95 % by bootstrap over samples.",
                    scale == 0 ? "" : "logit"},
                   compared.names, of_mode.narrow(1, 0, compared.count()),
                   of_mode.select(1, compared.count()), context, writer);
      if (scale != 0) continue;
      View line{View::Type::line,
                mode == 0 ? "Insertion" : "Deletion",
                mode == 0 ? "Mean probability of the class as pixels come into a blurred image."
                          : "Mean probability of the class as pixels become the mean colour.",
                {name},
                Value()};
      line.options.set("series", Value(series));
      line.options.set("x", "step of " + std::to_string(params_.steps) + ", most relevant first");
      line.options.set("y", "probability");
      writer.view(std::move(line));
    }
  }
  writer.metadata("methods", Value(series));
  writer.metadata("sigma", params_.sigma);
}

}  // namespace attribution
