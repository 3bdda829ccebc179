#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "microtome/dataset.h"
#include "microtome/model.h"
#include "microtome/target.h"

namespace [[gnu::visibility("default")]] microtome {

/// A target made concrete for a batch: it knows the class of each sample and turns a run of the
/// model into a score for each row.
class TargetScore {
 public:
  /// Decides what depends on the samples. `plain` is an unedited run on them; `direction` and
  /// `reference` (logits) are needed by the targets that name them.
  TargetScore(Target target, const Recording& plain, const Batch& batch, at::Tensor direction = {},
              at::Tensor reference = {});

  const Target& target() const;

  /// What a pass must capture for `score`; empty for targets on outputs.
  std::vector<HookPoint> capture() const;

  /// Scores [rows]. The rows of `recording` are the batch's samples, each `repeats` times in
  /// succession; what `capture()` asked for starts at `recording.captured[offset]`.
  at::Tensor score(const Recording& recording, std::int64_t repeats = 1,
                   std::size_t offset = 0) const;

  /// The same target for some of the batch's samples, [k] int64.
  TargetScore rows(const at::Tensor& samples) const;

  /// The class of each sample, [N] int64; undefined for targets without one.
  const at::Tensor& classes() const;

 private:
  struct Parts;
  explicit TargetScore(std::shared_ptr<const Parts> parts);
  std::shared_ptr<const Parts> parts_;
};

}  // namespace microtome
