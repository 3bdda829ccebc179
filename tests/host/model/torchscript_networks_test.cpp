// The real networks: the program returns what LibTorch's own interpreter returns.
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/jit/serialization/import.h>

#include "host/model/program_model.h"
#include "host/model/torchscript/loader.h"
#include "tests/support/test_data.h"

namespace microtome::testing {
namespace {

struct Network {
  const char* file;
  std::vector<std::int64_t> input;
};

class Networks : public ::testing::TestWithParam<Network> {};

TEST_P(Networks, EqualsTheOriginal) {
  MICROTOME_TEST_DATA_OR_SKIP(folder, "models");
  const auto file = folder / GetParam().file;
  const host::ProgramModel model("net", host::torchscript::load(file), {}, at::kCPU);
  torch::jit::Module original = torch::jit::load(file.string());
  original.eval();
  at::manual_seed(3);
  const at::Tensor x = at::randn(GetParam().input);
  const at::Tensor leaf = x.clone().requires_grad_();
  const at::Tensor expected = original.forward({leaf * 1}).toTensor();
  Pass pass;
  pass.differentiate = {parse_hook_point("input")};
  const std::string name = model.inputs()[0].name;
  const auto recording = model.run({{name, x}}, pass);
  const double scale = expected.abs().max().item<double>();
  EXPECT_LE((recording.output() - expected).abs().max().item<double>(), 1e-5 * scale);
  const at::Tensor weight = at::randn(expected.sizes());
  const at::Tensor gradient = torch::autograd::grad({(expected * weight).sum()}, {leaf})[0];
  const at::Tensor mine = recording.gradients(recording.output() * weight)[0];
  EXPECT_LE((mine - gradient).abs().max().item<double>(),
            1e-5 * gradient.abs().max().item<double>());

  // Capturing everything, and an edit everywhere that changes nothing, leave every bit.
  const auto plain = model.run({{name, x}}, {});
  Pass everything;
  for (const auto& hook : model.hook_points()) {
    everything.capture.push_back(parse_hook_point(hook.name));
    everything.edits.push_back(
        {everything.capture.back(), [](const at::Tensor& value) { return value; }});
  }
  EXPECT_GT(everything.capture.size(), 20U);
  EXPECT_TRUE(model.run({{name, x}}, everything).output().equal(plain.output()));
}

INSTANTIATE_TEST_SUITE_P(All, Networks,
                         ::testing::Values(Network{"cifar10-resnet20.pt", {3, 3, 32, 32}},
                                           Network{"cifar10-resnet20-traced.pt", {3, 3, 32, 32}},
                                           Network{"imagenet-squeezenet1_0.pt", {1, 3, 227, 227}},
                                           Network{"imagenet-mobilenet_v2.pt", {1, 3, 224, 224}}),
                         [](const auto& info) {
                           std::string name = info.param.file;
                           for (char& c : name)
                             c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
                           return name;
                         });

TEST(ModularAddition, AnswersEveryPair) {
  MICROTOME_TEST_DATA_OR_SKIP(file, "models/modular-addition.pt");
  const host::ProgramModel model("net", host::torchscript::load(file), {}, at::kCPU);
  const at::Tensor a = at::arange(59).repeat_interleave(59), b = at::arange(59).repeat({59});
  const at::Tensor tokens = at::stack({a, b, at::full_like(a, 59)}, 1);
  Pass pass;
  for (const char* name :
       {"embed", "block.attention.pattern", "block.attention.scores", "block.mlp.act", "unembed"}) {
    pass.capture.push_back(parse_hook_point(name));
  }
  const auto recording = model.run({{model.inputs()[0].name, tokens}}, pass);
  EXPECT_TRUE(recording.output().argmax(1).equal((a + b).remainder(59)));
  EXPECT_EQ(recording.captured[1].sizes().vec(), (std::vector<std::int64_t>{3481, 4, 3, 3}));
  EXPECT_TRUE(at::allclose(recording.captured[1].sum(-1), at::ones({3481, 4, 3})));
  EXPECT_TRUE(recording.captured[1].equal(recording.captured[2].softmax(-1)));
  const auto originals = host::torchscript::run_original(file, {tokens});
  EXPECT_TRUE(at::allclose(originals[0], recording.output(), 1e-5, 1e-5));
}

TEST(ResNet20, NormalisationEntersTheProgram) {
  MICROTOME_TEST_DATA_OR_SKIP(file, "models/cifar10-resnet20.pt");
  const ModelInput input{{3, 32, 32}, {0.485, 0.456, 0.406}, {0.229, 0.224, 0.225}};
  const host::ProgramModel model("net", host::torchscript::load(file), input, at::kCPU);
  const host::ProgramModel bare("net", host::torchscript::load(file), {}, at::kCPU);
  const at::Tensor pixels = at::rand({2, 3, 32, 32});
  Pass pass;
  pass.capture = {parse_hook_point("pixels"), parse_hook_point("input")};
  const auto recording = model.run({{"x.1", pixels}, {model.inputs()[0].name, pixels}}, pass);
  EXPECT_TRUE(recording.captured[0].equal(pixels));
  EXPECT_TRUE(recording.captured[1].equal(model.normalise(pixels)));
  EXPECT_TRUE(bare.run({{bare.inputs()[0].name, model.normalise(pixels)}}, {})
                  .output()
                  .equal(recording.output()));
  EXPECT_THROW(bare.resolve(parse_hook_point("pixels")), Error);
  EXPECT_EQ(model.resolve(parse_hook_point("layer2")).shape,
            (std::vector<std::int64_t>{1, 32, 16, 16}));
}

}  // namespace
}  // namespace microtome::testing
