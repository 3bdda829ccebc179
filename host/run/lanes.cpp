#include "host/run/lanes.h"

#include <oneapi/tbb/flow_graph.h>

#include <thread>

namespace microtome::host {

ComputeSlots::Slot::Slot(ComputeSlots& slots) : slots_(slots) {
  std::unique_lock lock(slots_.mutex_);
  slots_.freed_.wait(lock, [this] { return slots_.free_ > 0; });
  --slots_.free_;
}

ComputeSlots::Slot::~Slot() {
  {
    const std::lock_guard lock(slots_.mutex_);
    ++slots_.free_;
  }
  slots_.freed_.notify_one();
}

struct LaneExecutor::Graph {
  using Work = std::shared_ptr<std::function<void()>>;
  using Node = tbb::flow::async_node<Work, tbb::flow::continue_msg>;

  tbb::flow::graph graph;
  Node node{graph, tbb::flow::unlimited, [](const Work& work, Node::gateway_type& gateway) {
              // The lane is no thread of TBB's: a stage may wait for its own tasks there, and no
              // other stage's tasks can be taken meanwhile.
              gateway.reserve_wait();
              std::thread([work, &gateway] {
                (*work)();
                gateway.release_wait();
              }).detach();
            }};
};

LaneExecutor::LaneExecutor() : graph_(std::make_unique<Graph>()) {}
LaneExecutor::~LaneExecutor() { wait(); }

void LaneExecutor::start(std::function<void()> body) {
  graph_->node.try_put(std::make_shared<std::function<void()>>(std::move(body)));
}

void LaneExecutor::wait() { graph_->graph.wait_for_all(); }

}  // namespace microtome::host
