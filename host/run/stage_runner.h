#pragma once

#include <exception>
#include <vector>

#include "host/run/stage_context.h"

namespace microtome::host {

/// What a stage's run left besides its outputs.
struct StageReport {
  std::exception_ptr error;  ///< it failed, or the run ends
};

/// A stage that is to run.
struct StageJob {
  std::size_t stage = 0;
  StageContext* context = nullptr;
};

/// Runs stages on the calling thread and its tasks. Those that read the same dataset, and if any
/// then the same model by the same plan, go through it in one pass; see `pass_groups`. One that
/// fails leaves the others as they are. Errors name the samples at which they happened.
std::vector<StageReport> run_stages(const RunEnvironment& run, const std::vector<StageJob>& jobs);

}  // namespace microtome::host
