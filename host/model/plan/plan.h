#pragma once

#include <set>
#include <string>

#include "host/model/program.h"
#include "microtome/value.h"

namespace microtome::host {

/// Which rewritings a run's settings allow. Each is exact to rounding but `precision`.
struct PlanSettings {
  bool fold_constants = true;   ///< what depends on no input is computed once
  bool fold_batch_norm = true;  ///< into the convolution before it, where that value is not hooked
  /// ReLUs before max pooling come after it, where the value between is not hooked.
  bool pool_before_relu = true;
  bool channels_last = true;  ///< convolutions compute with the channels last in memory
  bool in_place = true;       ///< results take the memory of arguments that nobody else has
  /// What an edit makes the same for all samples, and what is computed from that alone, is computed
  /// on one of them.
  bool equal_rows_once = true;
  /// Straight paths go back through what is affine at the network's beginning once.
  bool affine_prefix = true;
  /// Max pooling alone has the channels last in memory, where the network has not.
  bool pool_channels_last = true;
  bool batch_norm_gradients = true;  ///< batch norms that stay go back by one multiplication
  /// 3 x 3 convolutions go back by minimal filtering (`WinogradGradient`).
  bool winograd_gradients = true;
  at::ScalarType precision = at::kFloat;  ///< or kBFloat16, kHalf

  static PlanSettings none() {
    return {false, false, false, false, false, false, false, false, false, false, at::kFloat};
  }
  /// Equal for equal settings.
  std::string text() const;
};

/// What was done.
struct PlanReport {
  std::int64_t constants_folded = 0, batch_norms_folded = 0, relus_after_pooling = 0, in_place = 0;
  std::int64_t pooled_channels_last = 0, batch_norm_gradients = 0, winograd_gradients = 0;
  std::int64_t winograd_filter_bytes = 0;  ///< made when a gradient first needs them
  bool channels_last = false, equal_rows_once = false;
  at::ScalarType precision = at::kFloat;

  Value to_value() const;
};

/// The program, rewritten. Values in `hooked` are made as they were; the hook points of others that
/// are not made any more lose their value (`HookSite::is_gone`).
Program plan_program(const Program& program, const std::set<ValueId>& hooked,
                     const PlanSettings& settings, PlanReport& report);

}  // namespace microtome::host
