#include "host/model/torchscript/module_file.h"

#include <torch/csrc/jit/api/module.h>

#include "host/model/torchscript/lowering.h"

namespace microtome::host::torchscript {
namespace {

torch::jit::Module build(const ScriptModule& description, const std::string& path) {
  torch::jit::Module module("__torch__.microtome." + description.type + path);
  for (const auto& [name, value] : description.parameters) {
    module.register_parameter(name, value.detach().cpu(), false);
  }
  for (const auto& [name, value] : description.buffers) {
    module.register_buffer(name, value.detach().cpu());
  }
  module.register_attribute("training", c10::BoolType::get(), false);
  for (const auto& [name, child] : description.children) {
    module.register_module(name, build(child, path + "_" + name));
  }
  try {
    module.define(description.forward);
  } catch (const std::exception& error) {
    throw Error("the network's " + (path.empty() ? description.type : path.substr(1)) +
                " is no TorchScript: " + error.what());
  }
  return module;
}

template <class T>
Value list_of(const std::vector<T>& numbers) {
  Value list = Value::list();
  for (const T& number : numbers) list.push_back(Value(number));
  return list;
}

}  // namespace

void save(const ScriptModule& module, const std::filesystem::path& file) {
  build(module, "").save(file.string());
}

Program lower(const ScriptModule& module) { return Lowering(build(module, "")).run(); }

Value to_value(const ModelInput& input) {
  Value value = Value::map();
  if (!input.size.empty()) value.set("size", list_of(input.size));
  if (!input.mean.empty()) {
    value.set("mean", list_of(input.mean));
    value.set("std", list_of(input.std));
  }
  return value;
}

ModelInput read_model_input(const Value& value) {
  ModelInput input;
  if (const Value* size = value.find("size")) {
    for (const Value& side : size->as_list()) input.size.push_back(side.as_integer());
  }
  if (const Value* mean = value.find("mean")) {
    for (const Value& number : mean->as_list()) input.mean.push_back(number.as_number());
    for (const Value& number : value.at("std").as_list()) input.std.push_back(number.as_number());
  }
  return input;
}

}  // namespace microtome::host::torchscript
