#pragma once

#include <cstdint>

#include "microtome/sdk.h"

namespace attribution {

/// The entries of RevealCancel: layers, additions and elementwise functions. Of the gradients that
/// go between an elementwise function and the layer or the addition that its input comes from, the
/// first N rows are multipliers of the positive part of that input's difference, the others of its
/// negative part; everywhere else the two are the same. Shrikumar, Greenside, Kundaje 2017, section
/// 3.5.3 (the rule) and 3.5.1 (linear operators).
void add_reveal_cancel(microtome::BackwardRules& rules, std::int64_t samples);

}  // namespace attribution
