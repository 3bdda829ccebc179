#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "microtome/features.h"

namespace [[gnu::visibility("default")]] microtome {

/// The shape of one number for each row that `FeatureRows` will have of the activations planned at
/// `port`: [-1] of N x D, [-1, P] where a sample has P positions; empty when that is not known.
std::vector<std::int64_t> planned_rows(const PlanInputs& inputs, const std::string& port,
                                       const std::string& layer);

}  // namespace microtome
