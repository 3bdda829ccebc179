#pragma once

#include <filesystem>

namespace microtome::host::report {

/// Writes `report.html` into a run's folder from what lies there: one file that needs nothing else.
/// Returns its path. Throws `Error` when the folder is no run.
std::filesystem::path write(const std::filesystem::path& run);

}  // namespace microtome::host::report
