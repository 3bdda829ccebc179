#include "perturbation/maps.h"

namespace attribution {

using namespace microtome;

namespace {

std::string refusal(const std::string& method, const Axes& axes) {
  return method + " is of values N x channels x height x width (c, y, x); the axes here are " +
         (axes.empty() ? "not known" : axes_text(axes));
}

}  // namespace

void check_maps(const PlanInputs& inputs, const HookPoint& at, const std::string& method) {
  const auto info = inputs.resolve("model", at);
  if (info && !info->shape.empty() && !is_map(info->axes))
    inputs.problems().add(at.location, refusal(method, info->axes));
}

void demand_maps(const Axes& axes, const std::string& method) {
  if (!is_map(axes)) throw Error(refusal(method, axes));
}

void promise_one_channel(Plan& plan) {
  for (TensorInfo& tensor : plan.outputs.at(0).tensors) {
    if (tensor.name == "attributions" && tensor.shape.size() == 4) tensor.shape[1] = 1;
  }
}

}  // namespace attribution
