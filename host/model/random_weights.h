#pragma once

#include <cstdint>

#include "host/model/program.h"

namespace microtome::host {

/// Gives a network the weights that it could have had before training, as a baseline of what its
/// architecture alone does. Parameters of two or more dimensions are normal with variance
/// 2 / fan-in, where fan-in is what one entry of the first dimension has (He, Zhang, Ren, Sun 2015,
/// Delving deep into rectifiers, arXiv 1502.01852); those of one dimension are 0 when they are
/// called `bias`, else 1; running means become 0, running variances 1. Other buffers (masks,
/// positions) and scalars stay. Each parameter has a stream of its own, from `seed` and its name.
/// Throws `Error` when the program has no parameters by name, as after freezing.
void randomise_weights(Program& program, std::uint64_t seed);

}  // namespace microtome::host
