#include <torch/csrc/autograd/custom_function.h>

#include <utility>

#include "host/model/plan/rewriting.h"

namespace microtome::host::rewriting {
namespace {

/// The arguments of `aten::max_pool2d` after the first one.
struct Window {
  std::vector<std::int64_t> kernel, stride, padding, dilation;
  bool ceil_mode = false;
};

/// The way back is faster in rows: what was put in order for the way there would be put back.
class Pooling : public torch::autograd::Function<Pooling> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& value,
                            const Window& window) {
    const auto [values, places] = at::max_pool2d_with_indices(
        value.contiguous(at::MemoryFormat::ChannelsLast), window.kernel, window.stride,
        window.padding, window.dilation, window.ceil_mode);
    context->save_for_backward({value, places.contiguous()});
    auto& saved = context->saved_data;
    saved["kernel"] = window.kernel;
    saved["stride"] = window.stride;
    saved["padding"] = window.padding;
    saved["dilation"] = window.dilation;
    saved["ceil_mode"] = window.ceil_mode;
    return values.contiguous();
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto tensors = context->get_saved_variables();
    auto& saved = context->saved_data;
    return {at::max_pool2d_with_indices_backward(
                gradients[0], tensors[0], saved["kernel"].toIntVector(),
                saved["stride"].toIntVector(), saved["padding"].toIntVector(),
                saved["dilation"].toIntVector(), saved["ceil_mode"].toBool(), tensors[1]),
            at::Tensor()};
  }
};

/// Few channels gain nothing, and other devices have kernels of their own.
bool gains(const at::Tensor& value) {
  constexpr std::int64_t fewest = 8;
  return value.dim() == 4 && value.device().is_cpu() && value.scalar_type() == at::kFloat &&
         value.size(1) >= fewest && value.is_contiguous() &&
         !value.is_contiguous(at::MemoryFormat::ChannelsLast);
}

Operation channels_last(Operation pool) {
  return [pool = std::move(pool)](Stack& stack) {
    constexpr std::size_t arguments = 6;
    const std::size_t first = stack.size() - arguments;
    const at::Tensor value = stack[first].toTensor();
    if (!gains(value)) return pool(stack);
    if (!is_recorded(value)) {
      stack[first] = value.contiguous(at::MemoryFormat::ChannelsLast);
      pool(stack);
      stack.back() = stack.back().toTensor().contiguous();
      return;
    }
    at::Tensor result =
        Pooling::apply(value, Window{stack[first + 1].toIntVector(), stack[first + 2].toIntVector(),
                                     stack[first + 3].toIntVector(), stack[first + 4].toIntVector(),
                                     stack[first + 5].toBool()});
    stack.resize(first);
    stack.emplace_back(std::move(result));
  };
}

}  // namespace

std::int64_t pool_channels_last(Program& program) {
  std::int64_t changed = 0;
  for_each_node(program.body, [&](Node& node) {
    if (node.info.operation != "aten::max_pool2d" || node.inputs.size() != 6) return;
    node.call = channels_last(std::move(node.call));
    ++changed;
  });
  return changed;
}

}  // namespace microtome::host::rewriting
