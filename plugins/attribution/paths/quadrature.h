#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "microtome/sdk.h"

namespace attribution {

using microtome::QuadratureNode;

/// How the integral over the path is approximated. Orders as in the parameter's list of words.
enum class Rule { gauss_legendre, left, right, midpoint, trapezoid, simpson, boole };

/// Words for the rules, in the order of the enumeration.
const std::vector<std::string>& rule_words();

/// `steps` is the number of evaluations for gauss_legendre, left, right and midpoint, the number of
/// intervals for trapezoid and the composite rules of Simpson (even) and Boole (a multiple of
/// four). Weights sum to 1. Throws `microtome::Error` when the rule can't have so many.
std::vector<QuadratureNode> quadrature(Rule rule, std::int64_t steps);

/// The least number of steps, from `steps` on, that the rule can have.
std::int64_t fitting_steps(Rule rule, std::int64_t steps);

}  // namespace attribution
