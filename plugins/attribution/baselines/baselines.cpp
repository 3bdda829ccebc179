#include "baselines/baselines.h"

#include <algorithm>
#include <utility>

#include "baselines/field_value.h"

namespace attribution {

using namespace microtome;

Baselines::Baselines(std::vector<std::string> texts) : texts_(std::move(texts)) {
  for (const std::string& text : texts_) baselines_.push_back(Baseline::parse(text));
  if (baselines_.empty()) throw Error("baseline: name one at least");
}

bool Baselines::are_random() const {
  return std::any_of(baselines_.begin(), baselines_.end(),
                     [](const Baseline& baseline) { return baseline.is_random(); });
}

void Baselines::check(const PlanInputs& inputs, const HookPoint& at) const {
  for (const Baseline& baseline : baselines_) {
    if (baseline.kind == Baseline::Kind::field)
      check_field_value(inputs, at, baseline.field, "baseline");
  }
  const Model* model = inputs.model("model");
  if (model == nullptr) return;
  for (std::size_t i = 0; i < baselines_.size(); ++i) {
    if (baselines_[i].kind == Baseline::Kind::black && !model->normalises()) {
      inputs.problems().add({},
                            "baseline: black is pixel 0, and nothing says what that is in model "
                            "space; give the model input: {mean, std}, or take zeros");
    }
    if (baselines_[i].is_of_pixels() && model->inputs().size() != 1) {
      inputs.problems().add({}, "baseline: " + texts_[i] +
                                    " is an image, and the model has several inputs; take zeros or "
                                    "noise");
    }
  }
}

at::Tensor Baselines::at_hook(const AttributionInput& input, const HookPoint& at,
                              std::size_t number, const at::Tensor& value, Context& context) const {
  at::Tensor baseline = made(input, at, number, value, context);
  demand_finite(baseline, input.batch.ids,
                "the value at \"" + at.text() + "\" on the baseline " + texts_.at(number));
  return baseline;
}

at::Tensor Baselines::made(const AttributionInput& input, const HookPoint& at, std::size_t number,
                           const at::Tensor& value, Context& context) const {
  const Baseline& baseline = baselines_.at(number);
  if (baseline.kind == Baseline::Kind::field)
    return field_value(input, at, baseline.field, value, "baseline");
  NamedTensors inputs = input.inputs;
  Pass pass;
  pass.capture = {at};
  pass.outputs = false;
  if (baseline.is_of_pixels()) {
    const at::Tensor images = inputs.begin()->second;
    if (images.dim() != 4) throw Error("the baseline needs images, N x C x H x W");
    at::Tensor mean;
    if (baseline.kind == Baseline::Kind::mean_image || baseline.kind == Baseline::Kind::mean_colour)
      mean = mean_of(*input.data);
    inputs.set(inputs.begin()->first, pixel_baseline(baseline, images, mean));
    return input.model.run(inputs, pass).captured[0];
  }
  const auto like_input = [&](const at::Tensor& like) -> at::Tensor {
    if (baseline.kind == Baseline::Kind::zeros) return at::zeros_like(like);
    at::Tensor noise = at::empty(like.sizes(), at::kFloat);
    for (std::int64_t row = 0; row < noise.size(0); ++row) {
      const auto sample = static_cast<std::uint64_t>(input.batch.position(row));
      at::Generator generator = context.generator(sample * 64 + number);
      noise[row].normal_(0, baseline.amount, generator);
    }
    return noise.to(like.options());
  };
  // In the space of the hook point when that is an input, else in model space.
  if (at.is_model_input()) return like_input(value);
  for (const PortInfo& port : input.model.inputs()) {
    // One that may be left out is not there.
    const at::Tensor* given = inputs.find(port.name);
    if (given == nullptr || !given->is_floating_point()) continue;
    const HookPoint hook = parse_hook_point("input." + port.name);
    if (input.model.is_computed_from(at, hook)) pass.edits.push_back({hook, like_input});
  }
  // Tokens have no zero, so the baseline is one of the value itself.
  if (pass.edits.empty()) return like_input(value);
  return input.model.run(inputs, pass).captured[0];
}

at::Tensor Baselines::mean_of(const Dataset& data) const {
  const std::lock_guard lock(mean_->mutex);
  if (!mean_->image.defined() || mean_->of != &data) {
    const auto& fields = data.info().fields;
    const auto image = std::find_if(fields.begin(), fields.end(),
                                    [](const FieldInfo& field) { return field.shape.size() == 3; });
    if (image == fields.end()) throw Error("the dataset has no images to take a mean of");
    mean_->image = mean_image_of(data, image->name);
    mean_->of = &data;
  }
  return mean_->image;
}

void BaselineStage::plan(const PlanInputs& inputs, Plan& plan) const {
  AttributionStage::plan(inputs, plan);
  plan.random = baselines_.are_random();
  baselines_.check(inputs, common().at);
}

}  // namespace attribution
