// The scheduler's decisions, with threads of the standard library alone, so that ThreadSanitizer
// sees all of it.
#include "host/run/scheduler.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <thread>

namespace microtome::testing {
namespace {

using host::Scheduler;
using host::TaskState;

class ThreadExecutor final : public host::Executor {
 public:
  ~ThreadExecutor() override {
    for (std::thread& thread : threads_) thread.join();
  }
  void start(std::function<void()> body) override {
    const std::lock_guard lock(mutex_);
    threads_.emplace_back(std::move(body));
  }

 private:
  std::mutex mutex_;
  std::vector<std::thread> threads_;
};

/// A body for tasks that are alone in their groups.
template <class Action>
Scheduler::Body one(Action action) {
  return [action](const std::vector<std::size_t>& tasks) {
    EXPECT_EQ(tasks.size(), 1U);
    return std::vector<TaskState>{action(tasks[0])};
  };
}

using Needs = std::vector<std::vector<std::size_t>>;

TEST(Scheduler, RunsEachTaskOnceAfterWhatItNeeds) {
  for (int repetition = 0; repetition < 50; ++repetition) {
    const Needs needs = {{}, {0}, {0}, {1, 2}, {}, {3, 4}, {0}, {6}};
    // Plain numbers: that a task's needs are done must be visible without further locks.
    std::vector<int> values(needs.size(), 0);
    std::vector<TaskState> states;
    {
      ThreadExecutor executor;
      Scheduler scheduler(needs, {}, 3, executor, one([&](std::size_t task) {
                            int sum = 1;
                            for (const std::size_t need : needs[task]) sum += values[need];
                            values[task] += sum;
                            return TaskState::done;
                          }));
      states = scheduler.run();
    }
    EXPECT_EQ(values, (std::vector<int>{1, 2, 2, 5, 1, 7, 2, 3}));
    for (const TaskState state : states) EXPECT_EQ(state, TaskState::done);
  }
}

TEST(Scheduler, OneFailureStopsOnlyWhatNeedsIt) {
  ThreadExecutor executor;
  Scheduler scheduler({{}, {0}, {1}, {}, {3}}, {}, 2, executor, one([](std::size_t task) {
                        return task == 0 ? TaskState::failed : TaskState::done;
                      }));
  EXPECT_EQ(scheduler.run(),
            (std::vector<TaskState>{TaskState::failed, TaskState::unreachable,
                                    TaskState::unreachable, TaskState::done, TaskState::done}));
}

TEST(Scheduler, KeepsToItsLanes) {
  std::atomic<int> running{0}, most{0};
  ThreadExecutor executor;
  Scheduler scheduler(Needs(20), {}, 3, executor, one([&](std::size_t) {
                        const int now = ++running;
                        for (int seen = most;
                             now > seen && !most.compare_exchange_weak(seen, now);) {
                        }
                        std::this_thread::sleep_for(std::chrono::milliseconds(1));
                        --running;
                        return TaskState::done;
                      }));
  scheduler.run();
  EXPECT_LE(most, 3);
}

TEST(Scheduler, CancellingStartsNothingMore) {
  ThreadExecutor executor;
  std::atomic<int> started{0};
  Scheduler* self = nullptr;
  Scheduler scheduler({{}, {0}, {1}, {}}, {}, 1, executor, one([&](std::size_t) {
                        ++started;
                        self->cancel();
                        return TaskState::done;
                      }));
  self = &scheduler;
  const auto states = scheduler.run();
  EXPECT_EQ(started, 1);
  EXPECT_EQ(states, (std::vector<TaskState>{TaskState::done, TaskState::cancelled,
                                            TaskState::cancelled, TaskState::cancelled}));
}

TEST(Scheduler, AGroupRunsTogetherAndItsTasksFailAlone) {
  ThreadExecutor executor;
  std::mutex mutex;
  std::vector<std::vector<std::size_t>> calls;
  // 1, 2 and 4 need 0; 3 needs 1, 5 needs 2.
  Scheduler scheduler({{}, {0}, {0}, {1}, {0}, {2}}, {0, 1, 1, 3, 1, 5}, 2, executor,
                      [&](const std::vector<std::size_t>& tasks) {
                        const std::lock_guard lock(mutex);
                        calls.push_back(tasks);
                        std::vector<TaskState> states;
                        states.reserve(tasks.size());
                        for (const std::size_t task : tasks)
                          states.push_back(task == 2 ? TaskState::failed : TaskState::done);
                        return states;
                      });
  EXPECT_EQ(scheduler.run(),
            (std::vector<TaskState>{TaskState::done, TaskState::done, TaskState::failed,
                                    TaskState::done, TaskState::done, TaskState::unreachable}));
  EXPECT_EQ(calls, (std::vector<std::vector<std::size_t>>{{0}, {1, 2, 4}, {3}}));
}

TEST(Scheduler, NothingToDo) {
  ThreadExecutor executor;
  EXPECT_TRUE(Scheduler({}, {}, 2, executor, one([](std::size_t) { return TaskState::done; }))
                  .run()
                  .empty());
}

// Run alone and under ThreadSanitizer it must be reported; that shows that the sanitizer sees these
// threads.
TEST(PlantedRace, DISABLED_TwoTasksThatDoNotNeedEachOtherWriteOneNumber) {
  int shared = 0;
  {
    ThreadExecutor executor;
    Scheduler scheduler(Needs(8), {}, 8, executor, one([&](std::size_t) {
                          for (int i = 0; i < 1000; ++i) ++shared;
                          return TaskState::done;
                        }));
    scheduler.run();
  }
  EXPECT_GT(shared, 0);
}

}  // namespace
}  // namespace microtome::testing
