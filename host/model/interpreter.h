#pragma once

#include <functional>
#include <vector>

#include "host/model/program.h"
#include "microtome/model.h"

namespace microtome::host {

/// What a run does at one value, besides computing it.
struct ValueActions {
  ValueId value = 0;
  /// Counts executions when the value is made in a loop; 0 means every one is meant.
  int execution = 0;
  std::vector<const Edit*> edits;
  std::vector<std::size_t> differentiate;  ///< places in `Recording::differentiated`
  std::vector<std::pair<std::size_t, const Selector*>>
      captures;  ///< places in `Recording::captured`
};

/// A pass made ready for one program.
struct PreparedPass {
  std::vector<ValueActions> actions;
  const BackwardRules* rules = nullptr;
  bool record = false;
  std::size_t captures = 0, differentiated = 0;
  Directions directions;
};

/// Runs `program`. `check` is called before each operator and may throw.
/// Throws `Error` naming the node at which an operator failed. [any number of threads]
Recording interpret(const Program& program, const std::vector<at::Tensor>& inputs,
                    const PreparedPass& pass, const std::function<void()>& check);

/// Calls `node` so that its backward pass is `rule` (an autograd function around the operator).
void call_with_rule(const Node& node, const BackwardRule& rule, Stack& stack);

}  // namespace microtome::host
