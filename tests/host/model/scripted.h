#pragma once

#include <torch/csrc/jit/api/module.h>

#include <string>
#include <vector>

#include "host/model/program_model.h"
#include "host/model/torchscript/lowering.h"

namespace microtome::testing {

/// A module of scripted source; `parts` are its submodules.
inline torch::jit::Module scripted(
    const std::string& source,
    const std::vector<std::pair<std::string, torch::jit::Module>>& parts = {},
    const std::vector<std::pair<std::string, at::Tensor>>& parameters = {}) {
  static int count = 0;
  torch::jit::Module module("__torch__.Made" + std::to_string(count++));
  for (const auto& [name, part] : parts) module.register_module(name, part);
  for (const auto& [name, value] : parameters) module.register_parameter(name, value, false);
  module.define(source);
  module.eval();
  return module;
}

/// Of networks that branch on the whole batch, or write into some of its samples, the batch is
/// meant.
inline host::Program batch_program(const torch::jit::Module& module) {
  host::Program program = host::torchscript::Lowering(module).run();
  program.samples_may_mix = true;
  return program;
}

inline host::ProgramModel model_of(const torch::jit::Module& module) {
  return host::ProgramModel("m", batch_program(module), {}, at::kCPU);
}

inline std::shared_ptr<host::ProgramModel> shared_model(const torch::jit::Module& module) {
  return std::make_shared<host::ProgramModel>("m", batch_program(module), ModelInput{}, at::kCPU);
}

/// 3 x 3, with random weights.
inline torch::jit::Module convolution(std::int64_t in, std::int64_t out, bool bias) {
  std::vector<std::pair<std::string, at::Tensor>> parameters{
      {"weight", at::randn({out, in, 3, 3})}};
  if (bias) parameters.emplace_back("bias", at::randn({out}));
  return scripted(std::string("def forward(self, x):\n  return torch.conv2d(x, self.weight, ") +
                      (bias ? "self.bias" : "None") + ", [1, 1], [1, 1])\n",
                  {}, parameters);
}

/// A batch norm with random moments.
inline torch::jit::Module norm(std::int64_t channels) {
  torch::jit::Module module("__torch__.PlanNorm" + std::to_string(channels));
  module.register_parameter("weight", at::randn({channels}), false);
  module.register_parameter("bias", at::randn({channels}), false);
  module.register_buffer("running_mean", at::randn({channels}));
  module.register_buffer("running_var", at::rand({channels}) + 0.5);
  module.define(
      "def forward(self, x):\n  return torch.batch_norm(x, self.weight, self.bias, "
      "self.running_mean, self.running_var, False, 0.1, 1e-05, True)\n");
  module.eval();
  return module;
}

inline NamedTensors named_inputs(const host::ProgramModel& model,
                                 const std::vector<at::Tensor>& inputs) {
  NamedTensors named;
  for (std::size_t i = 0; i < inputs.size(); ++i) named.set(model.inputs()[i].name, inputs[i]);
  return named;
}

/// Settings with one rewriting alone.
inline host::PlanSettings only(bool host::PlanSettings::*setting) {
  host::PlanSettings settings = host::PlanSettings::none();
  settings.*setting = true;
  return settings;
}

}  // namespace microtome::testing
