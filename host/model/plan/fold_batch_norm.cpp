#include <vector>

#include "host/model/plan/rewriting.h"

namespace microtome::host::rewriting {

std::int64_t fold_batch_norms(Program& program, const std::set<ValueId>& hooked) {
  // The folded value has the same shape.
  const Readers readers(program, {"aten::dim", "aten::size", "aten::numel"});
  std::int64_t folded = 0;
  for (Node& norm : program.body.nodes) {
    if (norm.kind != Node::Kind::operation) continue;
    const auto affine = constant_batch_norm(program, norm);
    if (!affine) continue;
    const std::optional<Chain> chain = chain_to(program, readers, hooked, norm.inputs[0]);
    if (!chain || !is_convolution(program, program.body.nodes[chain->maker])) continue;
    Node& convolution = program.body.nodes[chain->maker];
    const at::Tensor weight = constant_tensor(program, convolution.inputs[1]);
    const at::Tensor bias = constant_tensor(program, convolution.inputs[2]);
    std::vector<std::int64_t> by_channel(static_cast<std::size_t>(weight.dim()), 1);
    by_channel[0] = -1;
    const at::Tensor scaled = weight.to(at::kDouble) * affine->scale.view(by_channel);
    at::Tensor shift = affine->shift;
    if (bias.defined()) shift = shift + affine->scale * bias.to(at::kDouble);
    convolution.inputs[1] = add_constant(program, scaled.to(weight.scalar_type()));
    convolution.inputs[2] = add_constant(program, shift.to(weight.scalar_type()));
    norm.kind = Node::Kind::identity;
    norm.inputs = {norm.inputs[0]};
    norm.call = {};
    lose_sites(program, chain->between);
    ++folded;
  }
  return folded;
}

}  // namespace microtome::host::rewriting
