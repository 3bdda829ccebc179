#pragma once

#include <vector>

#include "host/model/program.h"

namespace microtome::host {

/// Whether the call computes each entry along dimension 0 of its result from the same entry of
/// those of its arguments that are no constants, so that equal entries stay equal. An operator that
/// is not known does not.
bool is_row_wise(const Node& node, const Stack& arguments);

/// Which values of a run are held as one row that stands for all. Others stand as they are.
class EqualRows {
 public:
  /// `rows`: how many a row stands for.
  EqualRows(std::int32_t value_count, std::int64_t rows)
      : value_count_(static_cast<std::size_t>(value_count)), rows_(rows) {}

  /// Whether any has been.
  bool any() const { return !held_.empty(); }
  bool has(ValueId value) const {
    return value >= 0 && !held_.empty() && held_[static_cast<std::size_t>(value)] != 0;
  }
  void set(ValueId value, bool is_held) {
    if (held_.empty() && is_held) held_.resize(value_count_, 0);
    if (!held_.empty()) held_[static_cast<std::size_t>(value)] = is_held ? 1 : 0;
  }
  /// All rows, in memory of their own: of the one's, not every view can be taken.
  at::Tensor all(const at::Tensor& row) const;
  /// Gives the values that are held all their rows.
  void spread(std::vector<c10::IValue>& values);
  /// Gives the arguments in `stack`, the values `ids`, all their rows unless the call can be made
  /// on one, and says whether it can.
  bool settle(const Node& node, const ValueId* ids, Stack& stack) const;

 private:
  std::size_t value_count_;
  std::int64_t rows_;
  std::vector<char> held_;
};

}  // namespace microtome::host
