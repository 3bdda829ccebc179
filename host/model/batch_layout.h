#pragma once

#include <string>
#include <vector>

#include "host/model/program.h"
#include "host/model/slice.h"
#include "host/model/value_layout.h"

namespace microtome::host {

/// Whether an input holds something for each sample, N first; not one that was left out.
inline bool holds_samples(const at::Tensor& input) { return input.defined() && input.dim() > 0; }
/// How many samples a run's inputs are of; 0 when none of them says.
std::int64_t samples_in(const std::vector<at::Tensor>& inputs);

/// How many samples a network takes at once.
enum class SampleCount {
  any,
  one,      ///< it was traced for one sample
  fixed,    ///< it takes just as many as it was tried on here
  several,  ///< on one alone it computes something else than for the same sample among others
  coupled,  ///< what it gives for a sample depends on the samples beside it
};

/// Where the samples are in every value of a program: the one place that knows.
///
/// Found by running on two samples, on three of which the first two are the same, and on one of
/// them alone, and comparing the values: shapes alone do not tell which order samples and heads are
/// merged in, nor whether a value depends on the samples. Where the network takes no other number
/// of samples than it is given, the values' shapes have to tell. [immutable; any number of threads]
class BatchLayout {
 public:
  /// `inputs`: real ones, N first in each; the first samples are used. Where the network raises an
  /// exception on any of them, the values that it made before are known.
  BatchLayout(const ProgramIndex& index, const std::vector<at::Tensor>& inputs);
  /// Of a plan that makes no other values than the network as it was given, whose places of samples
  /// `given` knows: one run on two samples tells the sizes and what shares its memory.
  BatchLayout(const ProgramIndex& index, const std::vector<at::Tensor>& inputs,
              const BatchLayout& given);

  const ValueLayout& of(ValueId value) const { return values_[static_cast<std::size_t>(value)]; }
  SampleCount sample_count() const { return sample_count_; }
  /// Whether the network fails on these samples in any number, so that only what it makes before is
  /// known.
  bool is_partial() const { return is_partial_; }
  /// Whether the places were found by comparing runs, so that they hold for any number of samples.
  bool is_compared() const {
    return !is_partial_ && sample_count_ != SampleCount::one && sample_count_ != SampleCount::fixed;
  }
  /// How the network fails on two samples, where it does not take any number.
  const std::string& failure() const { return failure_; }
  /// Why it takes one sample at a time, and what a user can do; empty where it takes more.
  std::string one_at_a_time() const;
  /// Of the value as it is handed out for one sample, 1 first; empty where that is not known.
  std::vector<std::int64_t> shape(ValueId value) const;
  /// Why the value can't be handed out sample by sample; names the node that makes it.
  std::string refusal(ValueId value) const;

  /// The value for these samples of `samples`. Throws `Error` naming the node that makes it when
  /// that is not known.
  c10::IValue select(ValueId id, const c10::IValue& value, std::int64_t samples,
                     const at::Tensor& rows) const;

  /// Bytes that a run of the slice holds at its peak, for each sample. With `record` all that is
  /// made is held for the backward pass. Values that came into no run count as nothing.
  double peak_bytes(const Slice& slice, bool record) const;

 private:
  /// False when the network fails on these three samples or on fewer of them.
  bool compares(const std::vector<at::Tensor>& three);
  void compare(const std::vector<at::Tensor>& three, bool may_fail);
  /// Marks outputs that an extreme sample changes for the samples beside it, as where a branch or a
  /// clamp is decided by the largest value of all.
  void try_extremes(const std::vector<at::Tensor>& three);
  /// From the shapes on these samples alone; false when the network fails on them, or gives outputs
  /// that don't have them.
  bool learn_alone(const std::vector<at::Tensor>& inputs);
  /// Takes back what `learn_alone` concluded from sizes where the samples, given in another order,
  /// do not come out in that.
  void confirm_in_another_order(const std::vector<at::Tensor>& inputs,
                                const std::vector<c10::IValue>& made);
  /// The number of samples that the network takes, of some that people trace with; 0: none of them.
  std::int64_t only_count(const std::vector<at::Tensor>& inputs);
  void settle();
  /// Finds the first value that mixes samples, where an output depends on one.
  void find_coupling();
  /// The node that makes the value, as a user knows it.
  std::string maker(ValueId value) const;

  const ProgramIndex* index_;
  std::vector<ValueLayout> values_;
  SampleCount sample_count_ = SampleCount::any;
  std::int64_t trial_samples_ = 2;  ///< of the trial whose sizes are kept
  std::string failure_;
  bool is_partial_ = false;
  ValueId mixed_ = -1;  ///< the first value that mixes samples
};

}  // namespace microtome::host
