#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace microtome::host {

/// A random order of 0..size-1 that depends on the seed alone (Fisher and Yates with SplitMix64, so
/// that it is the same with every standard library).
std::vector<std::size_t> seeded_permutation(std::size_t size, std::uint64_t seed);

}  // namespace microtome::host
