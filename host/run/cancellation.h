#pragma once

#include <atomic>

#include "microtome/error.h"

namespace microtome::host {

/// Whether a run is to end. [any number of threads]
class Cancellation {
 public:
  void cancel() { flag_.store(true, std::memory_order_relaxed); }
  bool is_cancelled() const { return flag_.load(std::memory_order_relaxed); }
  /// Throws `Cancelled` when the run is to end.
  void check() const {
    if (is_cancelled()) throw Cancelled();
  }

 private:
  std::atomic<bool> flag_{false};
};

}  // namespace microtome::host
