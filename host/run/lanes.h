#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "host/run/scheduler.h"

namespace microtome::host {

/// Limits how many threads compute at the same time, whatever stages they work for. [any number of
/// threads]
class ComputeSlots {
 public:
  explicit ComputeSlots(std::size_t count) : free_(count) {}
  /// Holds a slot while it lives. Whoever holds one never waits for another.
  class Slot {
   public:
    explicit Slot(ComputeSlots& slots);
    ~Slot();
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;

   private:
    ComputeSlots& slots_;
  };

 private:
  std::mutex mutex_;
  std::condition_variable freed_;
  std::size_t free_;
};

/// Starts each stage on a lane: a thread of its own, handed over by an asynchronous node of a TBB
/// flow graph, whose end the graph waits for.
class LaneExecutor final : public Executor {
 public:
  LaneExecutor();
  ~LaneExecutor() override;
  void start(std::function<void()> body) override;
  /// Waits for all lanes.
  void wait();

 private:
  struct Graph;
  std::unique_ptr<Graph> graph_;
};

}  // namespace microtome::host
