#include <vector>

#include "host/model/plan/rewriting.h"

namespace microtome::host::rewriting {
namespace {

/// Who reads each value, and how often in all.
struct Readers {
  std::unordered_map<ValueId, int> count;
  std::unordered_map<ValueId, std::size_t> maker;  ///< place in the body

  int of(ValueId value) const {
    const auto found = count.find(value);
    return found == count.end() ? 0 : found->second;
  }

  explicit Readers(Program& program) {
    for_each_node(program.body, [&](Node& node) {
      // The folded value has the same shape.
      static const std::set<std::string> of_shape = {"aten::dim", "aten::size", "aten::numel"};
      if (of_shape.contains(node.info.operation)) return;
      for (const ValueId input : node.inputs) ++count[input];
      for (const Block& block : node.blocks) {
        for (const ValueId result : block.results) ++count[result];
      }
    });
    for (const ProgramPort& output : program.outputs) ++count[output.value];
    for (std::size_t i = 0; i < program.body.nodes.size(); ++i) {
      for (const ValueId output : program.body.nodes[i].outputs) maker[output] = i;
    }
  }
};

/// y = scale x + shift, by channel, of a batch norm with constant moments; nothing for any other.
struct Affine {
  at::Tensor scale, shift;  ///< float64
};

std::optional<Affine> affine_of(const Program& program, const Node& node) {
  if (node.info.operation != "aten::batch_norm" || node.inputs.size() != 9) return std::nullopt;
  const auto constant = [&](std::size_t i) -> const c10::IValue* {
    return node.inputs[i] < 0 ? &program.constant(node.inputs[i]) : nullptr;
  };
  for (const std::size_t i : {1, 2, 3, 4, 5, 7}) {
    if (constant(i) == nullptr) return std::nullopt;
  }
  if (!constant(5)->isBool() || constant(5)->toBool() || !constant(7)->isDouble() ||
      !constant(3)->isTensor() || !constant(4)->isTensor())
    return std::nullopt;
  const at::Tensor mean = constant(3)->toTensor().to(at::kDouble);
  at::Tensor scale = (constant(4)->toTensor().to(at::kDouble) + constant(7)->toDouble()).rsqrt();
  if (constant(1)->isTensor()) scale = scale * constant(1)->toTensor().to(at::kDouble);
  at::Tensor shift = -mean * scale;
  if (constant(2)->isTensor()) shift = shift + constant(2)->toTensor().to(at::kDouble);
  return Affine{scale, shift};
}

}  // namespace

std::int64_t fold_batch_norms(Program& program, const std::set<ValueId>& hooked) {
  const Readers readers(program);
  std::int64_t folded = 0;
  for (Node& norm : program.body.nodes) {
    if (norm.kind != Node::Kind::operation) continue;
    const auto affine = affine_of(program, norm);
    if (!affine) continue;
    // Back through other names to the convolution; nobody else may see any of them.
    std::set<ValueId> between;
    ValueId value = norm.inputs[0];
    const Node* made = nullptr;
    while (value >= 0 && !hooked.contains(value) && readers.of(value) == 1) {
      const auto maker = readers.maker.find(value);
      if (maker == readers.maker.end()) break;
      between.insert(value);
      const Node& node = program.body.nodes[maker->second];
      if (node.kind != Node::Kind::identity) {
        made = &node;
        break;
      }
      value = node.inputs[0];
    }
    if (made == nullptr || !is_convolution(program, *made)) continue;
    Node& convolution = program.body.nodes[readers.maker.at(made->outputs[0])];
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
    lose_sites(program, between);
    ++folded;
  }
  return folded;
}

}  // namespace microtome::host::rewriting
