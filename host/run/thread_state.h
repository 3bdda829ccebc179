#pragma once

#include "microtome/tensor.h"

namespace microtome::host {

/// LibTorch's settings of a thread (gradient mode, inference mode, dispatch) as they were where
/// this was made, to hold in the tasks that it starts. TBB's threads serve whoever comes; without
/// this a task runs under the settings of whatever ran there before.
class ThreadState {
 public:
  ThreadState() : threads_(at::get_num_threads()) {}

  /// Sets them in this thread while it lives.
  class Guard {
   public:
    explicit Guard(const ThreadState& state) : guard_(state.state_) {
      // OpenMP keeps the number of threads for each thread.
      if (at::get_num_threads() != state.threads_) at::set_num_threads(state.threads_);
    }

   private:
    at::ThreadLocalStateGuard guard_;
  };

 private:
  at::ThreadLocalState state_;
  int threads_;
};

}  // namespace microtome::host
