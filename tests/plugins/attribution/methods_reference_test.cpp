// Every method against values computed by other software, all of a network's in one run.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <functional>

#include "tests/plugins/attribution/plain_loops.h"
#include "tests/support/program.h"
#include "tests/support/safetensors_reader.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_data.h"

namespace microtome::testing {
namespace {

namespace fs = std::filesystem;

struct Method {
  const char* file;
  const char* stage;
  std::string parameters;
  double scale = 1;  ///< of the reference, in units of the definition
  /// The same by a plain loop, of methods that pass so many points that some ReLU's input is within
  /// rounding of zero at one of them.
  std::function<at::Tensor(const at::Tensor& inputs, const at::Tensor& target)> plain = {};
};

/// The layers and neurons of a network's reference values.
struct Network {
  const char* name;
  const char* model;
  std::string layer, map_layer;
  std::array<int, 3> unit;  ///< of the layer: channel, row, column
  int window, stride, cell;
};

/// Captum's DeepLIFT loses relevance in overlapping max pooling, so SqueezeNet has no reference.
bool has_deep_lift(const Network& network) {
  return std::string(network.name) == "cifar10-resnet20";
}

std::vector<Method> methods_of(const Network& network, const PlainHalves& plain) {
  const std::string layer = "at: " + network.layer;
  const auto [c, y, x] = network.unit;
  const std::string place =
      "[c=" + std::to_string(c) + ",y=" + std::to_string(y) + ",x=" + std::to_string(x) + "]";
  const std::string neuron = "\"unit(" + network.layer + place + ")\"";
  std::vector<Method> methods = {
      {"saliency", "saliency", "target: class(answer)"},
      {"input_x_gradient", "input_x_gradient", "target: class(answer)"},
      {"layer_gradient_x_activation", "input_x_gradient", layer + ", target: class(answer)"},
      {"guided_backprop", "guided_backprop", "target: class(answer)"},
      {"deconvolution", "deconvolution", "target: class(answer)"},
      {"grad_cam", "grad_cam", "at: " + network.map_layer + ", target: class(answer)"},
      {"internal_influence", "internal_influence", layer + ", target: class(answer)"},
      {"layer_conductance", "conductance", layer + ", steps: 512, target: class(answer)", 1,
       [plain](const at::Tensor& inputs, const at::Tensor& target) {
         return plain_conductance(plain, inputs, target, 512);
       }},
      {"neuron_gradient", "saliency", "absolute: false, target: " + neuron},
      {"neuron_integrated_gradients", "integrated_gradients", "target: " + neuron, 1,
       [plain, unit = network.unit](const at::Tensor& inputs, const at::Tensor&) {
         return plain_neuron_integrated_gradients(plain, inputs, unit[0], unit[1], unit[2]);
       }},
      {"neuron_conductance", "neuron_conductance",
       "neuron: \"" + network.layer + place +
           "\", target: class(answer), steps: 31, rule: trapezoid",
       // 32 nodes of a trapezoid rule whose weights sum to 31/32.
       31.0 / 32},
      {"occlusion", "occlusion",
       "window: " + std::to_string(network.window) + ", stride: " + std::to_string(network.stride) +
           ", target: class(answer)"},
      {"feature_ablation", "feature_ablation",
       "features: \"grid:" + std::to_string(network.cell) + "\", target: class(answer)"},
  };
  if (has_deep_lift(network))
    methods.push_back({"deep_lift", "deep_lift", "target: class(answer)"});
  return methods;
}

class MethodsReference : public ::testing::TestWithParam<Network> {};

TEST_P(MethodsReference, EqualToOtherSoftware) {
  MICROTOME_TEST_DATA_OR_SKIP(shared, "reference");
  const Network& network = GetParam();
  const TemporaryFolder folder;
  const fs::path values = shared / "attribution" / network.name;
  const std::string inputs = (values / "inputs.safetensors").string();
  const std::string model = (shared.parent_path() / "models" / network.model).string();
  const std::vector<Method> methods = methods_of(network, plain_halves(network.name, model));
  std::string text =
      "microtome: 1\nname: reference\nruntime: {threads: 2}\nmodels:\n  net: {source: "
      "torchscript, path: \"" +
      model + "\"}\ndatasets:\n  data:\n    source: tensors\n    fields: {inputs: \"" + inputs +
      "#inputs\", answer: \"" + inputs + "#target\"}\nstages:\n";
  for (const Method& method : methods) {
    text += std::string("  ") + method.file + ": {uses: " + method.stage +
            ", inputs: {model: net, data: data}, with: {" + method.parameters + "}}\n";
  }
  const auto run = run_program({"run", folder.write("p.yaml", text).string(), "-q", "--jobs", "1"},
                               folder.path());
  ASSERT_EQ(run.status, 0) << run.errors;
  for (const Method& method : methods) {
    const at::Tensor mine = read_safetensors(folder.path() / "runs/reference/latest/stages" /
                                             method.file / "attributions/attributions.safetensors")
                                .at("attributions") *
                            method.scale;
    const at::Tensor theirs =
        read_safetensors(values / (std::string(method.file) + ".safetensors")).at("attributions");
    if (mine.sizes() != theirs.sizes()) {
      ADD_FAILURE() << method.file << ": " << mine.sizes() << " for " << theirs.sizes();
      continue;
    }
    const at::Tensor largest = theirs.abs().flatten(1).amax(1);
    const at::Tensor off = (mine - theirs).abs().flatten(1).amax(1);
    // A sample whose reference is all zero must be all zero.
    const auto relative = [&](const at::Tensor& a, const at::Tensor& b) {
      const at::Tensor difference = (a - b).abs().flatten(1).amax(1);
      return at::where(largest == 0, difference, difference / largest.clamp_min(1e-30));
    };
    at::Tensor found = relative(mine, theirs);
    std::printf("%s, %s: %.2g\n", network.name, method.file, found.max().item<double>());
    if (method.plain && found.max().item<double>() > 1e-4) {
      const auto tensors = read_safetensors(inputs);
      const int threads = at::get_num_threads();
      at::set_num_threads(2);
      const at::Tensor plain = method.plain(tensors.at("inputs"), tensors.at("target"));
      at::set_num_threads(threads);
      const double from_plain = relative(mine, plain).max().item<double>();
      std::printf("  from the plain loop: %.2g\n", from_plain);
      EXPECT_LE(from_plain, 1e-5) << method.file;
      EXPECT_LE(found.max().item<double>(), 0.01) << method.file;
      found = found.masked_fill(relative(plain, theirs) > 1e-4, 0);
    }
    EXPECT_LE(found.max().item<double>(), 1e-4) << method.file;
    EXPECT_EQ((off.masked_select(largest == 0) != 0).sum().item<std::int64_t>(), 0) << method.file;
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, MethodsReference,
    ::testing::Values(
        Network{"cifar10-resnet20", "cifar10-resnet20.pt", "layer2", "layer3", {3, 5, 5}, 8, 4, 8},
        Network{"imagenet-squeezenet1_0",
                "imagenet-squeezenet1_0.pt",
                "features.10",
                "features.12",
                {270, 9, 20},
                32,
                32,
                32}),
    [](const auto& info) {
      return std::string(info.param.name).substr(0, std::string(info.param.name).find('-'));
    });

}  // namespace
}  // namespace microtome::testing
