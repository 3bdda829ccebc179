#pragma once

#include "host/model/plan/plan.h"
#include "microtome/stage_spec.h"

namespace microtome::host {

/// What can change a bit and is for the whole run: `runtime:` of a pipeline. Part of each key.
struct RuntimeSettings {
  enum class Precision { float32, bfloat16, float16 };

  Automatic<std::int64_t> chunk;
  std::int64_t threads = 1;
  std::int64_t memory = 1024;
  bool fold_constants = true;
  Automatic<bool> fold_batch_norm;
  bool pool_before_relu = true;
  Automatic<bool> channels_last;
  bool in_place = true;
  bool equal_rows_once = true;
  bool affine_prefix = true;
  bool winograd_gradients = true;
  Precision precision = Precision::float32;

  static void describe(StageSpec<RuntimeSettings>& spec);
  /// What was said, with defaults, as keys have it.
  static Value canonical(const Value& said);
  /// Samples of a chunk, of so many; 0 when there is no dataset to count.
  std::int64_t chunk_of(std::int64_t samples) const;
  /// How the models of a stage with this plan may run.
  PlanSettings plan(const Plan& stage) const;
};

}  // namespace microtome::host
