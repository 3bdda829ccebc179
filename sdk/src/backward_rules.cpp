#include "microtome/backward_rules.h"

namespace microtome {

BackwardRules& BackwardRules::on(std::string operation, BackwardRule rule,
                                 std::function<bool(const GraphNode&)> applies) {
  entries_.push_back({std::move(operation), std::move(applies), std::move(rule)});
  return *this;
}

const BackwardRule* BackwardRules::find(const GraphNode& node) const {
  for (const Entry& entry : entries_) {
    if (entry.operation == node.operation && (!entry.applies || entry.applies(node))) {
      return &entry.rule;
    }
  }
  return nullptr;
}

BackwardRules& BackwardRules::keep(std::string operation) {
  entries_.push_back({std::move(operation), {}, {}});
  return *this;
}

BackwardRules& BackwardRules::refuse_others(std::string method) {
  refusing_method_ = std::move(method);
  return *this;
}

BackwardRules& BackwardRules::merge_batch_norms() {
  merges_batch_norms_ = true;
  return *this;
}

}  // namespace microtome
