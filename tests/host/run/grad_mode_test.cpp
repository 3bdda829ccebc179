// A TBB worker that waits may take another stage's task, and runs it under its own gradient mode.
// Lanes and ThreadState exist because of that.
#include <gtest/gtest.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>

#include <atomic>

#include "host/run/lanes.h"
#include "host/run/thread_state.h"

namespace microtome::testing {
namespace {

TEST(GradMode, WithoutThreadStateATaskSeesTheModeOfItsThread) {
  const at::NoGradGuard off;
  std::atomic<int> with_gradients{0};
  tbb::task_arena arena(4);
  arena.execute([&] {
    tbb::parallel_for(0, 1000, [&](int) {
      with_gradients += at::GradMode::is_enabled() ? 1 : 0;
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    });
  });
  // The caller's own tasks have gradients off; those on other threads do not know of it.
  EXPECT_GT(with_gradients, 0);
}

TEST(GradMode, ThreadStateCarriesTheModeIntoTasks) {
  for (const bool enabled : {true, false}) {
    const at::AutoGradMode mode(enabled);
    const host::ThreadState state;
    std::atomic<int> wrong{0};
    tbb::task_arena arena(4);
    arena.execute([&] {
      tbb::parallel_for(0, 1000, [&](int) {
        const host::ThreadState::Guard guard(state);
        wrong += at::GradMode::is_enabled() != enabled ? 1 : 0;
      });
    });
    EXPECT_EQ(wrong, 0);
  }
}

TEST(GradMode, LanesDoNotTakeEachOthersTasks) {
  // Two stages at once, one without gradients that waits for its tasks, one with gradients.
  std::atomic<int> wrong{0};
  {
    host::LaneExecutor lanes;
    for (const bool enabled : {true, false}) {
      lanes.start([&wrong, enabled] {
        const at::AutoGradMode mode(enabled);
        const host::ThreadState state;
        tbb::task_arena arena(4);
        arena.execute([&] {
          tbb::parallel_for(0, 200, [&](int) {
            const host::ThreadState::Guard guard(state);
            tbb::parallel_for(0, 4, [&](int) {
              const host::ThreadState::Guard inner(state);
              const at::Tensor x = at::ones({4}).requires_grad_();
              wrong += (x * 2).requires_grad() != enabled ? 1 : 0;
            });
          });
        });
        wrong += at::GradMode::is_enabled() != enabled ? 1 : 0;
      });
    }
    lanes.wait();
  }
  EXPECT_EQ(wrong, 0);
}

TEST(ComputeSlots, NeverMoreThanThereAre) {
  host::ComputeSlots slots(2);
  std::atomic<int> inside{0}, most{0};
  tbb::task_arena arena(8);
  arena.execute([&] {
    tbb::parallel_for(0, 200, [&](int) {
      const host::ComputeSlots::Slot slot(slots);
      const int now = ++inside;
      for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
      }
      --inside;
    });
  });
  EXPECT_LE(most, 2);
}

}  // namespace
}  // namespace microtome::testing
