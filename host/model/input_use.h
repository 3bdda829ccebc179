#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "host/model/program.h"

namespace microtome::host {

/// What the operators that read an input of a program say about it.
struct InputUse {
  /// Of its elements, by the first operator that takes one type alone; nothing: any type will do.
  std::optional<at::ScalarType> type;
  /// Integers are taken as well: they become real numbers on the way to that operator.
  bool takes_integers = false;
  /// Token ids are below this, by the smallest embedding that reads the input; 0: not known.
  std::int64_t ids = 0;
};

/// Of each of the program's inputs, in their order.
std::vector<InputUse> input_uses(const Program& program);

}  // namespace microtome::host
