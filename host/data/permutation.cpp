#include "host/data/permutation.h"

#include <numeric>
#include <utility>

namespace microtome::host {

std::vector<std::size_t> seeded_permutation(std::size_t size, std::uint64_t seed) {
  std::vector<std::size_t> order(size);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::uint64_t state = seed;
  const auto next = [&state] {
    std::uint64_t z = (state += 0x9E3779B97F4A7C15U);
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31U);
  };
  for (std::size_t i = size; i > 1; --i) {
    // Values that would favour small remainders are drawn again.
    const std::uint64_t limit = UINT64_MAX - UINT64_MAX % i;
    std::uint64_t drawn = next();
    while (drawn >= limit) drawn = next();
    std::swap(order[i - 1], order[drawn % i]);
  }
  return order;
}

}  // namespace microtome::host
