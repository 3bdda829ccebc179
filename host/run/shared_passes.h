#pragma once

#include <vector>

#include "host/pipeline/checker.h"

namespace microtome::host {

/// For each stage the number of its group: stages of a group read the same model over the same
/// dataset, need the same stages, and so are served by one pass wherever their plans compute alike.
/// A stage that drives itself is alone in its group. What a stage computes does not depend on it.
std::vector<std::size_t> pass_groups(const PlannedPipeline& planned);

}  // namespace microtome::host
