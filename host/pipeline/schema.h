#pragma once

#include <vector>

#include "microtome/stage_spec.h"

namespace microtome::host {

/// JSON Schema of an object with these parameters.
Value parameters_schema(const StageDescription& description);

/// JSON Schema of a pipeline in which these stage types can be used.
Value pipeline_schema(const std::vector<const StageDescription*>& stage_types);

}  // namespace microtome::host
