#include "host/run/scheduler.h"

#include <algorithm>
#include <utility>

namespace microtome::host {

Executor::~Executor() = default;

Scheduler::Scheduler(std::vector<std::vector<std::size_t>> needs, std::size_t lanes,
                     Executor& executor, Body body)
    : needs_(std::move(needs)),
      lanes_(std::max<std::size_t>(lanes, 1)),
      executor_(executor),
      body_(std::move(body)),
      states_(needs_.size(), TaskState::waiting) {}

std::vector<TaskState> Scheduler::run() {
  start_ready();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return is_over(); });
  return states_;
}

void Scheduler::cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  for (TaskState& state : states_) {
    if (state == TaskState::waiting) state = TaskState::cancelled;
  }
  changed_.notify_all();
}

void Scheduler::start_ready() {
  std::vector<std::size_t> ready;
  {
    const std::lock_guard lock(mutex_);
    for (std::size_t task = 0; task < states_.size() && running_ < lanes_ && !cancelled_; ++task) {
      const bool free =
          states_[task] == TaskState::waiting &&
          std::all_of(needs_[task].begin(), needs_[task].end(),
                      [&](std::size_t need) { return states_[need] == TaskState::done; });
      if (!free) continue;
      states_[task] = TaskState::running;
      ++running_;
      ready.push_back(task);
    }
  }
  // Outside of the lock: an executor may run the body at once.
  for (const std::size_t task : ready) {
    executor_.start([this, task] { finish(task, body_(task)); });
  }
}

void Scheduler::finish(std::size_t task, TaskState state) {
  {
    const std::lock_guard lock(mutex_);
    states_[task] = state;
    --running_;
    ++finishing_;
    mark_unreachable();
  }
  start_ready();
  // Last, and under the lock: after it `run` may return and this object may be gone.
  const std::lock_guard lock(mutex_);
  --finishing_;
  changed_.notify_all();
}

void Scheduler::mark_unreachable() {
  bool changed = true;
  while (changed) {
    changed = false;
    for (std::size_t task = 0; task < states_.size(); ++task) {
      if (states_[task] != TaskState::waiting) continue;
      const bool lost =
          std::any_of(needs_[task].begin(), needs_[task].end(), [&](std::size_t need) {
            return states_[need] == TaskState::failed || states_[need] == TaskState::unreachable;
          });
      const bool given_up =
          std::any_of(needs_[task].begin(), needs_[task].end(),
                      [&](std::size_t need) { return states_[need] == TaskState::cancelled; });
      if (!lost && !given_up) continue;
      states_[task] = lost ? TaskState::unreachable : TaskState::cancelled;
      changed = true;
    }
  }
}

bool Scheduler::is_over() const {
  if (running_ > 0 || finishing_ > 0) return false;
  return std::none_of(states_.begin(), states_.end(), [](TaskState state) {
    return state == TaskState::waiting || state == TaskState::running;
  });
}

}  // namespace microtome::host
