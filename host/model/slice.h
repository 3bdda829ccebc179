#pragma once

#include <c10/util/SmallVector.h>

#include <cstdint>
#include <limits>
#include <vector>

#include "host/model/program.h"

namespace microtome::host {

/// Where each value of a program comes from, and who reads it. Of one program, which must outlive
/// it.
class ProgramIndex {
 public:
  explicit ProgramIndex(const Program& program);

  const Program& program() const { return *program_; }
  /// The place, in the program's body, of the node that makes the value, be it inside of a branch
  /// or loop there; -1 for inputs.
  std::int32_t producer(ValueId value) const { return producer_[at(value)]; }
  /// Whether the value is made in the body itself, not in a branch or loop.
  bool is_outermost(ValueId value) const { return outermost_[at(value)] != 0; }
  /// Whether a branch or loop reads the value, by this very name.
  bool is_read_inside(ValueId value) const { return read_inside_[at(value)] != 0; }
  /// All that the node reads, inside of its blocks too, and that is made outside of it.
  const std::vector<ValueId>& reads(std::size_t node) const { return reads_[node]; }
  /// Whether it may raise the model's own exception: it runs in any case.
  bool has_effect(std::size_t node) const { return has_effect_[node] != 0; }
  /// What runs that begin at `cut` need: the values at the cut and those that pass it by. Sorted.
  std::vector<ValueId> live_at(const std::vector<ValueId>& cut) const;
  /// Whether `value` is computed from one of `cut`.
  std::vector<char> computed_from(const std::vector<ValueId>& cut) const;

 private:
  static std::size_t at(ValueId value) { return static_cast<std::size_t>(value); }
  const Program* program_;
  std::vector<std::int32_t> producer_;
  std::vector<char> outermost_, read_inside_, has_effect_;
  std::vector<std::vector<ValueId>> reads_;
};

/// From which values to which a run goes. Made for each run, so without allocations for most.
struct SliceRequest {
  using Values = c10::SmallVector<ValueId, 16>;
  Values given;            ///< there at the start
  Values wanted;           ///< to be made, or already given
  Values kept;             ///< among those: still there at the end
  Values acted;            ///< at which something is done, so that the value must be made
  bool to_the_end = true;  ///< the model's own checks run, wherever they stand
};

/// The steps of a run, nothing else: what no wanted value needs is left out, and so are other names
/// for a value at which nothing is done.
class Slice {
 public:
  struct Step {
    const Node* node = nullptr;
    std::uint32_t first = 0;     ///< in `ids`: inputs, then outputs, then releases
    std::uint32_t inputs = 0;    ///< those that are never read again are marked in `last`
    std::uint32_t outputs = 0;   ///< `ignored` where the value is given already
    std::uint32_t releases = 0;  ///< values that nobody reads any more, besides marked inputs
  };

  static constexpr ValueId ignored = std::numeric_limits<ValueId>::min();

  /// Throws `Error` when a wanted value can't be computed from those that are given.
  Slice(const ProgramIndex& index, const SliceRequest& request);

  const std::vector<Step>& steps() const { return steps_; }
  const ValueId* ids(const Step& step) const { return ids_.data() + step.first; }
  const char* last(const Step& step) const { return last_.data() + step.first; }
  /// The value by the name that it has in this slice.
  ValueId named(ValueId value) const {
    return value < 0 ? value : names_[static_cast<std::size_t>(value)];
  }

 private:
  std::vector<Step> steps_;
  std::vector<ValueId> ids_;
  std::vector<char> last_;
  std::vector<ValueId> names_;
};

}  // namespace microtome::host
