#pragma once

#include "microtome/sdk.h"

namespace top_activations {

/// Gradients that arrive wherever the value may come from, whatever the inputs are: rectifiers let
/// all through, a maximum sends its gradient to all that it is taken of. They say what can be seen,
/// not how much.
microtome::BackwardRules reaching_rules();

}  // namespace top_activations
