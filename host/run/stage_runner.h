#pragma once

#include <string>
#include <utility>
#include <vector>

#include "host/run/stage_context.h"

namespace microtome::host {

/// What a stage's run left besides its outputs.
struct StageReport {
  std::vector<std::pair<std::string, std::string>>
      skipped;  ///< samples that could not be read, and why
};

/// Runs one stage on the calling thread and its tasks. Throws `Error` with the samples at which it
/// failed, `Cancelled` when the run ends.
StageReport run_stage(const RunEnvironment& run, std::size_t stage, StageContext& context);

}  // namespace microtome::host
