#pragma once

#include <c10/util/intrusive_ptr.h>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "host/model/batch_layout.h"
#include "host/model/program.h"
#include "microtome/backward_rules.h"

namespace microtome::host {

/// A call of an operator that is differentiated by a rule. The recorded graph keeps it; its node is
/// the program's.
struct RuleCall {
  const Node* node = nullptr;
  const BatchLayout* layout = nullptr;  ///< of the program; nullptr when it was not tried
  BackwardRule rule;
  std::vector<c10::IValue> arguments;  ///< tensors detached
  std::vector<at::Tensor> outputs;     ///< detached, lists flattened
  /// Of each output how many tensors it lists; -1 for one that is a tensor.
  std::vector<std::int64_t> list_lengths;
  std::vector<bool> differentiable;                  ///< by tensor argument: what the run records
  std::vector<std::shared_ptr<RuleCall>> producers;  ///< by tensor argument; nullptr for none
};

/// Calls operators of a run so that their backward pass is a rule (an autograd function around the
/// operator), and remembers which call made which tensor.
class RuledCalls {
 public:
  ~RuledCalls();
  void call(const Node& node, const BackwardRule& rule, const BatchLayout* layout, Stack& stack);

 private:
  std::shared_ptr<RuleCall> made_by(const at::Tensor& value) const;

  using WeakTensor = c10::weak_intrusive_ptr<at::TensorImpl, at::UndefinedTensorImpl>;
  struct Made {
    WeakTensor tensor;  ///< keeps the address from being used again
    std::shared_ptr<RuleCall> call;
  };
  std::unordered_map<const at::TensorImpl*, Made> calls_;
};

/// Calls an operator so that a gradient that comes back to it throws `Error(message)`. What it only
/// hands on, as into a list, is as it was.
void call_without_rule(const Node& node, Stack& stack, const std::string& message);

}  // namespace microtome::host
