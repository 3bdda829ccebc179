#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace shapes {

/// A property that an image is made with, and the values that it can take.
struct Factor {
  const char* name;
  std::vector<std::string> values;
};

/// shape, texture, colour, size, place, background, in this order.
const std::array<Factor, 6>& factors();

enum FactorIndex { shape, texture, colour, size, place, background };

/// A value for each factor.
using Factors = std::array<std::int64_t, 6>;

}  // namespace shapes
