#pragma once

#include <functional>
#include <string>

#include "microtome/stage_spec.h"

namespace microtome::host {

/// Compares a stage's plan with what its type declares. `connected` tells whether an input is.
/// Throws `Error` for an output that is not declared, declared as another kind or planned twice,
/// and for a read of an input that is not declared or not connected.
void check_plan(const StageDescription& type, const Plan& plan,
                const std::function<bool(const std::string&)>& connected);

}  // namespace microtome::host
