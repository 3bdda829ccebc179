#include "microtome/kinds/attribution.h"

#include <algorithm>
#include <cmath>

namespace microtome {

namespace {
constexpr std::int64_t shown_images = 12;
}

AttributionMethod::~AttributionMethod() = default;

Plan AttributionStage::plan(const PlanInputs& inputs) const {
  Plan plan;
  plan.gradients = true;
  plan.read = Read{.data = "data", .model = "model", .capture = {}, .forward = false};
  TensorInfo values{"attributions", at::kFloat, {}, true};
  if (const auto info = inputs.resolve("model", common_.at)) {
    if (!common_.at.selector.empty()) {
      inputs.problems().add(common_.at.location,
                            "attributions are of a whole value; choose a part of it afterwards");
    }
    if (!info->tensor || !c10::isFloatingType(info->type)) {
      inputs.problems().add(common_.at.location,
                            "the value at \"" + common_.at.text() +
                                "\" is no real number, so there is no gradient by it; name a hook "
                                "point after the embedding");
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
  return plan;
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
  if (input.target != nullptr) return {input.model, input.inputs, at, *input.target};
  return {input.model, input.inputs, at,
          [&](const Recording& plain) { return decide(input, plain, context); }};
}

namespace {

/// An attribution of what is no number would be none either, and say nothing of where it came from.
void demand_finite(const Chunk& chunk) {
  for (const auto& [name, value] : chunk.inputs) {
    if (!value.is_floating_point() || value.dim() == 0) continue;
    const at::Tensor wrong = value.isfinite().logical_not().flatten(1).any(1);
    if (!wrong.any().item<bool>()) continue;
    const auto row = static_cast<std::size_t>(wrong.nonzero()[0].item<std::int64_t>());
    throw Error("sample \"" + chunk.batch.ids.at(row) + "\": the model's input \"" + name +
                "\" holds a NaN or an infinite value");
  }
}

}  // namespace

void AttributionStage::batch(State& state, Chunk& chunk, Context& context) const {
  demand_finite(chunk);
  const Attributions result = attribute(
      {*chunk.model, chunk.inputs, chunk.batch, &context.dataset("data"), nullptr}, context);
  chunk.emit("attributions", "attributions", result.values);
  chunk.emit("attributions", "score", result.score);
  state.samples += chunk.batch.size();
  if (result.completeness_delta.defined()) {
    chunk.emit("attributions", "completeness_delta", result.completeness_delta);
    const at::Tensor size = result.completeness_delta.abs().to(at::kDouble);
    state.deltas += size.numel();
    state.delta_sum += size.sum().item<double>();
    state.delta_max = std::max(state.delta_max, size.max().item<double>());
  }
  if (chunk.index == 0) {
    for (const FieldInfo& field : context.dataset("data").info().fields) {
      if (!field.image || field.normalised || state.images.defined()) continue;
      const at::Tensor& images = chunk.batch.fields.at(field.name);
      if (images.dim() == 4) state.images = images.slice(0, 0, shown_images).clone();
    }
  }
  for (const auto& [name, rows] : result.more) chunk.emit("attributions", name, rows);
}

void AttributionStage::merge(State& earlier, State&& later) const {
  earlier.samples += later.samples;
  if (!earlier.images.defined()) earlier.images = later.images;
  earlier.deltas += later.deltas;
  earlier.delta_sum += later.delta_sum;
  earlier.delta_max = std::max(earlier.delta_max, later.delta_max);
}

void AttributionStage::finish(State& state, Context& context) const {
  ArtifactWriter& writer = context.output("attributions");
  writer.metadata("at", Value(common_.at.text()));
  writer.metadata("target", Value(common_.target.text()));
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
  if (state.images.defined()) {
    writer.tensor("images", state.images);
    map.options.set("images", "images");
  }
  writer.view(std::move(map));
}

void* AttributionStage::capability(std::string_view id) {
  return id == AttributionMethod::capability ? static_cast<AttributionMethod*>(this) : nullptr;
}

}  // namespace microtome
