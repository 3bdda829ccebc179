#include "microtome/kinds/attribution.h"

#include <algorithm>
#include <cmath>

#include "microtome/finite.h"
#include "microtome/inputs_behind.h"

namespace microtome {

namespace {
constexpr std::int64_t most_shown = 12;
}

AttributionMethod::~AttributionMethod() = default;

void AttributionStage::plan(const PlanInputs& inputs, Plan& plan) const {
  plan.gradients = true;
  plan.read = Read{.data = "data", .model = "model", .capture = {}, .forward = false};
  TensorInfo values{"attributions", at::kFloat, {}, true};
  if (const auto info = inputs.resolve("model", common_.at)) {
    if (!common_.at.selector.empty()) {
      inputs.problems().add(common_.at.location,
                            "attributions are of a whole value; choose a part of it afterwards");
    }
    if (!info->tensor || !c10::isFloatingType(info->type)) {
      inputs.problems().add(
          common_.at.location,
          "the value at \"" + common_.at.text() +
              "\" is not a real number, so there is no gradient by it; name a hook "
              "point after the embedding");
    }
    if (info->samples == OfSamples::none) {
      inputs.problems().add(common_.at.location,
                            "the value at \"" + common_.at.text() +
                                "\" is the same for all samples, so nothing of a sample's score "
                                "is due to it");
    }
    values.shape = info->shape;
    if (!values.shape.empty()) values.shape[0] = -1;
  }
  inputs.check_target("model", "data", common_.target);
  if (common_.target.what == Target::What::kl) {
    if (common_.target.reference != "reference") {
      inputs.problems().add(common_.target.location,
                            "the scores that kl compares with come from the input \"reference\"; "
                            "write kl(reference)");
    } else if (!inputs.connected("reference")) {
      inputs.problems().add(common_.target.location,
                            "kl(reference) needs a model at the input \"reference\"");
    }
  }
  plan.outputs.push_back(
      {"attributions", kind::attributions, {values, {"score", at::kFloat, {-1}, true}}});
}

TargetScore AttributionStage::decide(const AttributionInput& input, const Recording& plain,
                                     Context& context) const {
  if (input.target != nullptr) return *input.target;
  const Target& target = common_.target;
  at::Tensor direction, reference;
  if (target.direction) direction = context.direction(*target.direction);
  if (target.what == Target::What::kl) {
    const Recording other =
        context.model("reference").run(context.bind("reference", input.batch), {});
    reference = other.output(target.output);
  }
  return {target, plain, input.batch, direction, reference};
}

TargetScore AttributionStage::target_score(const AttributionInput& input, Context& context) const {
  return decide(input, input.model.run(input.inputs, {}), context);
}

ScoreFunction AttributionStage::score_function(const AttributionInput& input,
                                               Context& context) const {
  return score_function(input, common_.at, context);
}

ScoreFunction AttributionStage::score_function(const AttributionInput& input, const HookPoint& at,
                                               Context& context) const {
  ScoreFunction score =
      input.target != nullptr
          ? ScoreFunction(input.model, input.inputs, at, *input.target)
          : ScoreFunction(input.model, input.inputs, at,
                          [&](const Recording& plain) { return decide(input, plain, context); });
  score.name_samples(input.batch.ids);
  return score;
}

namespace {

/// The images of the first samples, as many as are shown.
std::vector<at::Tensor> first_images(const Chunk& chunk, const HookPoint& at,
                                     const DatasetInfo& data) {
  std::vector<at::Tensor> images;
  const FieldInfo* field = images_behind(*chunk.model, chunk.inputs, at, data, chunk.batch);
  if (field == nullptr) return images;
  const at::Tensor& all = chunk.batch.fields.at(field->name);
  for (std::int64_t row = 0; row < std::min(most_shown, all.size(0)); ++row)
    images.push_back(field->pixels(all[row]).clone());
  return images;
}

/// As one tensor; those that differ in size from the first, and what comes after them, can't be in
/// it.
at::Tensor stacked(const std::vector<at::Tensor>& images) {
  std::vector<at::Tensor> alike;
  for (const at::Tensor& image : images) {
    if (image.sizes() != images[0].sizes()) break;
    alike.push_back(image);
  }
  return at::stack(alike);
}

}  // namespace

void AttributionStage::batch(State& state, Chunk& chunk, Context& context) const {
  // An attribution of what is not a number would say nothing of where that came from.
  const std::vector<std::string>& ids = chunk.batch.ids;
  for (const auto& [name, value] : chunk.inputs)
    demand_finite(value, ids, "the model's input \"" + name + "\"");
  const Dataset& data = context.dataset("data");
  const Attributions result =
      attribute({*chunk.model, chunk.inputs, chunk.batch, &data, nullptr}, context);
  demand_finite(result.score, ids, "the target's score");
  demand_finite(result.values, ids, "the attribution");
  demand_finite(result.completeness_delta, ids, "the completeness delta");
  chunk.emit("attributions", "attributions", result.values);
  chunk.emit("attributions", "score", result.score);
  state.samples += chunk.batch.size();
  state.axes = result.axes.empty() ? chunk.model->resolve(common_.at).axes : result.axes;
  if (result.completeness_delta.defined()) {
    chunk.emit("attributions", "completeness_delta", result.completeness_delta);
    const at::Tensor size = result.completeness_delta.abs().to(at::kDouble);
    state.deltas += size.numel();
    state.delta_sum += size.sum().item<double>();
    state.delta_max = std::max(state.delta_max, size.max().item<double>());
  }
  state.images = first_images(chunk, common_.at, data.info());
  for (const auto& [name, rows] : result.more) chunk.emit("attributions", name, rows);
}

void AttributionStage::merge(State& earlier, State&& later) const {
  earlier.samples += later.samples;
  if (earlier.axes.empty()) earlier.axes = later.axes;
  for (at::Tensor& image : later.images) {
    if (static_cast<std::int64_t>(earlier.images.size()) >= most_shown) break;
    earlier.images.push_back(std::move(image));
  }
  earlier.deltas += later.deltas;
  earlier.delta_sum += later.delta_sum;
  earlier.delta_max = std::max(earlier.delta_max, later.delta_max);
}

void AttributionStage::finish(State& state, Context& context) const {
  ArtifactWriter& writer = context.output("attributions");
  writer.metadata("at", Value(common_.at.text()));
  writer.metadata("target", Value(common_.target.text()));
  Value axes = Value::list();
  for (const std::string& axis : state.axes) axes.push_back(axis);
  writer.metadata("axes", axes);
  writer.metadata("space", Value(common_.at.module == "pixels" ? "pixel" : "model"));
  if (state.deltas > 0) {
    const std::string unit = "score";
    writer.metric({.name = "mean_absolute_completeness_delta",
                   .value = state.delta_sum / static_cast<double>(state.deltas),
                   .unit = unit,
                   .interval = {},
                   .n = state.deltas,
                   .resampling_unit = "sample",
                   .chance = {},
                   .null_description = {},
                   .seed = {},
                   .details = {}});
    writer.metric({.name = "largest_absolute_completeness_delta",
                   .value = state.delta_max,
                   .unit = unit,
                   .interval = {},
                   .n = state.deltas,
                   .resampling_unit = "sample",
                   .chance = {},
                   .null_description = {},
                   .seed = {},
                   .details = {}});
  }
  View map{View::Type::heat_map,
           "Attributions",
           "Sum over channels of what each place adds to the score; blue takes away, red adds.",
           {"attributions"},
           Value()};
  map.options.set("axes", std::move(axes));
  if (!state.images.empty()) {
    writer.tensor("images", stacked(state.images));
    map.options.set("images", "images");
  }
  writer.view(std::move(map));
}

void* AttributionStage::capability(std::string_view id) {
  return id == AttributionMethod::capability ? static_cast<AttributionMethod*>(this) : nullptr;
}

}  // namespace microtome
