#pragma once

#include <functional>

#include "microtome/sdk.h"

namespace attribution {

/// What `attribute` makes of each sample of the batch by itself, put together again.
microtome::Attributions by_sample(
    const microtome::AttributionInput& input,
    const std::function<microtome::Attributions(const microtome::AttributionInput&)>& attribute);

}  // namespace attribution
