#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace microtome::testing {

/// A file or folder of the real networks and images, which `MICROTOME_TEST_DATA` points at; nothing
/// when it isn't there.
std::optional<std::filesystem::path> test_data(const std::string& relative);

}  // namespace microtome::testing

/// Skips the test, by name, where the real networks and images are absent.
// NOLINTBEGIN(bugprone-macro-parentheses): a name is declared
#define MICROTOME_TEST_DATA_OR_SKIP(variable, relative)                              \
  const auto found_##variable = ::microtome::testing::test_data(relative);           \
  if (!found_##variable) GTEST_SKIP() << "needs MICROTOME_TEST_DATA with " relative; \
  const std::filesystem::path& variable = *found_##variable
// NOLINTEND(bugprone-macro-parentheses)
