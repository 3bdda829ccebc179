#pragma once

#include <cstdint>

namespace microtome {

/// Version of the SDK. A plugin runs on a host of the same major and of an equal or larger minor.
inline constexpr std::uint32_t sdk_major = 2;
inline constexpr std::uint32_t sdk_minor = 0;

}  // namespace microtome
