// The model runtime against the plain LibTorch code for the same result, in one process.
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include "host/model/plan/winograd.h"
#include "host/model/program_model.h"
#include "host/model/torchscript/loader.h"
#include "host/model/torchscript/lowering.h"
#include "tests/benchmarks/paired.h"
#include "tests/support/test_data.h"

namespace microtome::benchmarks {
namespace {

using host::PlanSettings;
using host::ProgramModel;

/// A network of the test data; nothing when it is not there.
struct Network {
  std::shared_ptr<ProgramModel> model;
  torch::jit::Module original;
  at::Tensor input;

  NamedTensors inputs() const { return {{model->inputs()[0].name, input}}; }
};

std::optional<Network> open(benchmark::State& state, const char* file,
                            const std::vector<std::int64_t>& size) {
  at::set_num_threads(1);
  const auto found = testing::test_data(std::string("models/") + file);
  if (!found) {
    state.SkipWithError("needs MICROTOME_TEST_DATA");
    return std::nullopt;
  }
  at::manual_seed(1);
  Network network{std::make_shared<ProgramModel>("net", host::torchscript::load(*found),
                                                 ModelInput{}, at::kCPU),
                  torch::jit::load(found->string()), at::randn(size)};
  network.original.eval();
  return network;
}

at::Tensor largest(const at::Tensor& scores) { return std::get<0>(scores.max(1)).sum(); }

/// Forward and backward pass without any plan, against `torch::jit::Module`.
void gradient_without_plans(benchmark::State& state) {
  const auto network = open(state, "cifar10-resnet20.pt", {32, 3, 32, 32});
  if (!network) return;
  auto original = network->original;
  Pass pass;
  pass.differentiate = {parse_hook_point("input")};
  compare(
      state,
      [&] {
        const Recording recording = network->model->run(network->inputs(), pass);
        benchmark::DoNotOptimize(recording.gradients(largest(recording.output())));
      },
      [&] {
        const at::Tensor leaf = network->input.detach().requires_grad_();
        benchmark::DoNotOptimize(
            torch::autograd::grad({largest(original.forward({leaf}).toTensor())}, {leaf}));
      });
}
BENCHMARK(gradient_without_plans)->Unit(benchmark::kMillisecond)->UseManualTime();

/// Forward pass by the default plan, against `torch::jit::Module`.
void forward_by_plan(benchmark::State& state) {
  const auto network = open(state, "cifar10-resnet20.pt", {32, 3, 32, 32});
  if (!network) return;
  auto original = network->original;
  const auto planned = network->model->planned({}, PlanSettings{});
  compare(
      state, [&] { benchmark::DoNotOptimize(planned->run(network->inputs(), {})); },
      [&] {
        const at::NoGradGuard no_gradients;
        benchmark::DoNotOptimize(original.forward({network->input}));
      });
}
BENCHMARK(forward_by_plan)->Unit(benchmark::kMillisecond)->UseManualTime();

/// Each of the 19 convolutions of ResNet-20 set to zero in turn, from where it stands on, against
/// whole runs of the same program.
void zero_each_convolution(benchmark::State& state) {
  const auto network = open(state, "cifar10-resnet20.pt", {32, 3, 32, 32});
  if (!network) return;
  std::vector<HookPoint> places;
  for (const HookPointInfo& hook : network->model->hook_points()) {
    const auto dot = hook.name.rfind('.');
    const std::string last = dot == std::string::npos ? hook.name : hook.name.substr(dot + 1);
    if (last == "conv1" || last == "conv2") places.push_back(parse_hook_point(hook.name));
  }
  // One row stands for all.
  const auto zero = [](const at::Tensor& value) { return at::zeros_like(value.slice(0, 0, 1)); };
  const auto planned = network->model->planned(places, PlanSettings{});
  compare(
      state,
      [&] {
        Pass clean;
        for (const HookPoint& place : places) clean.cuts.push_back({place});
        const Recording recording = planned->run(network->inputs(), clean);
        for (std::size_t i = 0; i < places.size(); ++i) {
          Pass pass;
          pass.edits = {{places[i], zero}};
          benchmark::DoNotOptimize(planned->resume(*recording.snapshots[i], pass));
        }
      },
      [&] {
        benchmark::DoNotOptimize(network->model->run(network->inputs(), {}));
        for (const HookPoint& place : places) {
          Pass pass;
          pass.edits = {{place, zero}};
          benchmark::DoNotOptimize(network->model->run(network->inputs(), pass));
        }
      });
}
BENCHMARK(zero_each_convolution)->Unit(benchmark::kMillisecond)->UseManualTime();

/// The gradient by the input of a wide convolution (8 x 64 x 56 x 56), against the convolution's.
void gradient_of_a_wide_convolution(benchmark::State& state) {
  at::set_num_threads(1);
  at::manual_seed(3);
  const at::NoGradGuard no_gradients;
  const at::Tensor weight = at::randn({64, 64, 3, 3}), input = at::randn({8, 64, 56, 56});
  const at::Tensor gradient = at::randn_like(input);
  const host::WinogradGradient winograd(weight);
  compare(
      state,
      [&] {
        benchmark::DoNotOptimize(winograd(gradient, {1, 1}));
      },
      [&] {
        benchmark::DoNotOptimize(
            at::convolution_backward(gradient, input, weight, at::OptionalIntArrayRef(), {1, 1},
                                     {1, 1}, {1, 1}, false, {0, 0}, 1, {true, false, false}));
      });
}
BENCHMARK(gradient_of_a_wide_convolution)->Unit(benchmark::kMillisecond)->UseManualTime();

/// Twelve linear layers of width 64 with ReLU.
torch::jit::Module perceptron() {
  at::manual_seed(2);
  torch::jit::Module net("__torch__.Perceptron");
  std::string source = "def forward(self, x):\n";
  for (int i = 0; i < 12; ++i) {
    const std::string name = "layer" + std::to_string(i);
    torch::jit::Module layer("__torch__.Layer" + std::to_string(i));
    layer.register_parameter("weight", at::randn({64, 64}) / 8, false);
    layer.register_parameter("bias", at::zeros({64}), false);
    layer.define("def forward(self, x):\n  return torch.linear(x, self.weight, self.bias)\n");
    net.register_module(name, layer);
    source += "  x = torch.relu(self." + name + ".forward(x))\n";
  }
  net.define(source + "  return x\n");
  net.eval();
  return net;
}

/// The network, and one sample of batch 1, where overhead is all.
struct Small {
  torch::jit::Module original = perceptron();
  std::shared_ptr<const ProgramModel> planned =
      std::make_shared<ProgramModel>("net", host::torchscript::Lowering(original).run(),
                                     ModelInput{}, at::kCPU)
          ->planned({}, PlanSettings{});
  at::Tensor x = at::randn({1, 64});
  NamedTensors inputs{{planned->inputs()[0].name, x}};
};

constexpr int repeats = 100;

/// Forward pass, against frozen TorchScript.
void small_forward(benchmark::State& state) {
  at::set_num_threads(1);
  const Small small;
  auto frozen = torch::jit::freeze(small.original);
  compare(
      state,
      [&] {
        for (int i = 0; i < repeats; ++i)
          benchmark::DoNotOptimize(small.planned->run(small.inputs, {}));
      },
      [&] {
        const at::NoGradGuard no_gradients;
        for (int i = 0; i < repeats; ++i) benchmark::DoNotOptimize(frozen.forward({small.x}));
      });
}
BENCHMARK(small_forward)->Unit(benchmark::kMillisecond)->UseManualTime();

/// The same with every layer's value captured, against the same without: what a captured value
/// costs, in microseconds.
void small_capture(benchmark::State& state) {
  at::set_num_threads(1);
  const Small small;
  constexpr int values = 12;
  Pass pass;
  for (int i = 0; i < values; ++i)
    pass.capture.push_back(parse_hook_point("layer" + std::to_string(i)));
  compare(
      state,
      [&] {
        for (int i = 0; i < repeats; ++i)
          benchmark::DoNotOptimize(small.planned->run(small.inputs, pass));
      },
      [&] {
        for (int i = 0; i < repeats; ++i)
          benchmark::DoNotOptimize(small.planned->run(small.inputs, {}));
      });
  state.counters["us_each"] =
      (state.counters["mine_ms"] - state.counters["plain_ms"]) * 1e3 / (repeats * values);
}
BENCHMARK(small_capture)->Unit(benchmark::kMillisecond)->UseManualTime();

}  // namespace
}  // namespace microtome::benchmarks
