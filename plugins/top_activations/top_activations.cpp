#include "top_activations.h"

#include <algorithm>
#include <cstdio>

#include "microtome/inputs_behind.h"

namespace top_activations {

using namespace microtome;

namespace {

/// Of a layer's value: N x units x places, these in one dimension.
at::Tensor by_place(const at::Tensor& units) {
  return units.dim() == 2 ? units.unsqueeze(2) : units.flatten(2);
}

/// Keeps the first `count` columns in the order of `values`; of equals the earlier sample.
void keep(at::Tensor& values, at::Tensor& samples, at::Tensor& places, std::int64_t count,
          bool largest) {
  const at::Tensor order = std::get<1>(values.sort(/*stable=*/true, 1, largest))
                               .slice(1, 0, std::min(count, values.size(1)));
  values = values.gather(1, order);
  samples = samples.gather(1, order);
  places = places.gather(1, order);
}

std::string short_number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

}  // namespace

void TopActivations::describe(StageSpec<Params>& spec) {
  spec.summary(
      "The samples, and the crops by receptive field, that excite a unit most, with random ones "
      "and the least beside them.");
  spec.details(
      "A unit's activation on a sample is its largest over places; the crop is what that place can "
      "see. Random samples are the ones to compare with: what is common to the most exciting "
      "samples says little when it is common to all.");
  spec.paper(
      "Zhou, Khosla, Lapedriza, Oliva, Torralba 2014, Object detectors emerge in deep scene CNNs "
      "(arXiv 1412.6856)");
  spec.input("model", {kind::model}).doc("the network");
  spec.input("data", {kind::dataset}).doc("the images that are searched");
  spec.output("samples", "samples")
      .doc(
          "for each sample `activation` [units] and the number of its `place`, y * W + x of an "
          "image's; `crops` [units, most / "
          "random / least, count, C, "
          "S, S] in 0..1, with `values`, `positions` of the samples and `boxes` (top, left, "
          "bottom, right: the rows and columns of pixels that the place sees, by gradients; all 0 "
          "where it sees padding alone). `receptive_field` is the largest height and width of a "
          "box");
  spec.parameter("layer", &Params::layer).required().of("model").doc("the layer");
  spec.parameter("units", &Params::units).range(0, 1e9).doc("its channels or units");
  spec.parameter("count", &Params::count).range(1, 100).doc("samples of each sort");
  spec.parameter("crop_size", &Params::crop_size)
      .range(8, 512)
      .unit("pixels")
      .doc("side that crops are shown at");
}

void TopActivations::plan(const PlanInputs& inputs, Plan& plan) const {
  plan.random = true;
  plan.read = Read{.data = "data", .model = "model", .capture = {params_.layer}, .forward = false};
  if (params_.units.empty()) inputs.problems().add({}, "units: name one at least");
  if (!params_.layer.selector.empty()) {
    inputs.problems().add(params_.layer.location,
                          "units are named by `units`; leave out the selector");
  }
  if (const auto info = inputs.resolve("model", params_.layer)) {
    const bool has_units = has_axis("c", info->axes);
    if (!info->shape.empty() && !has_units) {
      inputs.problems().add(
          params_.layer.location,
          "no axis of \"" + params_.layer.text() +
              "\" is known to be its channels, which are the units; its axes are " +
              axes_text(info->axes) + " (say axes: on the model)");
    }
    for (const std::int64_t unit : params_.units) {
      if (!has_units) break;
      const auto rank = static_cast<std::int64_t>(info->shape.size());
      const std::int64_t count =
          info->shape[static_cast<std::size_t>(axis_dimension("c", info->axes, rank))];
      if (unit >= count) {
        inputs.problems().add({}, "unit " + std::to_string(unit) + " is out of range: \"" +
                                      params_.layer.text() + "\" has " + std::to_string(count));
      }
    }
  }
  const DatasetInfo* data = inputs.dataset("data");
  if (data != nullptr && data->images() == nullptr)
    inputs.problems().add({}, "the dataset \"" + data->name +
                                  "\" has no images to show; fields of a tensor file are images by "
                                  "convert: {FIELD: pixels}");
  const auto units = static_cast<std::int64_t>(params_.units.size());
  const std::int64_t side = params_.crop_size;
  plan.outputs.push_back({"samples",
                          "samples",
                          {{"activation", at::kFloat, {-1, units}, true},
                           {"place", at::kLong, {-1, units}, true},
                           {"crops", at::kFloat, {units, 3, params_.count, -1, side, side}, false},
                           {"values", at::kFloat, {units, 3, params_.count}, false},
                           {"positions", at::kLong, {units, 3, params_.count}, false},
                           {"boxes", at::kLong, {units, 3, params_.count, 4}, false}}});
}

void TopActivations::batch(Extremes& state, Chunk& chunk, Context&) const {
  const at::Tensor index = at::tensor(params_.units, at::kLong);
  const at::Tensor units =
      channels_first(chunk.recording->captured[0].cpu(), chunk.recording->axes[0])
          .index_select(1, index)
          .to(at::kFloat);
  demand_finite(units, chunk.batch.ids, "the value at \"" + params_.layer.text() + "\"");
  const at::Tensor value = by_place(units);
  const auto [largest, place] = value.max(2);  // [N, U]
  chunk.emit("samples", "activation", largest);
  chunk.emit("samples", "place", place);
  state.values = state.least_values = largest.t().contiguous();
  state.places = state.least_places = place.t().contiguous();
  state.samples = state.least_samples =
      at::tensor(chunk.batch.positions, at::kLong).expand_as(state.values);
  keep(state.values, state.samples, state.places, params_.count, true);
  keep(state.least_values, state.least_samples, state.least_places, params_.count, false);
}

void TopActivations::merge(Extremes& earlier, Extremes&& later) const {
  if (!later.values.defined()) return;
  if (!earlier.values.defined()) {
    earlier = std::move(later);
    return;
  }
  const auto join = [](at::Tensor& into, const at::Tensor& more) {
    into = at::cat({into, more}, 1);
  };
  join(earlier.values, later.values);
  join(earlier.samples, later.samples);
  join(earlier.places, later.places);
  join(earlier.least_values, later.least_values);
  join(earlier.least_samples, later.least_samples);
  join(earlier.least_places, later.least_places);
  keep(earlier.values, earlier.samples, earlier.places, params_.count, true);
  keep(earlier.least_values, earlier.least_samples, earlier.least_places, params_.count, false);
}

at::Tensor TopActivations::crops(const at::Tensor& samples, const at::Tensor& places,
                                 at::Tensor boxes, ReceptiveFields& fields, const FieldInfo& image,
                                 Context& context) const {
  std::vector<at::Tensor> all;
  const Dataset& data = context.dataset("data");
  for (std::int64_t unit = 0; unit < samples.size(0); ++unit) {
    context.check_cancelled();
    for (std::int64_t k = 0; k < samples.size(1); ++k) {
      const at::Tensor pixels =
          image.pixels(data.load({samples[unit][k].item<std::int64_t>()}).fields.at(image.name));
      const Box box = fields.box(params_.units[static_cast<std::size_t>(unit)],
                                 places[unit][k].item<std::int64_t>());
      boxes[unit][k].copy_(at::tensor(
          std::vector<std::int64_t>{box.top, box.left, box.bottom, box.right}, at::kLong));
      const std::int64_t side = params_.crop_size;
      const at::Tensor crop = pixels.slice(2, box.top, box.bottom).slice(3, box.left, box.right);
      all.push_back(box.empty() ? at::zeros({1, pixels.size(1), side, side})
                                : at::upsample_nearest2d(crop, {side, side}));
    }
  }
  const at::Tensor stacked = at::cat(all);
  std::vector<std::int64_t> shape{samples.size(0), samples.size(1)};
  for (const std::int64_t size : stacked.sizes().slice(1)) shape.push_back(size);
  return stacked.view(shape);
}

void TopActivations::finish(Extremes& state, Context& context) const {
  if (!state.values.defined()) throw Error("no sample could be read");
  const Dataset& data = context.dataset("data");
  const Model& model = context.model("model");
  const Batch first = data.load({state.samples[0][0].item<std::int64_t>()});
  const NamedTensors inputs = context.bind("model", first);
  const NamedTensors seen = inputs_behind(model, inputs, params_.layer);
  const FieldInfo* image = images_behind(model, inputs, params_.layer, data.info(), first);
  if (image == nullptr)
    throw Error("\"" + params_.layer.text() +
                "\" sees no field of images, so there is nothing to show; fields of a tensor file "
                "are images by convert: {FIELD: pixels}");
  std::string image_input;
  for (const auto& [name, value] : seen) {
    if (value.dim() == 4 && image_input.empty()) image_input = name;
  }
  if (image_input.empty()) throw Error("the model takes no images, so there is nothing to show");
  at::Generator generator = context.generator(0);
  ReceptiveFields fields(model, inputs, image_input, params_.layer, generator);
  Pass pass;
  pass.capture = {params_.layer};
  const auto values_of = [&](const Batch& batch) {
    const Recording recording = model.run(context.bind("model", batch), pass);
    return by_place(channels_first(recording.captured[0].cpu(), recording.axes[0]).to(at::kFloat))
        .index_select(1, at::tensor(params_.units, at::kLong));
  };

  // Random samples, the same for all units, so that rows can be compared.
  const std::int64_t count = state.values.size(1);
  const at::Tensor drawn =
      std::get<0>(at::randperm(data.info().size, generator, at::kLong).slice(0, 0, count).sort());
  at::Tensor random_values = at::empty_like(state.values);
  at::Tensor random_places = at::empty_like(state.places);
  for (std::int64_t k = 0; k < count; ++k) {
    const Batch one = data.load({drawn[k].item<std::int64_t>()});
    const auto [value, place] = values_of(one).max(2);
    random_values.select(1, k).copy_(value[0]);
    random_places.select(1, k).copy_(place[0]);
  }
  const at::Tensor values = at::stack({state.values, random_values, state.least_values}, 1);
  const at::Tensor positions =
      at::stack({state.samples, drawn.expand_as(state.samples), state.least_samples}, 1);
  const at::Tensor places = at::stack({state.places, random_places, state.least_places}, 1);
  at::Tensor boxes = at::zeros({values.size(0), 3, count, 4}, at::kLong);
  std::vector<at::Tensor> shown;
  for (std::int64_t sort = 0; sort < 3; ++sort) {
    shown.push_back(crops(positions.select(1, sort), places.select(1, sort), boxes.select(1, sort),
                          fields, *image, context));
  }

  ArtifactWriter& writer = context.output("samples");
  writer.tensor("crops", at::stack(shown, 1));
  writer.tensor("values", values);
  writer.tensor("positions", positions);
  writer.tensor("boxes", boxes);
  writer.metadata("layer", Value(params_.layer.text()));
  const auto largest = [&](std::int64_t first, std::int64_t end) {
    return Value((boxes.select(3, end) - boxes.select(3, first)).max().item<std::int64_t>());
  };
  writer.metadata("receptive_field", Value(Value::List{largest(0, 2), largest(1, 3)}));
  View view{View::Type::image_grid,
            "What excites " + params_.layer.text(),
            "What the most excited place of each unit sees, with its activation: the samples that "
            "excite it most, random ones, and the least.",
            {"crops"},
            Value()};
  Value rows = Value::list(), captions = Value::list();
  for (std::size_t u = 0; u < params_.units.size(); ++u) {
    for (const char* sort : {"most", "random", "least"})
      rows.push_back("unit " + std::to_string(params_.units[u]) + ", " + sort);
  }
  const at::Tensor flat = values.flatten();
  for (std::int64_t i = 0; i < flat.numel(); ++i)
    captions.push_back(short_number(flat[i].item<float>()));
  view.options.set("rows", std::move(rows));
  view.options.set("captions", std::move(captions));
  writer.view(std::move(view));
}

}  // namespace top_activations
