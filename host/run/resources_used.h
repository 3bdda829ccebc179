#pragma once

namespace microtome::host {

/// CPU time of the process, user and system.
double process_cpu_seconds();
/// Most memory that the process has held.
double peak_memory_bytes();

}  // namespace microtome::host
