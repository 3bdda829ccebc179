#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "host/model/plan/rewriting.h"
#include "host/model/plan/winograd.h"

namespace microtome::host::rewriting {
namespace {

/// A convolution that goes back so. The filters are made when a gradient first goes through it.
class Filtering : public torch::CustomClassHolder {
 public:
  Filtering(at::Tensor weight, const WinogradGradient::Padding& padding)
      : weight_(std::move(weight)), padding_(padding) {}

  /// Whether it gains: the filters, once read, must serve several tiles, and tiles that hang over
  /// the edge be few.
  bool gains(const at::Tensor& value) const {
    constexpr std::int64_t edge = WinogradGradient::tile, fewest_tiles = 16;
    if (value.dim() != 4 || !value.device().is_cpu() || value.scalar_type() != at::kFloat)
      return false;
    const std::int64_t height = value.size(2), width = value.size(3);
    const std::int64_t tiles = WinogradGradient::tiles(height) * WinogradGradient::tiles(width);
    return value.size(0) * tiles >= fewest_tiles && tiles * edge * edge <= 2 * height * width;
  }

  at::Tensor gradient(const at::Tensor& by_result) {
    // What is to be differentiated again is left to the operators.
    if (at::GradMode::is_enabled())
      return at::conv_transpose2d(by_result, weight_, {}, 1, padding_);
    std::call_once(once_, [&] { winograd_.emplace(weight_); });
    return (*winograd_)(by_result, padding_);
  }

 private:
  at::Tensor weight_;
  WinogradGradient::Padding padding_;
  std::once_flag once_;
  std::optional<WinogradGradient> winograd_;
};

class Filtered : public torch::autograd::Function<Filtered> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor&,
                            const Operation& convolution, Stack& stack,
                            const c10::intrusive_ptr<Filtering>& filtering) {
    context->saved_data["filtering"] = c10::IValue::make_capsule(filtering);
    convolution(stack);
    return stack.back().toTensor();
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto filtering =
        c10::static_intrusive_pointer_cast<Filtering>(context->saved_data["filtering"].toCapsule());
    return {filtering->gradient(gradients[0]), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

/// Nothing for convolutions that have other kernels, or too few channels to gain.
c10::intrusive_ptr<Filtering> filtering(const Program& program, const Node& node) {
  constexpr std::int64_t fewest_channels = 64;
  if (!is_convolution(program, node)) return {};
  const at::Tensor weight = constant_tensor(program, node.inputs[1]);
  const auto is_wide = [&](std::int64_t channels) {
    return channels >= fewest_channels && channels % WinogradGradient::lanes == 0;
  };
  if (weight.dim() != 4 || weight.scalar_type() != at::kFloat || weight.size(2) != 3 ||
      weight.size(3) != 3 || !is_wide(weight.size(0)) || !is_wide(weight.size(1)))
    return {};
  const auto numbers = [&](std::size_t input) -> std::vector<std::int64_t> {
    const ValueId value = node.inputs[input];
    if (value >= 0 || !program.constant(value).isIntList()) return {};
    std::vector<std::int64_t> both = program.constant(value).toIntVector();
    if (both.size() == 1) both.push_back(both[0]);
    return both;
  };
  const std::vector<std::int64_t> once{1, 1}, stride = numbers(3), padding = numbers(4);
  const ValueId groups = node.inputs[node.info.operation == "aten::_convolution" ? 8 : 6];
  if (stride != once || numbers(5) != once || groups >= 0 || !program.constant(groups).isInt() ||
      program.constant(groups).toInt() != 1 || padding.size() != 2 ||
      std::ranges::any_of(padding, [](std::int64_t by) { return by < 0 || by > 2; }))
    return {};
  return c10::make_intrusive<Filtering>(weight, WinogradGradient::Padding{padding[0], padding[1]});
}

Operation filtered(Operation convolution, std::size_t arguments,
                   c10::intrusive_ptr<Filtering> filtering) {
  return [convolution = std::move(convolution), arguments,
          filtering = std::move(filtering)](Stack& stack) {
    const at::Tensor value = stack[stack.size() - arguments].toTensor();
    if (!is_recorded(value) || !filtering->gains(value)) return convolution(stack);
    at::Tensor result = Filtered::apply(value, convolution, stack, filtering);
    stack.back() = std::move(result);
  };
}

}  // namespace

FilteredGradients filter_gradients(Program& program) {
  FilteredGradients changed;
  for_each_node(program.body, [&](Node& node) {
    auto found = filtering(program, node);
    if (!found) return;
    changed.bytes += WinogradGradient::bytes(constant_tensor(program, node.inputs[1]));
    node.call = filtered(std::move(node.call), node.inputs.size(), std::move(found));
    ++changed.convolutions;
  });
  return changed;
}

}  // namespace microtome::host::rewriting
