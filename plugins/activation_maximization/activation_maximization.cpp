#include "activation_maximization.h"

#include <torch/optim/adam.h>

#include <algorithm>
#include <atomic>
#include <cmath>

namespace activation_maximization {

using namespace microtome;

namespace {

constexpr std::int64_t unseen_moves = 8;
constexpr std::int64_t natural_images = 64;  ///< that colours and frequencies are learnt from

/// What can be maximised without samples.
bool is_free(const Target& target) {
  return target.what == Target::What::unit || target.what == Target::What::direction ||
         (target.what == Target::What::class_index && target.first.field.empty()) ||
         (target.what == Target::What::contrast && target.first.field.empty() &&
          target.second.field.empty());
}

at::Tensor total_variation(const at::Tensor& images) {
  const at::Tensor down = images.slice(2, 1) - images.slice(2, 0, -1);
  const at::Tensor right = images.slice(3, 1) - images.slice(3, 0, -1);
  return down.abs().mean() + right.abs().mean();
}

/// Mean with a normal interval over `values`.
Metric mean_metric(const std::string& name, const at::Tensor& values, const std::string& unit) {
  const at::Tensor all = values.flatten().to(at::kDouble);
  Metric metric;
  metric.name = name;
  metric.value = all.mean().item<double>();
  metric.n = all.numel();
  metric.resampling_unit = unit;
  if (all.numel() > 1) {
    constexpr double z = 1.959963984540054;
    const double half =
        z * all.std(0, true).item<double>() / std::sqrt(static_cast<double>(all.numel()));
    metric.interval = Interval{metric.value - half, metric.value + half, 0.95, "normal"};
  }
  return metric;
}

}  // namespace

void ActivationMaximization::describe(StageSpec<Params>& spec) {
  spec.summary("Images that excite a neuron, a channel, a layer, a class or a direction.");
  spec.details(
      "Adam on the image, which is moved at random before each step. Scores are means over places. "
      "Afterwards the score is taken again under moves that were not optimised, and compared with "
      "the largest that a sample of the dataset gives: an image that does not exceed it shows "
      "nothing of the unit. A unit whose gradient is zero everywhere is said to be one. The "
      "dataset also gives the colours' covariance.");
  spec.paper(
      "Olah, Mordvintsev, Schubert 2017, Feature visualization (Distill, "
      "doi 10.23915/distill.00007)");
  spec.paper(
      "Erhan, Bengio, Courville, Vincent 2009, Visualizing higher-layer features of a deep "
      "network");
  spec.input("model", {kind::model}).doc("the network; its one input is images in 0..1");
  spec.input("data", {kind::dataset}).doc("natural images to compare with, in 0..1");
  spec.output("images", "images")
      .doc(
          "`images` [targets, images, C, H, W] in 0..1, `curve` [targets, steps], `unseen` "
          "[targets, images, moves], `dataset_maximum` [targets], `no_gradient` [targets]");
  spec.parameter("targets", &Params::targets)
      .required()
      .doc("unit(layer3[c=5]), unit(layer3), class(3), direction(layer3, probe.directions[0]) ...");
  spec.parameter("images", &Params::images).range(1, 64).doc("for each target, from other seeds");
  spec.parameter("steps", &Params::steps).range(1, 100000).doc("of Adam");
  spec.parameter("learning_rate", &Params::learning_rate).range(1e-6, 10).doc("of Adam");
  spec.parameter("parametrisation", &Params::parametrisation)
      .choices({"fourier", "pixel"})
      .doc("the numbers that are optimised: a spectrum weighted by 1 / f, or pixels");
  spec.parameter("size", &Params::size)
      .range(8, 2048)
      .unit("pixels")
      .doc("side of the images; default: what the model says, or the dataset's");
  spec.parameter("l2", &Params::l2).range(0, 1e6).doc("weight of the squared distance from grey");
  spec.parameter("total_variation", &Params::total_variation)
      .range(0, 1e6)
      .doc("weight of the mean difference between neighbours");
  spec.parameter("diversity", &Params::diversity)
      .range(0, 1e6)
      .doc("weight of the similarity between a target's images at its layer");
  spec.parameter("jitter", &Params::jitter).range(0, 512).unit("pixels").doc("each way");
  spec.parameter("rotation", &Params::rotation).range(0, 180).unit("degrees").doc("each way");
  spec.parameter("scale", &Params::scale).range(0, 0.9).unit("share").doc("each way");
  spec.parameter("padding", &Params::padding).range(0, 512).unit("pixels").doc("grey frame");
}

void ActivationMaximization::plan(const PlanInputs& inputs, Plan& plan) const {
  plan.gradients = true;
  plan.random = true;
  plan.rows_at_least = params_.images;
  Problems& problems = inputs.problems();
  if (params_.targets.empty()) problems.add({}, "targets: name one at least");
  for (const Target& target : params_.targets) {
    inputs.check_target("model", "data", target);
    if (!is_free(target)) {
      problems.add(target.location, "\"" + target.text() +
                                        "\" depends on a sample; maximise unit(...), class(k), "
                                        "contrast(a, b) or direction(...)");
    } else if (params_.diversity > 0 && !target.hook) {
      problems.add(target.location, "diversity compares images at a hook point, and \"" +
                                        target.text() + "\" has none; take unit(output[c=...])");
    }
  }
  const Model* model = inputs.model("model");
  if (model != nullptr && model->inputs().size() != 1)
    problems.add({}, "the model has several inputs; one of images can be optimised so far");
  const DatasetInfo* data = inputs.dataset("data");
  if (data != nullptr) {
    const FieldInfo* image = data->images();
    if (image == nullptr) {
      problems.add({}, "the dataset \"" + data->name + "\" has no images of one size");
    } else if (image->is_normalised()) {
      problems.add({}, "the dataset \"" + data->name +
                           "\" is normalised; images are made in 0..1: let the model normalise "
                           "(input: mean, std)");
    }
  }
  const auto count = static_cast<std::int64_t>(params_.targets.size());
  plan.outputs.push_back({"images",
                          "images",
                          {{"images", at::kFloat, {count, params_.images, -1, -1, -1}, false},
                           {"curve", at::kFloat, {count, params_.steps}, false},
                           {"unseen", at::kFloat, {count, params_.images, unseen_moves}, false},
                           {"dataset_maximum", at::kFloat, {count}, false},
                           {"no_gradient", at::kBool, {count}, false}}});
}

Transformation ActivationMaximization::transformation() const {
  return {params_.jitter, params_.rotation, params_.scale, params_.padding};
}

ActivationMaximization::Found ActivationMaximization::maximise(
    const Objective& objective, const at::Tensor& colour, const std::vector<std::int64_t>& shape,
    std::uint64_t stream, Context& context) const {
  at::Generator generator = context.generator(stream);
  ImageParametrisation parametrisation(params_.parametrisation, params_.images, shape[0], shape[1],
                                       shape[2], colour, generator);
  torch::optim::Adam adam({parametrisation.numbers()},
                          torch::optim::AdamOptions(params_.learning_rate));
  const Transformation move = transformation();
  Found found;
  found.no_gradient = true;
  found.curve = at::empty({params_.steps}, at::kFloat);
  const at::AutoGradMode recording(true);
  for (std::int64_t step = 0; step < params_.steps; ++step) {
    context.check_cancelled();
    const at::Tensor images = parametrisation.images();
    const Objective::Result result =
        objective(move.apply(images, generator).to(context.device()), true);
    found.curve[step] = result.scores.detach().mean().cpu();
    demand_finite(found.curve[step], "the score in step " + std::to_string(step) +
                                         ", a sign of too large a learning_rate,");
    adam.zero_grad();
    if (result.scores.requires_grad()) {
      (-result.scores.sum()).backward({}, /*keep_graph=*/regularised());
      const at::Tensor& gradient = parametrisation.numbers().grad();
      if (found.no_gradient) found.no_gradient = gradient.abs().max().item<float>() == 0;
    }
    at::Tensor penalty = at::zeros({});
    if (params_.l2 > 0) penalty = penalty + params_.l2 * (images - 0.5).square().mean();
    if (params_.total_variation > 0)
      penalty = penalty + params_.total_variation * total_variation(images);
    if (params_.diversity > 0)
      penalty = penalty + params_.diversity * similarity(result.layer, result.axes).cpu();
    if (penalty.requires_grad()) penalty.backward();
    adam.step();
  }
  const at::NoGradGuard no_gradients;
  found.images = parametrisation.images().detach();
  std::vector<at::Tensor> unseen;
  for (std::int64_t i = 0; i < unseen_moves; ++i) {
    unseen.push_back(
        objective(move.apply(found.images, generator).to(context.device()), false).scores.cpu());
  }
  found.unseen = at::stack(unseen, 1);
  return found;
}

void ActivationMaximization::run(Context& context) const {
  const Model& model = context.model("model");
  const Dataset& data = context.dataset("data");
  const FieldInfo* field = data.info().images();
  const auto load = [&](const std::vector<std::int64_t>& positions) {
    const Batch batch = data.load(positions);
    at::Tensor images = batch.fields.at(field->name).to(at::kFloat);
    demand_finite(images, batch.ids, "the image");
    return std::pair(std::move(images), batch.ids);
  };
  const at::Tensor natural =
      load(positions_between(0, std::min(natural_images, data.info().size))).first;
  const at::Tensor colour = colour_root(natural);
  std::vector<std::int64_t> shape = model.inputs()[0].shape;
  if (shape.size() != 3) shape = natural.sizes().slice(1).vec();
  if (params_.size) shape = {shape[0], *params_.size, *params_.size};

  std::vector<Objective> objectives;
  for (const Target& target : params_.targets) objectives.emplace_back(target, model, context);
  const auto count = static_cast<std::int64_t>(objectives.size());

  at::Tensor highest;
  {
    const at::NoGradGuard no_gradients;
    for (const auto& positions : chunks_of(data.info().size, context.chunk_size())) {
      context.check_cancelled();
      const std::pair<at::Tensor, std::vector<std::string>> samples = load(positions);
      const at::Tensor scores = Objective::scores(objectives, samples.first.to(context.device()));
      for (std::int64_t i = 0; i < count; ++i)
        demand_finite(scores[i], samples.second,
                      "the score " + params_.targets[static_cast<std::size_t>(i)].text());
      const at::Tensor top = scores.amax(1).cpu();
      highest = highest.defined() ? at::maximum(highest, top) : top;
    }
  }

  std::vector<Found> all(objectives.size());
  std::atomic<std::int64_t> done{0};
  context.parallel_for(count, [&](std::int64_t i) {
    const auto k = static_cast<std::size_t>(i);
    all[k] = maximise(objectives[k], colour, shape, static_cast<std::uint64_t>(i), context);
    context.progress(++done, count);
  });

  std::vector<at::Tensor> images, curves, unseen;
  Value rows = Value::list(), names = Value::list(), dead = Value::list();
  Value::List table;
  at::Tensor no_gradient = at::zeros({count}, at::kBool);
  std::int64_t above = 0;
  ArtifactWriter& writer = context.output("images");
  for (std::int64_t i = 0; i < count; ++i) {
    const Found& found = all[static_cast<std::size_t>(i)];
    const std::string name = params_.targets[static_cast<std::size_t>(i)].text();
    images.push_back(found.images);
    curves.push_back(found.curve);
    unseen.push_back(found.unseen);
    no_gradient[i] = found.no_gradient;
    Metric score = mean_metric("score", found.unseen.mean(1), "image");
    score.details.set("target", name);
    score.chance = highest[i].item<float>();
    score.null_description = "the largest score of a sample of the dataset";
    above += score.value > *score.chance ? 1 : 0;
    names.push_back(name);
    rows.push_back(name + (found.no_gradient ? " (its gradient is zero: nothing was found)" : ""));
    if (found.no_gradient) dead.push_back(name);
    table.emplace_back(Value::List{Value(name), Value(score.value), Value(*score.chance),
                                   Value(found.no_gradient ? "zero" : "")});
    writer.metric(std::move(score));
  }
  writer.tensor("images", at::stack(images));
  writer.tensor("curve", at::stack(curves));
  writer.tensor("unseen", at::stack(unseen));
  writer.tensor("dataset_maximum", highest.to(at::kFloat));
  writer.tensor("no_gradient", no_gradient);
  writer.metadata("targets", names);
  writer.metadata("without_gradient", dead);
  writer.metadata("space", Value("pixel"));

  Metric share;
  share.name = "share_above_dataset_maximum";
  share.value = static_cast<double>(above) / static_cast<double>(count);
  share.interval = wilson_interval(above, count);
  share.n = count;
  share.resampling_unit = "target";
  writer.metric(share);
  writer.metric(
      mean_metric("high_frequency_share", high_frequency_share(at::cat(images)), "image"));
  writer.metric(mean_metric("high_frequency_share_of_natural_images", high_frequency_share(natural),
                            "image"));

  View grid{View::Type::image_grid,
            "Images that excite",
            "Each row is a target, each column another seed.",
            {"images"},
            Value()};
  grid.options.set("rows", rows);
  writer.view(std::move(grid));
  View line{View::Type::line,
            "Score over the steps",
            "Mean over the target's images, each moved at random.",
            {"curve"},
            Value()};
  line.options.set("x", "step");
  line.options.set("y", "score");
  line.options.set("series", names);
  writer.view(std::move(line));
  writer.view(
      table_view("Against the dataset",
                 {"target", "score under unseen moves", "largest of the dataset", "gradient"},
                 std::move(table),
                 "An image that does not exceed the dataset's largest shows nothing of the "
                 "unit."));
}

}  // namespace activation_maximization
