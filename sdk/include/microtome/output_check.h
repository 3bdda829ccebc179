#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "microtome/stage.h"

namespace [[gnu::visibility("default")]] microtome {

/// An output as a stage wrote it.
struct WrittenOutput {
  std::vector<TensorInfo> tensors;  ///< those of samples are `per_sample`
  std::int64_t ids = 0;             ///< samples whose ids were written
  bool has_model = false;
};

/// Compares an output with what was planned for it: every planned tensor is there with its type,
/// its rank and the sizes that were known; what belongs to samples has a row for each id. Tensors
/// that were not planned may be there too, for views. `samples`: how many a stage that reads a
/// dataset was given, each of which needs a row; nothing for one that drives itself. Throws `Error`
/// naming the output and the tensor. The host and the test harness call it when an output closes.
void check_output(const OutputPlan& plan, const WrittenOutput& written,
                  std::optional<std::int64_t> samples);

}  // namespace microtome
