#pragma once

#include <cstdint>
#include <string>

#include "microtome/sdk.h"

namespace attribution {

/// Methods by rules begin at scores that are linear in what the network returns. Adds a problem for
/// a target that is not: a probability, a loss, a divergence.
void check_linear_target(const microtome::PlanInputs& inputs, const microtome::Target& target,
                         const std::string& method);

/// Runs the rules on `rows` samples of zeros, where the model says what its input looks like, and
/// adds a problem when an operator between the hook point and the target has no rule. Without a
/// known input the run itself says so.
void check_rules(const microtome::PlanInputs& inputs, const microtome::AttributionParams& params,
                 const microtome::BackwardRules& rules, std::int64_t rows);

/// Bytes that rules take of a row while they work, beside what the plain way back does: copies of
/// the network's largest value. 0 where no shape is known.
double bytes_of_rules(const microtome::PlanInputs& inputs);

}  // namespace attribution
