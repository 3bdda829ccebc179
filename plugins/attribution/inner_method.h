#pragma once

#include "microtome/sdk.h"

namespace attribution {

/// The attribution method that a parameter holds; throws `microtome::Error` when it is another kind
/// of stage.
microtome::AttributionMethod& method_of(const microtome::NestedStage& nested);

/// How much of an input's own units one unit of model space is, by channel; 1 for a model that does
/// not normalise. Shaped like `value`.
at::Tensor per_model_unit(const microtome::Model& model, const at::Tensor& value);

}  // namespace attribution
