#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <vector>

namespace microtome::host {

/// What became of a task.
enum class TaskState { waiting, running, done, failed, unreachable, cancelled };

/// Starts bodies somewhere, at once or later; each runs once.
class Executor {
 public:
  virtual ~Executor();
  /// Returns soon. [any thread]
  virtual void start(std::function<void()> body) = 0;
};

/// Decides which task may run: those whose needs are done, at most `lanes` at a time, in order of
/// their numbers. What needs a failed task becomes unreachable, the rest goes on. Knows nothing of
/// threads, TBB or LibTorch.
class Scheduler {
 public:
  /// Returns `done`, `failed` or `cancelled`. Must not throw. [a thread of the executor]
  using Body = std::function<TaskState(std::size_t task)>;

  /// `needs[i]`: the tasks before task i. They must not form a circle.
  Scheduler(std::vector<std::vector<std::size_t>> needs, std::size_t lanes, Executor& executor,
            Body body);

  /// Runs everything and returns what became of each. [once]
  std::vector<TaskState> run();
  /// Starts nothing more; what runs ends by itself. [any thread]
  void cancel();

 private:
  void start_ready();
  void finish(std::size_t task, TaskState state);
  void mark_unreachable();
  bool is_over() const;

  std::vector<std::vector<std::size_t>> needs_;
  std::size_t lanes_;
  Executor& executor_;
  Body body_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<TaskState> states_;
  std::size_t running_ = 0, finishing_ = 0;
  bool cancelled_ = false;
};

}  // namespace microtome::host
