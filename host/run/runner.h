#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "host/loader/catalog.h"
#include "host/pipeline/checker.h"
#include "host/run/cancellation.h"
#include "host/run/journal.h"

namespace microtome::host {

struct RunOptions {
  std::size_t jobs = 1;
  at::Device device = at::kCPU;
  std::optional<std::string> only;  ///< this stage and what it needs
  bool fresh = false;               ///< compute again what is in the store
  bool profile = false;             ///< write where the time goes
  std::filesystem::path runs = "runs";
  std::filesystem::path store;
};

enum class RunResult { done, failed, interrupted };

/// What a run came to.
struct RunSummary {
  RunResult result = RunResult::done;
  std::filesystem::path folder;
};

/// Runs a checked pipeline: computes what the store does not have, and leaves a run folder. Throws
/// `Error` when it can't begin. 1.5 s after `cancellation` the manifest is written, whatever still
/// runs, and `leave` is called.
RunSummary run_pipeline(const PlannedPipeline& planned, Catalog& catalog, const RunOptions& options,
                        Cancellation& cancellation, Journal& journal,
                        const std::function<void()>& leave);

}  // namespace microtome::host
