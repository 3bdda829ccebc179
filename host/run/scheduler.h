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

/// Decides which tasks may run: those whose needs are done, at most `lanes` groups at a time, in
/// order of their numbers. What needs a failed task becomes unreachable, the rest goes on. Knows
/// nothing of threads, TBB or LibTorch.
class Scheduler {
 public:
  /// Runs the tasks of a group and returns what became of each: `done`, `failed` or `cancelled`.
  /// Must not throw. [a thread of the executor]
  using Body = std::function<std::vector<TaskState>(const std::vector<std::size_t>& tasks)>;

  /// `needs[i]`: the tasks before task i. They must not form a circle. `groups[i]`: tasks with the
  /// same number run together, in one lane; they need the same tasks. Empty: each runs alone.
  Scheduler(std::vector<std::vector<std::size_t>> needs, std::vector<std::size_t> groups,
            std::size_t lanes, Executor& executor, Body body);

  /// Runs everything and returns what became of each. [once]
  std::vector<TaskState> run();
  /// Starts nothing more; what runs ends by itself. [any thread]
  void cancel();

 private:
  void start_ready();
  void finish(const std::vector<std::size_t>& tasks, const std::vector<TaskState>& states);
  void mark_unreachable();
  bool is_over() const;

  std::vector<std::vector<std::size_t>> needs_;
  std::vector<std::size_t> groups_;
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
