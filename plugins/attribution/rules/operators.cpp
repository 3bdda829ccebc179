#include "rules/operators.h"

#include <torch/csrc/autograd/autograd.h>

namespace attribution {

using namespace microtome;

const std::vector<std::string>& moving_operators() {
  static const std::vector<std::string> names = {"aten::view",
                                                 "aten::reshape",
                                                 "aten::view_as",
                                                 "aten::flatten",
                                                 "aten::unflatten",
                                                 "aten::permute",
                                                 "aten::transpose",
                                                 "aten::t",
                                                 "aten::numpy_T",
                                                 "aten::slice",
                                                 "aten::select",
                                                 "aten::narrow",
                                                 "aten::index_select",
                                                 "aten::cat",
                                                 "aten::concat",
                                                 "aten::stack",
                                                 "aten::chunk",
                                                 "aten::split",
                                                 "aten::split_with_sizes",
                                                 "aten::unbind",
                                                 "aten::squeeze",
                                                 "aten::unsqueeze",
                                                 "aten::expand",
                                                 "aten::expand_as",
                                                 "aten::repeat",
                                                 "aten::contiguous",
                                                 "aten::clone",
                                                 "aten::alias",
                                                 "aten::to",
                                                 "aten::type_as",
                                                 "aten::dropout",
                                                 "aten::feature_dropout",
                                                 "aten::alpha_dropout",
                                                 "aten::roll",
                                                 "aten::flip",
                                                 "aten::pixel_shuffle",
                                                 "aten::pixel_unshuffle",
                                                 "aten::channel_shuffle",
                                                 "aten::constant_pad_nd",
                                                 "aten::pad",
                                                 "aten::reflection_pad2d",
                                                 "aten::replication_pad2d",
                                                 "aten::upsample_nearest1d",
                                                 "aten::upsample_nearest2d",
                                                 "aten::upsample_nearest3d",
                                                 "aten::im2col",
                                                 "aten::movedim",
                                                 "aten::swapaxes"};
  return names;
}

const std::vector<std::string>& averaging_operators() {
  static const std::vector<std::string> names = {"aten::avg_pool1d",
                                                 "aten::avg_pool2d",
                                                 "aten::avg_pool3d",
                                                 "aten::adaptive_avg_pool1d",
                                                 "aten::adaptive_avg_pool2d",
                                                 "aten::adaptive_avg_pool3d",
                                                 "aten::mean",
                                                 "aten::sum",
                                                 "aten::upsample_linear1d",
                                                 "aten::upsample_bilinear2d"};
  return names;
}

const std::vector<std::string>& elementwise_operators() {
  static const std::vector<std::string> names = {
      "aten::relu",        "aten::relu6",     "aten::hardtanh",   "aten::clamp",
      "aten::clamp_min",   "aten::clamp_max", "aten::threshold",  "aten::leaky_relu",
      "aten::prelu",       "aten::rrelu",     "aten::elu",        "aten::selu",
      "aten::celu",        "aten::gelu",      "aten::silu",       "aten::mish",
      "aten::sigmoid",     "aten::tanh",      "aten::softplus",   "aten::hardswish",
      "aten::hardsigmoid", "aten::exp",       "aten::log",        "aten::log1p",
      "aten::log_sigmoid", "aten::sqrt",      "aten::rsqrt",      "aten::square",
      "aten::reciprocal",  "aten::abs",       "aten::sin",        "aten::cos",
      "aten::erf",         "aten::softsign",  "aten::tanhshrink", "aten::softshrink",
      "aten::hardshrink"};
  return names;
}

const std::vector<std::string>& max_pooling_operators() {
  static const std::vector<std::string> names = {"aten::max_pool1d", "aten::max_pool2d",
                                                 "aten::max_pool3d"};
  return names;
}

const std::vector<std::string>& layer_operators() {
  static const std::vector<std::string> names = {"aten::conv1d",           "aten::conv2d",
                                                 "aten::conv3d",           "aten::_convolution",
                                                 "aten::convolution",      "aten::conv_transpose1d",
                                                 "aten::conv_transpose2d", "aten::conv_transpose3d",
                                                 "aten::linear",           "aten::addmm",
                                                 "aten::matmul",           "aten::mm"};
  return names;
}

LayerArguments layer_arguments(const BackwardCall& call) {
  LayerArguments places;
  const std::string& operation = call.node.operation;
  if (operation == "aten::addmm") return {1, 2, 0};
  if (operation == "aten::matmul" || operation == "aten::mm") {
    // The other order is a matrix applied from the left.
    if (!call.recorded.at(0)) return {1, 0, std::nullopt};
    return places;
  }
  const c10::IValue& bias = call.arguments.at(2);
  if (bias.isTensor() && bias.toTensor().defined()) places.bias = 2;
  return places;
}

std::vector<std::size_t> recorded_arguments(const BackwardCall& call) {
  std::vector<std::size_t> result;
  for (std::size_t i = 0; i < call.recorded.size(); ++i) {
    if (call.recorded[i]) result.push_back(i);
  }
  return result;
}

std::vector<std::size_t> tensor_places(const BackwardCall& call) {
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < call.arguments.size(); ++i) {
    if (call.arguments[i].isTensor() && call.arguments[i].toTensor().defined()) places.push_back(i);
  }
  return places;
}

double addend_factor(const BackwardCall& call, std::size_t i) {
  if (i == 0) return 1;
  const double alpha = call.arguments.size() > 2 ? call.arguments[2].toScalar().toDouble() : 1;
  return call.node.operation == "aten::sub" ? -alpha : alpha;
}

std::vector<at::Tensor> no_gradients(const BackwardCall& call) {
  return std::vector<at::Tensor>(call.recorded.size());
}

std::vector<at::Tensor> pull_back(const BackwardCall& call, std::vector<c10::IValue> arguments,
                                  const std::vector<std::size_t>& places,
                                  const at::Tensor& cotangent) {
  const at::AutoGradMode mode(true);
  std::vector<at::Tensor> leaves;
  leaves.reserve(places.size());
  for (const std::size_t place : places) {
    leaves.push_back(arguments.at(place).toTensor().detach().requires_grad_());
    arguments[place] = leaves.back();
  }
  const at::Tensor result = call.call(std::move(arguments)).at(0);
  return torch::autograd::grad({result}, leaves, {cotangent});
}

void refuse(const BackwardCall& call, const std::string& method, const std::string& reason) {
  throw Error(method + ": " + call.node.operation +
              (call.node.module.empty() ? "" : " in \"" + call.node.module + "\"") +
              (call.node.source.empty() ? "" : " (" + call.node.source + ")") + " " + reason);
}

}  // namespace attribution
