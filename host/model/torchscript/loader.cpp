#include "host/model/torchscript/loader.h"

#include <torch/csrc/jit/serialization/import.h>

#include "host/model/torchscript/lowering.h"
#include "host/model/torchscript/model_file_kind.h"
#include "host/support/plain_reason.h"

namespace microtome::host::torchscript {
namespace {

/// What LibTorch's message means, where it has a known cause.
std::string explained(const std::string& message) {
  const std::string first = message.substr(0, message.find('\n'));
  const auto word_after = [&](const std::string& phrase) {
    const std::size_t at = message.find(phrase);
    if (at == std::string::npos) return std::string();
    const std::size_t from = at + phrase.size();
    const std::string word = message.substr(from, message.find_first_of(" ,\n", from) - from);
    return word.substr(0, word.find_last_not_of(".:") + 1);
  };
  if (const std::string op = word_after("Unknown builtin op: "); !op.empty()) {
    return "it calls the operator " + op +
           ", which this LibTorch does not have: write the network without it, or with what it is "
           "made of, and export it again";
  }
  if (message.find("maximum supported version") != std::string::npos ||
      message.find("version too new") != std::string::npos) {
    return "it was written by a newer PyTorch than this LibTorch; export it with the version that "
           "microtome doctor names, or an older one";
  }
  if (message.find("failed finding central directory") != std::string::npos)
    return "it is damaged or cut off; copy or download it again";
  // LibTorch writes names of modules into code that it then can't parse.
  if (first.empty() || message.find("expected ] but found") != std::string::npos)
    return (first.empty() ? "" : first + ": ") +
           "PyTorch can't read it either; a known cause are names of modules with letters beyond "
           "ASCII, quotes, backslashes or line breaks: rename them and export again";
  return first;
}

torch::jit::Module read(const std::filesystem::path& file) {
  std::error_code code;
  const auto refuse = [&](const std::string& why) {
    return Error("the model file " + file.string() + " can't be read as TorchScript: " + why);
  };
  const bool is_there = std::filesystem::exists(file, code);
  if (const std::string why = why_not_torchscript(file); !why.empty()) throw refuse(why);
  if (!is_there) throw Error("the model file " + file.string() + " does not exist");
  try {
    torch::jit::Module module = torch::jit::load(file.string(), at::kCPU);
    module.eval();
    return module;
  } catch (const std::exception& error) {
    throw refuse(explained(error.what()));
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
  const auto& known = module.get_method("forward").function().getSchema().arguments();
  std::vector<c10::IValue> arguments;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    // The first is the module itself.
    const auto otherwise =
        i + 1 < known.size() ? known[i + 1].default_value() : std::optional<c10::IValue>();
    arguments.push_back(inputs[i].defined() ? c10::IValue(inputs[i])
                                            : otherwise.value_or(c10::IValue()));
  }
  std::vector<at::Tensor> outputs;
  try {
    flatten(module.forward(std::move(arguments)), outputs);
  } catch (const std::exception& error) {
    throw Error("PyTorch itself fails on the network and these inputs: " + plain_reason(error));
  }
  return outputs;
}

}  // namespace microtome::host::torchscript
