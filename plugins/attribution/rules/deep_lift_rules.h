#pragma once

#include <cstdint>
#include <string>

#include "microtome/sdk.h"

namespace attribution {

/// How a nonlinear operator shares what it adds among what it got.
enum class DeepLiftRule {
  rescale,        ///< in proportion to the difference of its input
  reveal_cancel,  ///< positive and negative parts of its input's difference by themselves
};

/// Multipliers in place of gradients, for runs of 2N rows: N samples, then the reference of each.
/// The first N rows of what comes back are the samples' multipliers. Where an input's difference is
/// below 1e-6 the gradient stands for it.
microtome::BackwardRules deep_lift_rules(DeepLiftRule rule, std::int64_t samples);

}  // namespace attribution
