#pragma once

#include <vector>

#include "microtome/value.h"

namespace microtome::host {

/// The elements of a `matrix`: the product of its lists, less `exclude`, and `include`. Each is a
/// map of key to value, in the order of keys. Mistakes go to `problems`.
std::vector<Value> expand_matrix(const Value& matrix, Problems& problems);

}  // namespace microtome::host
