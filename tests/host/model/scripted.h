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

inline host::ProgramModel model_of(const torch::jit::Module& module) {
  return host::ProgramModel("m", host::torchscript::Lowering(module).run(), {}, at::kCPU);
}

inline NamedTensors named_inputs(const host::ProgramModel& model,
                                 const std::vector<at::Tensor>& inputs) {
  NamedTensors named;
  for (std::size_t i = 0; i < inputs.size(); ++i) named.set(model.inputs()[i].name, inputs[i]);
  return named;
}

}  // namespace microtome::testing
