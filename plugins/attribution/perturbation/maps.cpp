#include "perturbation/maps.h"

namespace attribution {

using namespace microtome;

namespace {

std::string refusal(const std::string& method) {
  return method + " is of values N x channels x height x width";
}

}  // namespace

void check_maps(const PlanInputs& inputs, const HookPoint& at, const std::string& method) {
  const auto info = inputs.resolve("model", at);
  if (info && !info->shape.empty() && info->shape.size() != 4)
    inputs.problems().add(at.location, refusal(method));
}

void demand_maps(const at::Tensor& value, const std::string& method) {
  if (value.dim() != 4) throw Error(refusal(method));
}

void promise_one_channel(Plan& plan) {
  for (TensorInfo& tensor : plan.outputs.at(0).tensors) {
    if (tensor.name == "attributions" && tensor.shape.size() == 4) tensor.shape[1] = 1;
  }
}

}  // namespace attribution
