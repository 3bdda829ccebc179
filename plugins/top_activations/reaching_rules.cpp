#include "reaching_rules.h"

#include <algorithm>
#include <array>

namespace top_activations {

using namespace microtome;

namespace {

using Gradients = std::vector<at::Tensor>;

/// Operators of one number each that are flat in places.
constexpr std::array rectifiers = {"aten::relu",       "aten::relu6",     "aten::hardtanh",
                                   "aten::clamp",      "aten::clamp_min", "aten::clamp_max",
                                   "aten::threshold",  "aten::hardswish", "aten::hardsigmoid",
                                   "aten::hardshrink", "aten::softshrink"};

/// What goes to the first argument alone.
Gradients to_first(const BackwardCall& call, at::Tensor gradient) {
  Gradients gradients(call.recorded.size());
  if (!gradients.empty() && call.recorded[0]) gradients[0] = std::move(gradient);
  return gradients;
}

Gradients through(const BackwardCall& call) { return to_first(call, call.output_gradients[0]); }

/// A list of one number for both axes, or of two.
std::array<std::int64_t, 2> both(const c10::IValue& value, std::array<std::int64_t, 2> otherwise) {
  if (value.isInt()) return {value.toInt(), value.toInt()};
  const std::vector<std::int64_t> given = value.toIntVector();
  if (given.empty()) return otherwise;
  return {given.front(), given.back()};
}

/// To all of each window, also to what the padding leaves of it.
Gradients to_windows(const BackwardCall& call) {
  const at::Tensor& input = call.arguments.at(0).toTensor();
  const at::Tensor& arriving = call.output_gradients[0];
  if (input.dim() != 4 || !arriving.defined()) return call.standard();
  const auto kernel = both(call.arguments.at(1), {});
  const auto stride = both(call.arguments.at(2), kernel);
  const auto padding = both(call.arguments.at(3), {});
  const auto dilation = both(call.arguments.at(4), {});
  const at::Tensor planes =
      arriving.abs().contiguous().view({-1, 1, arriving.size(2), arriving.size(3)});
  const at::Tensor spread = at::conv_transpose2d(
      planes, at::ones({1, 1, kernel[0], kernel[1]}, planes.options()), {}, stride,
      std::array<std::int64_t, 2>{0, 0}, std::array<std::int64_t, 2>{0, 0}, 1, dilation);
  // From the padded input to the input; a negative padding cuts.
  const std::array<std::int64_t, 4> border = {
      -padding[1], input.size(3) + padding[1] - spread.size(3), -padding[0],
      input.size(2) + padding[0] - spread.size(2)};
  return to_first(call, at::constant_pad_nd(spread, border).reshape(input.sizes()));
}

Gradients to_adaptive_windows(const BackwardCall& call) {
  const at::Tensor& input = call.arguments.at(0).toTensor();
  const at::Tensor& arriving = call.output_gradients[0];
  if (input.dim() != 4 || !arriving.defined()) return call.standard();
  // Windows are those of the mean.
  return to_first(call, at::_adaptive_avg_pool2d_backward(arriving.abs(), input));
}

/// Of a maximum or minimum along dimensions, to all along them.
Gradients to_dimensions(const BackwardCall& call) {
  const at::Tensor& input = call.arguments.at(0).toTensor();
  at::Tensor arriving = call.output_gradients[0];
  // `max` of two tensors, or of all, has no dimension.
  if (!arriving.defined() || call.arguments.size() != 3 || call.arguments[1].isTensor())
    return call.standard();
  std::vector<std::int64_t> dimensions = call.arguments[1].isInt()
                                             ? std::vector{call.arguments[1].toInt()}
                                             : call.arguments[1].toIntVector();
  if (dimensions.empty()) return call.standard();
  if (!call.arguments[2].toBool()) {
    for (std::int64_t& dimension : dimensions) dimension += dimension < 0 ? input.dim() : 0;
    std::sort(dimensions.begin(), dimensions.end());
    for (const std::int64_t dimension : dimensions) arriving = arriving.unsqueeze(dimension);
  }
  return to_first(call, arriving.expand_as(input));
}

}  // namespace

BackwardRules reaching_rules() {
  BackwardRules rules;
  for (const char* operation : rectifiers) rules.on(operation, through);
  for (const char* operation : {"aten::max_pool2d", "aten::max_pool2d_with_indices"})
    rules.on(operation, to_windows);
  rules.on("aten::adaptive_max_pool2d", to_adaptive_windows);
  for (const char* operation : {"aten::max", "aten::min", "aten::amax", "aten::amin"})
    rules.on(operation, to_dimensions);
  return rules;
}

}  // namespace top_activations
