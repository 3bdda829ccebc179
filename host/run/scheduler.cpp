#include "host/run/scheduler.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace microtome::host {

Executor::~Executor() = default;

Scheduler::Scheduler(std::vector<std::vector<std::size_t>> needs, std::vector<std::size_t> groups,
                     std::size_t lanes, Executor& executor, Body body)
    : needs_(std::move(needs)),
      groups_(std::move(groups)),
      lanes_(std::max<std::size_t>(lanes, 1)),
      executor_(executor),
      body_(std::move(body)),
      states_(needs_.size(), TaskState::waiting) {
  if (groups_.empty()) {
    groups_.resize(needs_.size());
    std::iota(groups_.begin(), groups_.end(), std::size_t{0});
  }
}

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
  std::vector<std::vector<std::size_t>> ready;
  {
    const std::lock_guard lock(mutex_);
    for (std::size_t task = 0; task < states_.size() && running_ < lanes_ && !cancelled_; ++task) {
      const bool free =
          states_[task] == TaskState::waiting &&
          std::all_of(needs_[task].begin(), needs_[task].end(),
                      [&](std::size_t need) { return states_[need] == TaskState::done; });
      if (!free) continue;
      std::vector<std::size_t> together;
      for (std::size_t other = task; other < states_.size(); ++other) {
        if (groups_[other] != groups_[task] || states_[other] != TaskState::waiting) continue;
        states_[other] = TaskState::running;
        together.push_back(other);
      }
      ++running_;
      ready.push_back(std::move(together));
    }
  }
  // Outside of the lock: an executor may run the body at once.
  for (std::vector<std::size_t>& tasks : ready) {
    executor_.start([this, tasks = std::move(tasks)] { finish(tasks, body_(tasks)); });
  }
}

void Scheduler::finish(const std::vector<std::size_t>& tasks,
                       const std::vector<TaskState>& states) {
  {
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < tasks.size(); ++i) states_[tasks[i]] = states[i];
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
