#pragma once

#include <vector>

#include "host/model/program.h"
#include "host/model/slice.h"

namespace microtome::host {

/// How a value of a program depends on how many samples there are.
struct ValueLayout {
  enum class Kind {
    unknown,
    fixed,   ///< the same whatever the samples
    rows,    ///< a tensor with samples, outermost, along `dimension`
    count,   ///< an integer that is `factor` times the number of samples
    counts,  ///< a list of integers; `factors` is 0 where an entry is fixed
  };
  Kind kind = Kind::unknown;
  std::int64_t dimension = 0;
  std::int64_t factor = 1;
  std::vector<std::int64_t> factors;
  double bytes_per_row = 0;
  std::size_t memory = 0;  ///< values with the same number share their memory; 0: none
};

/// Found by running on two and on four samples of which the last two repeat the first, and
/// comparing the values: shapes alone do not tell which order samples and heads are merged in.
class BatchLayout {
 public:
  /// `inputs`: real ones, N first in each; the first two samples are used.
  BatchLayout(const ProgramIndex& index, const std::vector<at::Tensor>& inputs);

  const ValueLayout& of(ValueId value) const { return values_[static_cast<std::size_t>(value)]; }
  /// The value for these samples. Throws `Error` naming the node that makes it when that is not
  /// known.
  c10::IValue select(ValueId id, const c10::IValue& value, const at::Tensor& rows) const;

  /// Bytes that a run of the slice holds at its peak, for each sample. With `record` all that is
  /// made is held for the backward pass. Values that came into no run count as nothing.
  double peak_bytes(const Slice& slice, bool record) const;

 private:
  const ProgramIndex* index_;
  std::vector<ValueLayout> values_;
};

}  // namespace microtome::host
