#include "microtome/inputs_behind.h"

#include <algorithm>

namespace microtome {
namespace {

bool is_among(const at::Tensor& images, const NamedTensors& inputs) {
  return std::any_of(inputs.begin(), inputs.end(), [&](const auto& input) {
    const at::Tensor& value = input.second;
    return value.sizes() == images.sizes() &&
           at::equal(value.cpu(), images.to(value.scalar_type()).cpu());
  });
}

}  // namespace

NamedTensors inputs_behind(const Model& model, const NamedTensors& inputs, const HookPoint& at) {
  NamedTensors behind;
  for (const auto& [name, value] : inputs) {
    if (model.is_computed_from(at, parse_hook_point("input." + name))) behind.set(name, value);
  }
  return behind.empty() ? inputs : behind;
}

const FieldInfo* images_behind(const Model& model, const NamedTensors& inputs, const HookPoint& at,
                               const DatasetInfo& data, const Batch& batch) {
  const NamedTensors behind = inputs_behind(model, inputs, at);
  const FieldInfo* field = shown_images(data, batch, behind);
  if (field == nullptr) return nullptr;
  const at::Tensor& images = batch.fields.at(field->name);
  const bool is_of_another = !is_among(images, behind) && is_among(images, inputs);
  return is_of_another ? nullptr : field;
}

}  // namespace microtome
