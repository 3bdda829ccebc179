#pragma once

#include <cstdint>

namespace microtome {

/// Version of Microtome: of the SDK, its library and the program. It is stated here alone.
///
/// What is promised now: while the major version is 0, a plugin runs on a host of exactly the
/// version that it was built with, and any other is refused before it is loaded. `sdk_minor` is the
/// number of the interface: it goes up whenever the layout of anything that crosses between host
/// and plugin changes, which `scripts/interface` finds by comparing with `sdk/interface.txt`.
inline constexpr std::uint32_t sdk_major = 0;
inline constexpr std::uint32_t sdk_minor = 1;

}  // namespace microtome
