#include "train_classifier.h"

#include <torch/optim/adam.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "microtome/class_numbers.h"

namespace train_classifier {

using namespace microtome;

namespace {

constexpr std::uint64_t weight_stream = 0, first_epoch_stream = 1;
constexpr std::int64_t moment_images = 256;  ///< that mean and std of the input are taken from

/// Mean and deviation of each channel, as the model's input declares them.
ModelInput input_of(const at::Tensor& images) {
  ModelInput input;
  input.size = images.sizes().slice(1).vec();
  const at::Tensor flat = images.to(at::kDouble).transpose(0, 1).flatten(1);
  const at::Tensor mean = flat.mean(1), deviation = flat.std(1).clamp_min(1e-3);
  for (std::int64_t c = 0; c < mean.numel(); ++c) {
    input.mean.push_back(mean[c].item<double>());
    input.std.push_back(deviation[c].item<double>());
  }
  return input;
}

at::Tensor channel_row(const std::vector<double>& values) {
  return at::tensor(values, at::kDouble).to(at::kFloat).view({-1, 1, 1});
}

/// Images and labels of some samples, loaded by the lane's threads in parts.
struct Samples {
  at::Tensor images, labels;
};
Samples load(const Dataset& data, const std::vector<std::int64_t>& positions,
             const std::string& image, const std::string& label, Context& context) {
  constexpr std::size_t part = 16;
  const std::size_t parts = (positions.size() + part - 1) / part;
  std::vector<Samples> loaded(parts);
  context.parallel_for(static_cast<std::int64_t>(parts), [&](std::int64_t i) {
    const auto first = static_cast<std::size_t>(i) * part;
    const auto end = std::min(first + part, positions.size());
    const Batch batch = data.load({positions.begin() + static_cast<std::ptrdiff_t>(first),
                                   positions.begin() + static_cast<std::ptrdiff_t>(end)});
    demand_finite(batch.fields.at(image), batch.ids, "the image");
    loaded[static_cast<std::size_t>(i)] = {batch.fields.at(image),
                                           class_numbers(batch.fields.at(label), label)};
  });
  std::vector<at::Tensor> images, labels;
  for (const Samples& some : loaded) {
    images.push_back(some.images);
    labels.push_back(some.labels);
  }
  return {at::cat(images).to(at::kFloat), at::cat(labels)};
}

}  // namespace

TrainClassifier::TrainClassifier(Params params) : params_(std::move(params)) {
  for (const std::string& text : params_.layers) layers_.push_back(parse_layer(text));
}

void TrainClassifier::describe(StageSpec<Params>& spec) {
  spec.summary("A small convolutional network, trained to tell the classes of a dataset.");
  spec.details(
      "The layers stand in a row; after them come the mean over places and a linear layer. The "
      "model normalises its input by the training images' mean and deviation. It is used like a "
      "declared model, and `torch::jit::load` opens its file.");
  spec.paper("Kingma, Ba 2014, Adam: a method for stochastic optimization (arXiv 1412.6980)");
  spec.paper("He, Zhang, Ren, Sun 2015, Deep residual learning (arXiv 1512.03385), for residual");
  spec.input("data", {kind::dataset}).doc("images in 0..1 with labels, to learn from");
  spec.input("held_out", {kind::dataset}).optional().doc("the same, to measure the accuracy on");
  spec.output("model", kind::model).doc("the trained network");
  spec.output("untrained", kind::model)
      .doc("the same network before the first step, as a baseline");
  spec.output("training", kind::metrics)
      .doc("`loss` and `accuracy` of each epoch, and the accuracy on held-out samples");
  spec.parameter("layers", &Params::layers)
      .doc(
          "conv channels=C [kernel=3] [stride=1], batch_norm, relu, max_pool [size=2], residual "
          "channels=C [stride=1] (two 3 x 3 convolutions with batch norm beside a shortcut)");
  spec.parameter("label", &Params::label).doc("the field that holds the class of each sample");
  spec.parameter("classes", &Params::classes)
      .range(2, 100000)
      .doc("how many; default: as many as the field has names");
  spec.parameter("epochs", &Params::epochs).range(1, 10000).doc("passes over the data");
  spec.parameter("batch", &Params::batch).range(2, 4096).unit("samples").doc("of each step");
  spec.parameter("learning_rate", &Params::learning_rate)
      .range(1e-7, 10)
      .doc("of Adam at the start; it falls to 0 as a cosine");
  spec.parameter("weight_decay", &Params::weight_decay).range(0, 10).doc("of Adam");
}

std::int64_t TrainClassifier::class_count(const FieldInfo& label) const {
  if (params_.classes) return *params_.classes;
  if (label.class_names.empty())
    throw Error("the field \"" + params_.label + "\" has no names of classes; say `classes`");
  return static_cast<std::int64_t>(label.class_names.size());
}

void TrainClassifier::plan(const PlanInputs& inputs, Plan& plan) const {
  plan.gradients = true;
  plan.random = true;
  OutputPlan model{"model", kind::model, {}};
  for (const char* port : {"data", "held_out"}) {
    const DatasetInfo* data = inputs.dataset(port);
    if (data == nullptr) continue;
    const FieldInfo* image = data->images();
    const FieldInfo* label = data->find(params_.label);
    if (image == nullptr || image->is_normalised())
      inputs.problems().add({}, "the dataset \"" + data->name +
                                    "\" has no images in 0..1 of one "
                                    "size");
    if (label == nullptr)
      inputs.problems().add(
          {}, "the dataset \"" + data->name + "\" has no field \"" + params_.label + "\"");
    if (label != nullptr) {
      if (const std::string why = why_not_classes(*label); !why.empty())
        inputs.problems().add({}, why);
    }
    if (image == nullptr || label == nullptr || model.module) continue;
    ModelInput input;
    input.size = image->shape;
    input.mean.assign(static_cast<std::size_t>(image->shape[0]), 0.5);
    input.std.assign(static_cast<std::size_t>(image->shape[0]), 0.25);
    const Network network(layers_, image->shape[0], class_count(*label),
                          at::detail::createCPUGenerator(0));
    model.module = std::make_shared<ScriptModule>(network.script(std::move(input)));
  }
  OutputPlan untrained = model;
  untrained.port = "untrained";
  plan.outputs.push_back(std::move(model));
  plan.outputs.push_back(std::move(untrained));
  plan.outputs.push_back({"training",
                          kind::metrics,
                          {{"loss", at::kFloat, {params_.epochs}, false},
                           {"accuracy", at::kFloat, {params_.epochs}, false}}});
}

void TrainClassifier::run(Context& context) const {
  const Dataset& data = context.dataset("data");
  const std::string image = data.info().images()->name;
  const std::int64_t size = data.info().size;
  const std::int64_t classes = class_count(*data.info().find(params_.label));
  const ModelInput input = input_of(
      load(data, positions_between(0, std::min(moment_images, size)), image, params_.label, context)
          .images);
  const at::Tensor mean = channel_row(input.mean), deviation = channel_row(input.std);
  const at::Tensor counted = data.column(params_.label);
  if (size < 2 || counted.min().item<std::int64_t>() < 0 ||
      counted.max().item<std::int64_t>() >= classes)
    throw Error("there are too few samples, or a label is outside of the " +
                std::to_string(classes) + " classes");

  Network network(layers_, input.size.at(0), classes, context.generator(weight_stream));
  context.output("untrained").model(network.script(input));
  torch::optim::Adam adam(
      network.parameters(),
      torch::optim::AdamOptions(params_.learning_rate).weight_decay(params_.weight_decay));
  const std::int64_t batches = std::max<std::int64_t>(1, size / params_.batch);
  at::Tensor losses = at::zeros({params_.epochs}), accuracies = at::zeros({params_.epochs});
  for (std::int64_t epoch = 0; epoch < params_.epochs; ++epoch) {
    const at::Tensor order = at::randperm(
        size, context.generator(first_epoch_stream + static_cast<std::uint64_t>(epoch)), at::kLong);
    std::int64_t seen = 0, right = 0;
    double loss_sum = 0;
    for (std::int64_t k = 0; k < batches; ++k) {
      context.check_cancelled();
      const at::Tensor chosen =
          order.slice(0, k * size / batches, (k + 1) * size / batches).contiguous();
      const auto* first = chosen.data_ptr<std::int64_t>();
      const Samples samples =
          load(data, {first, first + chosen.numel()}, image, params_.label, context);
      const double done =
          static_cast<double>(epoch * batches + k) / static_cast<double>(params_.epochs * batches);
      const double rate = params_.learning_rate * 0.5 * (1 + std::cos(3.14159265358979 * done));
      static_cast<torch::optim::AdamOptions&>(adam.param_groups()[0].options()).lr(rate);
      const at::AutoGradMode recording(true);
      const at::Tensor scores = network.forward((samples.images - mean) / deviation, true);
      const at::Tensor loss = at::cross_entropy_loss(scores, samples.labels);
      if (!std::isfinite(loss.item<double>()))
        throw Error("the loss is not finite in epoch " + std::to_string(epoch + 1) +
                    "; take a smaller learning_rate");
      adam.zero_grad();
      loss.backward();
      adam.step();
      seen += chosen.numel();
      right += (scores.detach().argmax(1) == samples.labels).sum().item<std::int64_t>();
      loss_sum += loss.item<double>() * static_cast<double>(chosen.numel());
    }
    losses[epoch] = loss_sum / static_cast<double>(seen);
    accuracies[epoch] = static_cast<double>(right) / static_cast<double>(seen);
    context.progress(epoch + 1, params_.epochs);
  }
  context.output("model").model(network.script(input));

  ArtifactWriter& writer = context.output("training");
  writer.tensor("loss", losses);
  writer.tensor("accuracy", accuracies);
  for (const auto& [title, tensor, axis] : {std::tuple{"Loss", "loss", "cross-entropy"},
                                            {"Accuracy while training", "accuracy", "share"}}) {
    View line{View::Type::line, title, "Mean over the samples of each epoch.", {tensor}, Value()};
    line.options.set("x", "epoch");
    line.options.set("y", axis);
    line.options.set("first", 1);
    writer.view(std::move(line));
  }
  if (!context.connected("held_out")) return;
  const Dataset& held_out = context.dataset("held_out");
  const at::NoGradGuard no_gradients;
  std::int64_t right = 0;
  const std::int64_t count = held_out.info().size;
  for (const auto& positions : chunks_of(count, params_.batch)) {
    const Samples samples = load(held_out, positions, image, params_.label, context);
    const at::Tensor scores = network.forward((samples.images - mean) / deviation, false);
    right += (scores.argmax(1) == samples.labels).sum().item<std::int64_t>();
  }
  Metric metric;
  metric.name = "held_out_accuracy";
  metric.value = static_cast<double>(right) / static_cast<double>(count);
  metric.interval = wilson_interval(right, count);
  metric.n = count;
  metric.resampling_unit = "sample";
  metric.chance = at::bincount(held_out.column(params_.label)).max().item().toDouble() /
                  static_cast<double>(count);
  metric.null_description = "share of the most frequent class";
  writer.metric(std::move(metric));
}

}  // namespace train_classifier
