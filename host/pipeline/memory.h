#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "host/pipeline/checker.h"

namespace microtome::host {

/// What a stage's runs of a model take, by the sizes of the network's values alone: the same on
/// each machine.
struct ModelMemory {
  std::int64_t rows = 0;   ///< that go through the model together, at most
  double values = 0;       ///< bytes in each job: the network's values, and what the stage keeps
  std::int64_t fixed = 0;  ///< bytes once: parameters, and what the plan makes of them
  bool is_allowed = true;  ///< whether `runtime: {memory: ...}` allows the values
};

/// Samples of a chunk that the host lets through the model together: all, or as many as
/// `runtime: {memory: ...}` allows.
std::int64_t samples_within(const RuntimeSettings& runtime, std::int64_t chunk,
                            const ProgramModel& model);

/// Of the model at a port. Nothing where the model does not say the size of its input.
std::optional<ModelMemory> memory_of(const PlannedStage& stage, const std::string& port,
                                     const ProgramModel& model, const RuntimeSettings& runtime);

/// The largest chunk, up to the stage's own, with which its own runs of a model keep to
/// `runtime: {memory: ...}`: nobody else can part them. At least 1.
std::int64_t chunk_within(const PlannedStage& stage, const std::string& port,
                          const ProgramModel& model, const RuntimeSettings& runtime);

}  // namespace microtome::host
