#pragma once

#include "host/model/program.h"

namespace microtome::host {

/// Makes gradients come back to GELUs laid out in memory as these left their values. The values and
/// their gradients stay the same bits; without it LibTorch 1.13 goes back wrongly on the CPU where
/// a GELU is followed by a transposition: oneDNN's derivative takes the gradient for one laid out
/// as the argument, and reads memory that nobody wrote.
void lay_out_gradients(Program& program);

}  // namespace microtome::host
