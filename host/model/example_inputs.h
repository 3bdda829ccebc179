#pragma once

#include <cstdint>

#include "microtome/model.h"

namespace microtome::host {

/// Made samples of an input, [rows, ...] of its type: real numbers in 0..1, and token ids below
/// `ids` (0 and 1 where that is 0). The same each time; rows differ from one another, as far as
/// there are numbers enough. The port's shape has no -1.
at::Tensor example_input(const PortInfo& port, std::int64_t ids, std::int64_t rows);

/// `rows` samples that differ, from some real ones, [1 or more, ...]: where these are too few, ones
/// like them.
at::Tensor example_rows(const at::Tensor& samples, std::int64_t rows);

}  // namespace microtome::host
