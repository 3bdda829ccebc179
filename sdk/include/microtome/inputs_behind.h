#pragma once

#include "microtome/dataset.h"
#include "microtome/model.h"

namespace [[gnu::visibility("default")]] microtome {

/// Of a model's `inputs` those that the value at `at` is computed from, or is, in their order; all
/// of them where none is (at `pixels`). What is shown beside a value, or cut into parts for it, is
/// one of these.
NamedTensors inputs_behind(const Model& model, const NamedTensors& inputs, const HookPoint& at);

/// The field of images to show beside a value (`shown_images`): that of an input that the value is
/// computed from; nullptr when there is none, rather than what another input sees.
const FieldInfo* images_behind(const Model& model, const NamedTensors& inputs, const HookPoint& at,
                               const DatasetInfo& data, const Batch& batch);

}  // namespace microtome
