#pragma once

#include <string>

#include "microtome/sdk.h"

namespace attribution {

/// Adds that `method` is of maps, N x channels x height x width, where the value at `at` of the
/// model at the port "model" is none.
void check_maps(const microtome::PlanInputs& inputs, const microtome::HookPoint& at,
                const std::string& method);
/// Throws the same as a `microtome::Error`.
void demand_maps(const microtome::Axes& axes, const std::string& method);
/// The attributions that a plan promises have one channel, whatever the value has.
void promise_one_channel(microtome::Plan& plan);

}  // namespace attribution
