#include "receptive_field.h"

#include <algorithm>
#include <cmath>

namespace top_activations {

using namespace microtome;

ReceptiveField::Box ReceptiveField::at(std::int64_t y, std::int64_t x) const {
  const auto moved = [this](int axis, std::int64_t place, std::int64_t edge) {
    const double shift = static_cast<double>(place - middle[axis]) * stride[axis];
    return std::clamp<std::int64_t>(edge + std::llround(shift), 0, image[axis]);
  };
  return {moved(0, y, low[0]), moved(1, x, low[1]), moved(0, y, high[0]), moved(1, x, high[1])};
}

ReceptiveField receptive_field(const Model& model, const NamedTensors& inputs,
                               const std::string& image_input, const HookPoint& layer,
                               at::Generator generator) {
  constexpr int tries = 4;
  const at::Tensor& example = inputs.at(image_input);
  ReceptiveField field;
  for (int axis = 0; axis < 2; ++axis) {
    field.image[axis] = example.size(axis + 2);
    field.high[axis] = field.image[axis];
  }
  HookPoint whole = layer;
  whole.selector = {};
  at::Tensor reached;
  for (int i = 0; i < tries; ++i) {
    at::Tensor noise = at::rand(example.sizes(), generator, at::kFloat).to(example.options());
    noise = noise.slice(0, 0, 1).detach().requires_grad_();
    NamedTensors given;
    for (const auto& [name, value] : inputs)
      given.set(name, name == image_input ? noise : value.slice(0, 0, 1));
    Pass pass;
    pass.capture = {whole};
    pass.record_gradients = true;
    const at::AutoGradMode recording(true);
    const at::Tensor value = model.run(given, pass).captured[0];
    if (value.dim() != 4) return field;
    for (int axis = 0; axis < 2; ++axis) {
      field.middle[axis] = value.size(axis + 2) / 2;
      field.stride[axis] =
          static_cast<double>(field.image[axis]) / static_cast<double>(value.size(axis + 2));
    }
    const at::Tensor place =
        value.select(3, field.middle[1]).select(2, field.middle[0]).abs().sum();
    if (!place.requires_grad()) return field;
    place.backward();
    if (!noise.grad().defined()) return field;
    const at::Tensor gradient = noise.grad().abs().amax({0, 1}) > 0;
    reached = reached.defined() ? reached.logical_or(gradient) : gradient;
  }
  for (int axis = 0; axis < 2; ++axis) {
    const at::Tensor lines = reached.any(1 - axis).nonzero().flatten();
    if (lines.numel() == 0) continue;
    field.low[axis] = lines[0].item<std::int64_t>();
    field.high[axis] = lines[-1].item<std::int64_t>() + 1;
  }
  return field;
}

}  // namespace top_activations
