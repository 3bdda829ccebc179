#include <torch/version.h>

#include <cstdio>
#include <iostream>
#include <map>
#include <thread>

#include "host/cli/commands.h"
#include "host/loader/probe.h"
#include "host/model/example_inputs.h"
#include "host/model/program_model.h"
#include "host/model/torchscript/loader.h"
#include "host/pipeline/model_inputs.h"
#include "host/pipeline/resources.h"
#include "host/pipeline/schema.h"
#include "host/run/fingerprint.h"
#include "host/store/safetensors.h"
#include "host/store/store.h"
#include "host/support/element_type.h"

namespace microtome::host {
namespace {

std::string joined(const std::vector<std::string>& words, const char* separator) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : separator) + word;
  return text;
}

void describe_port(const PortDescription& port) {
  std::cout << "    " << port.name << " (" << joined(port.kinds, " or ")
            << (port.optional ? ", optional" : "")
            << (port.many ? ", takes a whole matrix or a list" : "") << ")  " << port.doc << '\n';
}

void describe_parameter(const ParameterDescription& parameter) {
  std::cout << "    " << parameter.name << "  " << parameter.type;
  if (!parameter.choices.empty()) std::cout << ": " << joined(parameter.choices, " | ");
  if (parameter.required) std::cout << ", required";
  if (!parameter.default_value.is_null())
    std::cout << ", default " << to_json(parameter.default_value);
  if (parameter.minimum && parameter.maximum) {
    std::cout << ", from " << *parameter.minimum << " to " << *parameter.maximum;
  } else if (parameter.minimum) {
    std::cout << ", at least " << *parameter.minimum;
  }
  if (!parameter.unit.empty()) std::cout << ", unit: " << parameter.unit;
  std::cout << "\n        " << parameter.doc << '\n';
}

void describe_stage(const StageDescription& stage) {
  std::cout << stage.type << ": " << stage.summary << '\n';
  if (!stage.details.empty()) std::cout << "  " << stage.details << '\n';
  for (const std::string& paper : stage.papers) std::cout << "  Paper: " << paper << '\n';
  if (is_dataset_source(stage)) {
    std::cout << "  a source of samples: name it under datasets, as source: " << stage.type << '\n';
  } else {
    std::cout << "  inputs\n";
    for (const PortDescription& port : stage.inputs) describe_port(port);
    std::cout << "  outputs\n";
    for (const PortDescription& port : stage.outputs) describe_port(port);
  }
  std::cout << "  parameters\n";
  for (const ParameterDescription& parameter : stage.parameters) describe_parameter(parameter);
}

/// What `--input` says: `x=1x3x32x32`, or with a type, `tokens=1x3:int64`.
struct SaidInput {
  std::string name;
  std::vector<std::int64_t> shape;
  std::optional<at::ScalarType> type;
};

SaidInput read_said_input(const std::string& text) {
  const auto equals = text.find('=');
  if (equals == std::string::npos)
    throw Error("--input: expected name=1x3x32x32, found \"" + text + "\"");
  SaidInput input{text.substr(0, equals), {}, {}};
  std::string sizes = text.substr(equals + 1);
  if (const auto colon = sizes.find(':'); colon != std::string::npos) {
    const std::string name = sizes.substr(colon + 1);
    input.type = type_named(name);
    if (!input.type)
      throw Error("--input: there is no type \"" + name + "\"" + suggestion(name, type_names()));
    sizes = sizes.substr(0, colon);
  }
  std::size_t from = 0;
  while (from <= sizes.size()) {
    const std::size_t to = std::min(sizes.find('x', from), sizes.size());
    char* end = nullptr;
    const std::string number = sizes.substr(from, to - from);
    const long long size = std::strtoll(number.c_str(), &end, 10);
    if (number.empty() || *end != 0 || size < 1 || size > 1'000'000)
      throw Error("--input: \"" + text + "\" has no shape such as 1x3x32x32");
    input.shape.push_back(size);
    from = to + 1;
  }
  return input;
}

/// Made samples of an input, of the type that is said, or else of the one that the model takes.
at::Tensor example_of(const ProgramModel& model, std::size_t input, const SaidInput& text) {
  PortInfo port = model.inputs()[input];
  port.type = text.type.value_or(model.given_type(input));
  port.shape.assign(text.shape.begin() + 1, text.shape.end());
  return example_input(port, model.uses()[input].ids, text.shape[0]);
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (std::size_t i = 0; i < shape.size(); ++i)
    text += (i == 0 ? "N" : " x " + std::to_string(shape[i]));
  return text;
}

}  // namespace

ExitStatus plugins_command(const std::optional<std::string>& name, Catalog& catalog) {
  if (!name) {
    bool refused = false;
    for (const PluginFile& plugin : catalog.plugins()) {
      if (plugin.refusal.empty()) {
        std::cout << plugin.name << ' ' << plugin.version << "  "
                  << joined(plugin.stage_types, ", ") << "\n    " << plugin.path.string() << '\n';
      } else {
        refused = true;
        std::cerr << plugin.path.string() << ": refused: " << plugin.refusal << '\n';
      }
    }
    if (catalog.plugins().empty())
      std::cout << "no plugin is installed; see microtome doctor for where they are looked for\n";
    return refused ? ExitStatus::plugin_refused : ExitStatus::done;
  }
  bool found = false;
  std::vector<std::string> names = catalog.stage_types();
  for (const PluginFile& plugin : catalog.plugins()) {
    names.push_back(plugin.name);
    for (const std::string& type : plugin.stage_types) {
      if (plugin.name != *name && type != *name) continue;
      if (found) std::cout << '\n';
      describe_stage(catalog.stage_type(plugin, type).description());
      found = true;
    }
  }
  if (!found)
    throw Error("there is no plugin or stage type \"" + *name + "\"" + suggestion(*name, names));
  return ExitStatus::done;
}

namespace {

/// The example was computed by another build of the library, perhaps on another processor.
constexpr double example_tolerance = 1e-4;

std::map<std::string, at::Tensor> read_safetensors(const std::string& file) {
  std::map<std::string, at::Tensor> tensors;
  for (const StoredTensor& tensor : read_tensor_list(file)) {
    // Others may be of any type.
    const bool is_asked_for =
        tensor.name.rfind("input.", 0) == 0 || tensor.name.rfind("output.", 0) == 0;
    if (is_asked_for) tensors[tensor.name] = read_tensor(file, tensor);
  }
  return tensors;
}

double difference_from(const std::map<std::string, at::Tensor>& stored,
                       const NamedTensors& outputs) {
  double largest = 0;
  std::size_t i = 0;
  for (const auto& [name, value] : outputs) {
    const std::string expected = "output." + std::to_string(i++);
    const auto found = stored.find(expected);
    if (found == stored.end()) throw Error("--example: the file has no " + expected);
    if (found->second.sizes() != value.sizes())
      throw Error("--example: " + expected + " has another shape than the model's \"" + name +
                  "\"");
    const double scale = std::max(1e-30, found->second.abs().max().item().toDouble());
    largest = std::max(largest, (found->second - value).abs().max().item().toDouble() / scale);
  }
  return largest;
}

/// Shape, axes and type of a value, and where the network keeps its samples.
std::string value_text(const HookPointInfo& hook) {
  if (!hook.refusal.empty()) return "not by sample";
  if (hook.shape.empty()) return "";
  std::string text = shape_text(hook.shape);
  if (!hook.axes.empty()) text += "  (" + axes_text(hook.axes) + ")";
  if (hook.type != at::kFloat) text += std::string("  ") + c10::toString(hook.type);
  if (hook.samples == OfSamples::none) return text + "  the same for all samples";
  if (hook.place.is_first()) return text;
  text += "  samples in dimension " + std::to_string(hook.place.dimension);
  if (hook.place.outer > 1) text += ", inside of " + std::to_string(hook.place.outer);
  if (hook.place.inner > 1) text += ", around " + std::to_string(hook.place.inner);
  return text;
}

}  // namespace

ExitStatus layers_command(const LayersArguments& arguments) {
  const ProgramModel model("", torchscript::load(arguments.model), {}, at::kCPU);
  std::vector<std::string> names;
  for (const PortInfo& input : model.inputs()) names.push_back(input.name);
  std::vector<at::Tensor> examples(names.size());
  for (const std::string& text : arguments.inputs) {
    const SaidInput input = read_said_input(text);
    auto found = std::find(names.begin(), names.end(), input.name);
    // A model with one input needs no name that its author never saw.
    if (found == names.end() && names.size() == 1) found = names.begin();
    if (found == names.end())
      throw Error("--input: the model has no input \"" + input.name + "\"" +
                  suggestion(input.name, names));
    const auto place = static_cast<std::size_t>(found - names.begin());
    examples[place] = example_of(model, place, input);
  }
  const std::map<std::string, at::Tensor> stored = arguments.example.empty()
                                                       ? std::map<std::string, at::Tensor>{}
                                                       : read_safetensors(arguments.example);
  for (std::size_t i = 0; i < examples.size() && !stored.empty(); ++i) {
    const auto found = stored.find("input." + std::to_string(i));
    if (found == stored.end() && model.program().inputs[i].optional) continue;
    if (found == stored.end())
      throw Error("--example: " + arguments.example + " has no input." + std::to_string(i));
    examples[i] = found->second;
  }
  bool complete = true;
  for (std::size_t i = 0; i < examples.size(); ++i)
    complete = complete && (examples[i].defined() || model.program().inputs[i].optional);
  if (!arguments.inputs.empty() && !complete)
    throw Error("--input: give a shape for each of " + joined(names, ", "));
  if (complete) model.learn_shapes(examples);
  std::size_t width = 10;
  for (const HookPointInfo& hook : model.hook_points()) width = std::max(width, hook.name.size());
  for (const HookPointInfo& hook : model.hook_points()) {
    std::printf("%-*s  %-24s  %s\n", static_cast<int>(width), hook.name.c_str(),
                hook.operation.c_str(), value_text(hook).c_str());
  }
  std::printf("inputs: %s", describe_inputs(model).c_str());
  if (complete) {
    std::printf("\n");
  } else {
    std::printf("; give --input %s=1x3x32x32 for shapes\n", names[0].c_str());
  }
  const std::string one = model.one_at_a_time();
  if (!one.empty()) std::printf("note: the network %s\n", one.c_str());
  if (!arguments.verify) return ExitStatus::done;
  if (!complete)
    throw Error("--verify needs --example, or --input for each of " + joined(names, ", "));
  if (!one.empty() && !model.mixes_samples() && examples[0].defined() && examples[0].size(0) > 1)
    throw Error("--verify: the network " + one);
  NamedTensors inputs;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (examples[i].defined()) inputs.set(names[i], examples[i]);
  }
  const auto original = torchscript::run_original(arguments.model, examples);
  const NamedTensors outputs = model.outputs_as_in_network(inputs);
  double largest = 0;
  std::size_t i = 0;
  for (const auto& [name, value] : outputs) {
    const double scale = std::max(1e-30, original.at(i).abs().max().item().toDouble());
    largest = std::max(largest, (original.at(i) - value).abs().max().item().toDouble() / scale);
    ++i;
  }
  std::printf("verify: largest difference from the original %.3g of the largest output\n", largest);
  bool same = largest <= 1e-5;
  if (!stored.empty()) {
    const double off = difference_from(stored, outputs);
    std::printf("verify: largest difference from the example %.3g of the largest output\n", off);
    same = same && off <= example_tolerance;
  }
  return same ? ExitStatus::done : ExitStatus::stage_failed;
}

ExitStatus schema_command(Catalog& catalog) {
  std::vector<StageDescription> named;
  for (const std::string& type : catalog.stage_types()) {
    named.push_back(catalog.stage_type(type).description());
    named.back().type = type;
  }
  std::vector<const StageDescription*> stages;
  for (const StageDescription& stage : named) stages.push_back(&stage);
  std::cout << to_json(pipeline_schema(stages), 2) << '\n';
  return ExitStatus::done;
}

ExitStatus doctor_command(const SearchPath& path, Catalog& catalog) {
  // Before anything starts a thread, as this forks.
  std::map<std::filesystem::path, std::string> broken;
  for (const PluginFile& plugin : catalog.plugins()) {
    if (plugin.refusal.empty()) broken[plugin.path] = why_broken(catalog, plugin);
  }
  bool well = true;
  const auto complain = [&](const std::string& what) {
    well = false;
    std::cout << "  WRONG: " << what << '\n';
  };
  std::cout << "microtome SDK " << sdk_major << '.' << sdk_minor << ", LibTorch " << TORCH_VERSION
            << ", C++ ABI " << abi_tag << '\n';
  const std::string blas = blas_library().string();
  std::cout << "BLAS: " << (blas.empty() ? "not found" : blas) << '\n';
  if (blas.find("openblas") == std::string::npos) {
    complain(
        "LibTorch does not call OpenBLAS; install libopenblas0-openmp and choose it with "
        "update-alternatives --config libblas.so.3-x86_64-linux-gnu");
  } else if (blas.find("pthread") != std::string::npos) {
    complain(
        "this OpenBLAS has a thread pool of its own, which oversubscribes; install "
        "libopenblas0-openmp");
  }
  std::cout << "threads: " << std::thread::hardware_concurrency() << " cores, "
            << at::get_num_threads() << " inside of an operator\n";
  std::cout << "devices: cpu (" << cpu_capability() << ")" << (at::hasCUDA() ? ", cuda" : "")
            << '\n';
  std::cout << "store: " << Store::default_root().string() << '\n';
  std::cout << "plugin folders, in this order\n";
  for (const auto& folder : path.folders) {
    std::error_code code;
    std::cout << "  " << folder.string()
              << (std::filesystem::is_directory(folder, code) ? "" : " (absent)") << '\n';
  }
  std::cout << "plugins\n";
  for (const PluginFile& plugin : catalog.plugins()) {
    const std::string& why = plugin.refusal.empty() ? broken.at(plugin.path) : plugin.refusal;
    if (why.empty()) {
      std::cout << "  " << plugin.name << ' ' << plugin.version << '\n';
    } else {
      complain(plugin.path.string() + ": " + why);
    }
  }
  std::cout << "numerics fingerprint: "
            << to_json(numerics_fingerprint(RuntimeSettings::canonical(Value::map()), at::kCPU))
            << '\n';
  std::cout << (well ? "all well\n" : "see the lines marked WRONG\n");
  return well ? ExitStatus::done : ExitStatus::stage_failed;
}

}  // namespace microtome::host
