#include "host/pipeline/memory.h"

#include <algorithm>

namespace microtome::host {
namespace {

double budget(const RuntimeSettings& runtime) {
  return static_cast<double>(runtime.memory) * 1024 * 1024;
}

/// As many as `available` bytes hold, from 1 to `most`.
std::int64_t count_within(double available, double bytes_of_one, std::int64_t most) {
  if (bytes_of_one <= 0) return most;
  const double count = std::min(available / bytes_of_one, 1e9);
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(count), 1, most);
}

/// Whether the host runs the model for the stage, which then gets values and outputs.
bool is_run_by_host(const PlannedStage& stage, const std::string& port) {
  const auto& read = stage.plan.read;
  return read && read->model == port && (read->forward || !read->capture.empty());
}

std::optional<double> bytes_of_run(const PlannedStage& stage, const ProgramModel& model) {
  Pass pass;
  pass.record_gradients = stage.plan.gradients;
  return model.bytes_per_sample(pass);
}

/// That a stage keeps of each sample of a chunk: what it says, and the values that it gets.
double bytes_kept(const PlannedStage& stage, const std::string& port, const ProgramModel& model) {
  double bytes = stage.plan.bytes_per_sample;
  if (is_run_by_host(stage, port)) {
    for (const HookPoint& hook : stage.plan.read->capture) bytes += model.resolve(hook).bytes();
  }
  return bytes;
}

std::int64_t bytes_of_constants(const Program& program) {
  std::int64_t bytes = 0;
  for (const c10::IValue& constant : program.constants) {
    if (constant.isTensor()) bytes += static_cast<std::int64_t>(constant.toTensor().nbytes());
  }
  return bytes;
}

}  // namespace

std::int64_t samples_within(const RuntimeSettings& runtime, std::int64_t chunk,
                            const ProgramModel& model) {
  // Of the whole forward pass, whatever a stage asks of it, so that stages can share it.
  const std::optional<double> bytes = model.bytes_per_sample({});
  return bytes ? count_within(budget(runtime), *bytes, chunk) : chunk;
}

std::optional<ModelMemory> memory_of(const PlannedStage& stage, const std::string& port,
                                     const ProgramModel& model, const RuntimeSettings& runtime) {
  const auto bytes = bytes_of_run(stage, model);
  if (!bytes) return std::nullopt;
  ModelMemory memory;
  memory.rows = is_run_by_host(stage, port) ? samples_within(runtime, stage.chunk, model)
                                            : stage.plan.rows(stage.chunk);
  memory.values = *bytes * static_cast<double>(memory.rows) +
                  bytes_kept(stage, port, model) * static_cast<double>(stage.chunk);
  memory.is_allowed = memory.values <= budget(runtime);
  memory.fixed = bytes_of_constants(model.program()) + model.plan_report().winograd_filter_bytes;
  return memory;
}

std::int64_t chunk_within(const PlannedStage& stage, const std::string& port,
                          const ProgramModel& model, const RuntimeSettings& runtime) {
  if (stage.chunk == 1 || is_run_by_host(stage, port)) return stage.chunk;
  const auto bytes = bytes_of_run(stage, model);
  if (!bytes) return stage.chunk;
  const double of_sample =
      *bytes * static_cast<double>(stage.plan.rows_per_sample) + stage.plan.bytes_per_sample;
  return count_within(budget(runtime), of_sample, stage.chunk);
}

}  // namespace microtome::host
