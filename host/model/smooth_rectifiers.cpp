#include "host/model/smooth_rectifiers.h"

#include "host/model/plan/rewriting.h"
#include "microtome/error.h"

namespace microtome::host {
namespace {

/// LibTorch's own softplus is linear above this many units of 1 / beta; at 20 it differs from the
/// exact one by 2e-9 of them.
constexpr double linear_above = 20;

at::Tensor smooth(const at::Tensor& x, double beta) { return at::softplus(x, beta, linear_above); }

/// min(max(x, low), high).
at::Tensor smooth_clip(const at::Tensor& x, double low, double high, double beta) {
  return low + smooth(x - low, beta) - smooth(x - high, beta);
}

/// The smooth stand-in of an operator; empty for one that is no rectifier.
Operation stand_in(const std::string& operation, double beta) {
  if (operation == "aten::relu") {
    return [beta](Stack& stack) { stack.back() = smooth(stack.back().toTensor(), beta); };
  }
  if (operation == "aten::relu6") {
    return
        [beta](Stack& stack) { stack.back() = smooth_clip(stack.back().toTensor(), 0, 6, beta); };
  }
  if (operation == "aten::hardtanh") {
    return [beta](Stack& stack) {
      const double high = stack.back().toScalar().toDouble();
      stack.pop_back();
      const double low = stack.back().toScalar().toDouble();
      stack.pop_back();
      stack.back() = smooth_clip(stack.back().toTensor(), low, high, beta);
    };
  }
  return {};
}

}  // namespace

void smooth_rectifiers(Program& program, double beta) {
  bool any = false;
  rewriting::for_each_node(program.body, [&](Node& node) {
    if (node.kind != Node::Kind::operation) return;
    Operation call = stand_in(node.info.operation, beta);
    if (!call) return;
    any = true;
    node.info.operation = "microtome::smooth_" + node.info.operation.substr(6);
    node.call = std::move(call);
    node.call_in_place = {};
  });
  if (!any) throw Error("the model has no ReLU, so there is none to make smooth");
}

}  // namespace microtome::host
