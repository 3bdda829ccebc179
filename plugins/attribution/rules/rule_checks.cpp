#include "rules/rule_checks.h"

#include "memory.h"

namespace attribution {

using namespace microtome;

void check_linear_target(const PlanInputs& inputs, const Target& target,
                         const std::string& method) {
  const bool is_linear = target.on == Target::On::logit && target.what != Target::What::loss &&
                         target.what != Target::What::kl;
  if (is_linear) return;
  inputs.problems().add(target.location,
                        method +
                            " explains logits, units and directions, as its rules end at "
                            "what the network returns; take the class without log_prob or "
                            "prob, or contrast(a, b)");
}

void check_rules(const PlanInputs& inputs, const AttributionParams& params,
                 const BackwardRules& rules, std::int64_t rows) {
  const Model* model = inputs.model("model");
  if (model == nullptr || model->inputs().size() != 1 || model->inputs()[0].shape.empty()) return;
  const PortInfo& port = model->inputs()[0];
  if (!c10::isFloatingType(port.type)) return;
  std::vector<std::int64_t> sizes = port.shape;
  sizes.insert(sizes.begin(), rows);
  Pass pass;
  pass.differentiate = {params.at};
  pass.rules = rules;
  if (params.target.hook) {
    HookPoint unit = *params.target.hook;
    unit.selector = {};
    pass.capture = {unit};
  }
  try {
    const Recording recording = model->run({{port.name, at::zeros(sizes)}}, pass);
    const at::Tensor& end =
        recording.captured.empty() ? recording.output(params.target.output) : recording.captured[0];
    recording.gradients(end.sum());
  } catch (const Error& error) {
    inputs.problems().add(params.at.location, error.what());
  }
}

double bytes_of_rules(const PlanInputs& inputs) {
  // As measured, DeepLIFT and LRP alike.
  constexpr double copies = 8;
  return copies * bytes_of_largest_value(inputs);
}

}  // namespace attribution
