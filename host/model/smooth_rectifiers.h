#pragma once

#include "host/model/program.h"

namespace microtome::host {

/// Puts a softplus of sharpness `beta` (above 0), log(1 + exp(beta x)) / beta, in the place of each
/// ReLU, and a difference of two in that of each clipped one (ReLU6, hard tanh): a network with
/// second derivatives, which tends to the original as beta grows. Janizek, Sturmfels, Lee 2020
/// (arXiv 2002.04138). Other kinks, such as those of max pooling, stay. Throws `Error` when there
/// is nothing to replace.
void smooth_rectifiers(Program& program, double beta);

}  // namespace microtome::host
