#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace microtome {

// What is wrong with a model's output, and what to do.

/// None of several is named.
std::string several_outputs(const std::vector<std::string>& names);
/// A target of classes, where the output has `rank` dimensions.
std::string wrong_rank(std::size_t rank);
/// The same for a target with a position.
std::string wrong_rank_at_position(std::size_t rank);

}  // namespace microtome
