#include "objective.h"

namespace activation_maximization {

using namespace microtome;

Objective::Objective(Target target, const Model& model, Context& context)
    : target_(std::move(target)), model_(&model), context_(&context) {
  if (target_.direction) direction_ = context.direction(*target_.direction);
}

std::vector<HookPoint> Objective::hooks() const {
  if (!target_.hook) return {};
  HookPoint whole = *target_.hook;
  whole.selector = {};
  return {*target_.hook, whole};
}

Objective::Result Objective::score(const Recording& recording, std::int64_t images,
                                   std::size_t offset) const {
  Result result;
  result.scores = TargetScore(target_, recording, Batch{}, direction_).score(recording, 1, offset);
  if (!target_.hook) return result;
  result.layer = recording.captured[offset + 1];
  result.axes = recording.axes[offset + 1];
  // The target sums over what its hook selects; a direction has already summed over channels.
  const at::Tensor& selected = recording.captured[offset];
  std::int64_t summed = selected.numel() / images;
  if (target_.direction)
    summed /= selected.size(axis_dimension("c", recording.axes[offset], selected.dim()));
  result.scores = result.scores / static_cast<double>(summed);
  return result;
}

Objective::Result Objective::operator()(const at::Tensor& images, bool with_gradients) const {
  const at::AutoGradMode mode(with_gradients);
  NamedTensors inputs;
  inputs.set(model_->inputs().at(0).name, images);
  Pass pass;
  pass.record_gradients = with_gradients;
  pass.directions = context_->directions();
  pass.capture = hooks();
  return score(model_->run(inputs, pass), images.size(0), 0);
}

at::Tensor Objective::scores(const std::vector<Objective>& objectives, const at::Tensor& images) {
  const Objective& first = objectives.at(0);
  NamedTensors inputs;
  inputs.set(first.model_->inputs().at(0).name, images);
  Pass pass;
  pass.directions = first.context_->directions();
  for (const Objective& objective : objectives) {
    for (HookPoint& hook : objective.hooks()) pass.capture.push_back(std::move(hook));
  }
  const Recording recording = first.model_->run(inputs, pass);
  std::vector<at::Tensor> all;
  std::size_t offset = 0;
  for (const Objective& objective : objectives) {
    all.push_back(objective.score(recording, images.size(0), offset).scores);
    offset += objective.hooks().size();
  }
  return at::stack(all);
}

at::Tensor similarity(const at::Tensor& layer, const Axes& axes) {
  const std::int64_t count = layer.size(0);
  if (count < 2) return at::zeros({}, layer.options());
  at::Tensor flat = channels_first(layer, axes).flatten(2);
  if (flat.dim() == 2) flat = flat.unsqueeze(2);
  at::Tensor gram = at::matmul(flat, flat.transpose(1, 2)).flatten(1);
  gram = gram / gram.norm(2, {1}, true).clamp_min(1e-10);
  const at::Tensor cosine = gram.mm(gram.t());
  return (cosine.sum() - cosine.diagonal().sum()) / static_cast<double>(count * (count - 1));
}

}  // namespace activation_maximization
