#include <algorithm>
#include <utility>

#include "host/model/plan/rewriting.h"

namespace microtome::host::rewriting {

// max(relu(a), relu(b)) = relu(max(a, b)): the ReLU of what is pooled, a quarter or so of the
// values. Gradients are the same bits too: where a window's largest value is above 0 it is the same
// one, and where it is not nothing goes back.
std::int64_t pool_before_relu(Program& program, const std::set<ValueId>& hooked) {
  const Readers readers(program, {});
  std::int64_t swapped = 0;
  for (Node& pool : program.body.nodes) {
    if (pool.kind != Node::Kind::operation || pool.info.operation != "aten::max_pool2d") continue;
    // The window is known before the ReLU is computed.
    if (std::any_of(pool.inputs.begin() + 1, pool.inputs.end(), [](ValueId id) { return id >= 0; }))
      continue;
    const std::optional<Chain> chain = chain_to(program, readers, hooked, pool.inputs[0]);
    if (!chain) continue;
    Node& relu = program.body.nodes[chain->maker];
    if (relu.info.operation != "aten::relu" || relu.inputs.size() != 1) continue;
    std::swap(relu.info, pool.info);
    std::swap(relu.call, pool.call);
    std::vector<ValueId> window(pool.inputs.begin() + 1, pool.inputs.end());
    relu.inputs.insert(relu.inputs.end(), window.begin(), window.end());
    pool.inputs.resize(1);
    for (Node* node : {&relu, &pool}) {
      node->call_in_place = {};
      node->info.inputs.assign(node->inputs.begin(), node->inputs.end());
      node->info.outputs.assign(node->outputs.begin(), node->outputs.end());
    }
    lose_sites(program, chain->between);
    ++swapped;
  }
  return swapped;
}

}  // namespace microtome::host::rewriting
