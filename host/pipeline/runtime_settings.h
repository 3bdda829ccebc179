#pragma once

#include "host/model/plan/plan.h"
#include "microtome/stage_spec.h"

namespace microtome::host {

/// What can change a bit and is for the whole run: `runtime:` of a pipeline. Part of each key.
struct RuntimeSettings {
  enum class Precision { float32, bfloat16, float16 };

  std::int64_t chunk = 32;
  std::int64_t threads = 1;
  std::int64_t memory = 1024;
  bool fold_constants = true;
  bool fold_batch_norm = true;
  bool channels_last = true;
  bool in_place = true;
  Precision precision = Precision::float32;

  static void describe(StageSpec<RuntimeSettings>& spec);
  /// What plans may do for a stage. `tolerant`: it takes values of reduced precision. `any_hook`:
  /// it may ask for any value of the model, so that each must be made.
  PlanSettings plan(bool tolerant, bool any_hook) const;
  /// With defaults, in the order of the description.
  Value to_value() const;
};

}  // namespace microtome::host
