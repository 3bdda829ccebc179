#pragma once

#include <map>
#include <string>
#include <vector>

#include "host/model/axes/dimension.h"
#include "host/model/batch_layout.h"
#include "host/model/program.h"
#include "microtome/axes.h"

namespace microtome::host {

/// What the dimensions of each value of a program are, from the operators that make and read it
/// (`axes/rules.h`): those that make it decide, then those that read it. [immutable]
class ValueAxes {
 public:
  /// `declared`: what the pipeline says of some values.
  ValueAxes(const ProgramIndex& index, const BatchLayout& layout,
            const std::map<ValueId, Axes>& declared);

  /// After N, of the value as it is handed out; empty when its samples are not known.
  const Axes& of(ValueId value) const { return axes_[static_cast<std::size_t>(value)]; }

 private:
  std::vector<Axes> axes_;
};

}  // namespace microtome::host
