#pragma once

#include <fstream>

namespace microtome::testing {

/// Bytes of this process that are in memory.
inline double resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  double total = 0, pages = 0;
  statm >> total >> pages;
  return pages * 4096;
}

}  // namespace microtome::testing
