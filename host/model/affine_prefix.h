#pragma once

#include <optional>

#include "host/model/slice.h"

namespace microtome::host {

/// The last value that is an affine function of `from` and through which alone everything later
/// depends on `from`, so that a run can go on from it; among `candidates` (by value). Nothing when
/// there is none but `from` itself. Along a straight line at `from` that value moves along a
/// straight line too, and its derivative by `from` is constant.
std::optional<ValueId> affine_prefix(const ProgramIndex& index, ValueId from,
                                     const std::vector<char>& candidates);

}  // namespace microtome::host
