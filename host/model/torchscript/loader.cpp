#include "host/model/torchscript/loader.h"

#include <torch/csrc/jit/serialization/import.h>

#include "host/model/torchscript/lowering.h"

namespace microtome::host::torchscript {
namespace {

torch::jit::Module read(const std::filesystem::path& file) {
  std::error_code code;
  if (!std::filesystem::is_regular_file(file, code)) {
    throw Error("the model file " + file.string() + " does not exist");
  }
  try {
    torch::jit::Module module = torch::jit::load(file.string(), at::kCPU);
    module.eval();
    return module;
  } catch (const std::exception& error) {
    std::string why = error.what();
    why = why.substr(0, why.find('\n'));
    throw Error("the model file " + file.string() + " can't be read as TorchScript: " + why);
  }
}

void flatten(const c10::IValue& value, std::vector<at::Tensor>& tensors) {
  if (value.isTensor()) tensors.push_back(value.toTensor());
  if (value.isTuple()) {
    for (const c10::IValue& element : value.toTupleRef().elements()) flatten(element, tensors);
  }
  if (value.isList()) {
    for (const c10::IValue& element : value.toListRef()) flatten(element, tensors);
  }
  if (value.isGenericDict()) {
    for (const auto& entry : value.toGenericDict()) flatten(entry.value(), tensors);
  }
}

}  // namespace

Program load(const std::filesystem::path& file) {
  const torch::jit::Module module = read(file);
  try {
    return Lowering(module).run();
  } catch (Error& error) {
    error.add_where(file.string());
    throw;
  }
}

std::vector<at::Tensor> run_original(const std::filesystem::path& file,
                                     const std::vector<at::Tensor>& inputs) {
  torch::jit::Module module = read(file);
  std::vector<c10::IValue> arguments(inputs.begin(), inputs.end());
  std::vector<at::Tensor> outputs;
  flatten(module.forward(std::move(arguments)), outputs);
  return outputs;
}

}  // namespace microtome::host::torchscript
