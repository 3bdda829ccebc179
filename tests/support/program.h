#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace microtome::testing {

/// What a program did.
struct ProgramResult {
  int status = 0;  ///< exit status; -N when signal N ended it
  std::string output, errors;
};

/// Runs the built program with these arguments, without a store or runs folder of the user's: both
/// are in `folder`. When `kill_after` is set, a signal is sent to it after so many seconds.
ProgramResult run_program(const std::vector<std::string>& arguments,
                          const std::filesystem::path& folder);

/// The same, and sends it `signal` so many seconds after it has said `said` on stderr (at once when
/// that is empty).
ProgramResult run_and_signal(const std::vector<std::string>& arguments,
                             const std::filesystem::path& folder, const std::string& said,
                             double seconds, int signal);

}  // namespace microtome::testing
