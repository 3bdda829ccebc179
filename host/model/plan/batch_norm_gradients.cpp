#include <torch/csrc/autograd/custom_function.h>

#include "host/model/plan/rewriting.h"

namespace microtome::host::rewriting {
namespace {

/// A batch norm with constant moments, whose derivative by its first argument is its scale. The
/// operator's own derivative keeps the argument for that of the weights, which nobody asks for.
class ConstantNorm : public torch::autograd::Function<ConstantNorm> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor&,
                            const Operation& norm, Stack& stack, const at::Tensor& scale) {
    context->saved_data["scale"] = scale;
    norm(stack);
    return stack.back().toTensor();
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const at::Tensor scale = context->saved_data["scale"].toTensor();
    return {gradients[0] * scale, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

Operation scaling(Operation norm, std::size_t arguments, const at::Tensor& by_channel) {
  return [norm = std::move(norm), arguments, by_channel](Stack& stack) {
    const at::Tensor value = stack[stack.size() - arguments].toTensor();
    if (!is_recorded(value) || value.scalar_type() != by_channel.scalar_type() || value.dim() < 2)
      return norm(stack);
    std::vector<std::int64_t> shape(static_cast<std::size_t>(value.dim()), 1);
    shape[1] = -1;
    at::Tensor result = ConstantNorm::apply(value, norm, stack, by_channel.view(shape));
    stack.back() = std::move(result);
  };
}

}  // namespace

std::int64_t scale_batch_norm_gradients(Program& program) {
  std::int64_t scaled = 0;
  for_each_node(program.body, [&](Node& node) {
    if (node.kind != Node::Kind::operation) return;
    const std::optional<ChannelAffine> affine = constant_batch_norm(program, node);
    if (!affine) return;
    const at::Tensor moments = constant_tensor(program, node.inputs[3]);
    node.call =
        scaling(std::move(node.call), node.inputs.size(), affine->scale.to(moments.scalar_type()));
    ++scaled;
  });
  return scaled;
}

}  // namespace microtome::host::rewriting
