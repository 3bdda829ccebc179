#include "plugins/train_classifier/train_classifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/serialization/import.h>

#include "host/model/program_model.h"
#include "host/model/torchscript/loader.h"
#include "host/model/torchscript/module_file.h"
#include "microtome/testing/harness.h"
#include "tests/support/temporary_folder.h"

namespace microtome::testing {
namespace {

using train_classifier::Network;
using train_classifier::parse_layer;
using train_classifier::TrainClassifier;

Network every_layer() {
  std::vector<train_classifier::Layer> layers;
  for (const char* text :
       {"conv channels=6 kernel=5 stride=2", "batch_norm", "relu", "max_pool size=2",
        "residual channels=6", "residual channels=8 stride=2"})
    layers.push_back(parse_layer(text));
  return {layers, 3, 4, at::detail::createCPUGenerator(1)};
}

TEST(TrainedNetwork, IsTheSameInTorchScriptAndAsAProgram) {
  Network network = every_layer();
  at::manual_seed(2);
  const at::Tensor images = at::randn({5, 3, 24, 24});
  const at::NoGradGuard no_gradients;
  network.forward(at::randn({8, 3, 24, 24}), true);  // moves the moments of batch norm
  const at::Tensor expected = network.forward(images, false);

  const TemporaryFolder folder;
  const auto file = folder.path() / "model.pt";
  const ScriptModule script = network.script({{3, 24, 24}, {}, {}});
  host::torchscript::save(script, file);
  EXPECT_TRUE(at::allclose(torch::jit::load(file.string()).forward({images}).toTensor(), expected,
                           1e-5, 1e-6));
  const host::ProgramModel program("net", host::torchscript::load(file), script.input, at::kCPU);
  Pass pass;
  pass.capture = {parse_hook_point("block2.conv1"), parse_hook_point("pool1")};
  const Recording recording = program.run({{program.inputs()[0].name, images}}, pass);
  EXPECT_TRUE(at::allclose(recording.output(), expected, 1e-5, 1e-6));
  EXPECT_EQ(recording.captured[0].sizes(), (at::IntArrayRef{5, 8, 3, 3}));
  const host::ProgramModel planned("net", host::torchscript::lower(script), script.input, at::kCPU);
  EXPECT_EQ(planned.hook_points().size(), program.hook_points().size());
}

TEST(TrainedNetwork, GradientsReachEveryParameter) {
  Network network = every_layer();
  network.forward(at::randn({8, 3, 24, 24}), true).square().sum().backward();
  for (const at::Tensor& parameter : network.parameters()) {
    ASSERT_TRUE(parameter.grad().defined());
    EXPECT_GT(parameter.grad().abs().max().item<float>(), 0);
  }
}

TEST(TrainClassifier, LearnsWhatIsThere) {
  at::manual_seed(4);
  const auto data = [](std::int64_t count) {
    const at::Tensor labels = at::arange(count, at::kLong) % 2;
    at::Tensor images = at::rand({count, 3, 8, 8}) * 0.5;
    for (std::int64_t i = 0; i < count; ++i) images[i][labels[i].item<std::int64_t>()] += 0.2;
    std::vector<std::string> ids;
    for (std::int64_t i = 0; i < count; ++i) ids.push_back(std::to_string(i));
    auto made =
        std::make_shared<MemoryDataset>(ids, NamedTensors{{"image", images}, {"label", labels}});
    made->mark_image("image");
    return made;
  };
  Harness harness;
  harness.dataset("data", data(96)).dataset("held_out", data(40));
  const auto stage = make<TrainClassifier>(
      R"({"layers": ["conv channels=4", "batch_norm", "relu"], "classes": 2, "epochs": 6, "batch": 16, "learning_rate": 0.02})");
  auto found = harness.run(*stage);
  const at::Tensor loss = found["training"].tensors.at("loss");
  EXPECT_LT(loss[-1].item<float>(), 0.5 * loss[0].item<float>());
  EXPECT_GE(found["training"].metric("held_out_accuracy").value, 0.95);
  ASSERT_TRUE(found["model"].module != nullptr);
  EXPECT_EQ(found["model"].module->input.mean.size(), 3U);
  // The untrained network is what training began with.
  ASSERT_TRUE(found["untrained"].module != nullptr);
  const auto& trained = found["model"].module->children[0].module.parameters.at("weight");
  const auto& before = found["untrained"].module->children[0].module.parameters.at("weight");
  EXPECT_FALSE(trained.equal(before));
  EXPECT_TRUE(found["untrained"]
                  .module->children[1]
                  .module.buffers.at("running_mean")
                  .equal(at::zeros({4})));
  auto again = harness.run(*stage);
  EXPECT_TRUE(again["training"].tensors.at("loss").equal(loss));
}

TEST(Layers, MistakesAreSaid) {
  for (const auto& [text, said] :
       std::vector<std::pair<const char*, const char*>>{{"cnov channels=3", "conv"},
                                                        {"conv", "channels=16"},
                                                        {"conv channels=3 kernel=4", "odd"},
                                                        {"conv channels=x", "whole number"},
                                                        {"relu size=2", "unknown \"size=2\""}}) {
    try {
      parse_layer(text);
      FAIL() << text;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), ::testing::HasSubstr(said));
    }
  }
}

}  // namespace
}  // namespace microtome::testing
