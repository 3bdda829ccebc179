#pragma once

#include "microtome/sdk.h"

namespace attribution {

/// Bytes of the network's largest value on one sample, for what a plan says of memory. 0 where no
/// shape is known.
double bytes_of_largest_value(const microtome::PlanInputs& inputs);

}  // namespace attribution
