#include "tests/support/test_data.h"

#include <cstdlib>

namespace microtome::testing {

std::optional<std::filesystem::path> test_data(const std::string& relative) {
  const char* folder = std::getenv("MICROTOME_TEST_DATA");
  if (folder == nullptr) return std::nullopt;
  const std::filesystem::path path = std::filesystem::path(folder) / relative;
  if (!std::filesystem::exists(path)) return std::nullopt;
  return path;
}

}  // namespace microtome::testing
