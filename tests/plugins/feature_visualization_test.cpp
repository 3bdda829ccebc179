// Activation maximization and top activations on networks whose answers are known.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "microtome/testing/harness.h"
#include "plugins/activation_maximization/activation_maximization.h"
#include "plugins/top_activations/top_activations.h"

namespace microtome::testing {
namespace {

using activation_maximization::ActivationMaximization;
using top_activations::TopActivations;

constexpr std::int64_t side = 12;

/// 1: two convolutions of 3 x 3, whose first channel is the brightness of the middle and whose
/// second is never above 0 after the ReLU.
std::shared_ptr<StepModel> network() {
  const at::Tensor kernel = at::full({2, 3, 3, 3}, 1.0 / 27);
  kernel[1] = -1;
  return std::make_shared<StepModel>(
      at::zeros({1, 3, side, side}),
      std::vector<StepModel::Step>{
          {"conv", [kernel](const at::Tensor& x) { return at::conv2d(x, kernel, {}, 1, 1); }},
          {"relu", [](const at::Tensor& x) { return x.relu(); }},
          {"pool", [](const at::Tensor& x) { return at::max_pool2d(x, 2); }}});
}

std::shared_ptr<MemoryDataset> images(std::int64_t count) {
  std::vector<std::string> ids;
  for (std::int64_t i = 0; i < count; ++i) ids.push_back("image" + std::to_string(i));
  at::manual_seed(2);
  at::Tensor all = at::rand({count, 3, side, side}) * 0.2;
  // One bright spot each, brighter from image to image.
  for (std::int64_t i = 0; i < count; ++i)
    all[i].slice(1, 4, 7).slice(2, 6, 9).fill_(0.3 + 0.7 * static_cast<double>(i) / count);
  auto data = std::make_shared<MemoryDataset>(ids, NamedTensors{{"image", all}});
  data->mark_image("image");
  return data;
}

std::map<std::string, Output> maximise(const std::string& parameters) {
  Harness harness;
  harness.model("model", network()).dataset("data", images(20));
  return harness.run(*make<ActivationMaximization>(parameters));
}

TEST(ActivationMaximization, ExceedsTheDatasetAndSaysWhereThereIsNoGradient) {
  for (const char* kind : {"fourier", "pixel"}) {
    auto found = maximise(
        R"j({"targets": ["unit(relu[c=0])", "unit(relu[c=1])"], "steps": 60, "jitter": 1, "padding": 1, "parametrisation": ")j" +
        std::string(kind) + "\"}");
    Output& output = found["images"];
    const at::Tensor image = output.tensors.at("images");
    EXPECT_EQ(image.sizes(), (at::IntArrayRef{2, 2, 3, side, side}));
    EXPECT_GE(image.min().item<float>(), 0);
    EXPECT_LE(image.max().item<float>(), 1);
    const at::Tensor dead = output.tensors.at("no_gradient");
    EXPECT_FALSE(dead[0].item<bool>()) << kind;
    EXPECT_TRUE(dead[1].item<bool>()) << kind;
    EXPECT_EQ(output.metadata.at("without_gradient").as_list().size(), 1U);
    EXPECT_GT(output.tensors.at("unseen")[0].mean().item<float>(),
              output.tensors.at("dataset_maximum")[0].item<float>())
        << kind;
    EXPECT_EQ(output.metric("share_above_dataset_maximum").value, 0.5);
    const at::Tensor curve = output.tensors.at("curve")[0];
    EXPECT_GT(curve[-1].item<float>(), curve[0].item<float>());
  }
}

TEST(ActivationMaximization, SeedsDifferAndRegularisersDoWhatTheySay) {
  const auto spread = [](const std::string& more) {
    auto found = maximise(
        R"j({"targets": "unit(relu[c=0])", "steps": 40, "parametrisation": "pixel")j" + more + "}");
    const at::Tensor images = found["images"].tensors.at("images")[0];
    EXPECT_FALSE(images[0].equal(images[1]));
    const at::Tensor rough = (images.slice(2, 1) - images.slice(2, 0, -1)).abs().mean();
    return std::pair{(images - 0.5).square().mean().item<double>(), rough.item<double>()};
  };
  const auto plain = spread("");
  EXPECT_LT(spread(R"j(, "l2": 100)j").first, plain.first);
  EXPECT_LT(spread(R"j(, "total_variation": 100)j").second, plain.second);
}

TEST(ActivationMaximization, RefusesTargetsOfSamples) {
  EXPECT_THROW(maximise(R"j({"targets": "predicted"})j"), Error);
  EXPECT_THROW(maximise(R"j({"targets": "class(0)", "diversity": 1})j"), Error);
}

TEST(HighFrequencyShare, IsOneForACheckerboardAndZeroForASlowWave) {
  const at::Tensor x = at::arange(16, at::kDouble);
  const at::Tensor board = ((x.unsqueeze(0) + x.unsqueeze(1)).remainder(2)).view({1, 1, 16, 16});
  const at::Tensor wave = (x * (2 * 3.14159265358979 / 16)).sin().expand({1, 1, 16, 16});
  EXPECT_NEAR(activation_maximization::high_frequency_share(board).item<double>(), 1, 1e-9);
  EXPECT_NEAR(activation_maximization::high_frequency_share(wave).item<double>(), 0, 1e-9);
}

TEST(TopActivations, FindsTheBrightestAndWhereTheyAre) {
  for (const std::int64_t chunk : {3, 32}) {
    Harness harness;
    harness.model("model", network()).dataset("data", images(20)).chunk_size(chunk);
    auto found = harness.run(
        *make<TopActivations>(R"j({"layer": "relu", "units": [0], "count": 3, "crop_size": 8})j"));
    Output& output = found["samples"];
    const at::Tensor positions = output.tensors.at("positions");
    EXPECT_TRUE(positions[0][0].equal(at::tensor(std::vector<std::int64_t>{19, 18, 17})));
    EXPECT_TRUE(positions[0][2].equal(at::tensor(std::vector<std::int64_t>{0, 1, 2})));
    const at::Tensor values = output.tensors.at("values");
    EXPECT_NEAR(values[0][0][0].item<double>(), 0.3 + 0.7 * 19 / 20, 1e-5);
    // The receptive field of a 3 x 3 convolution, around the spot's middle (5, 7).
    EXPECT_TRUE(output.tensors.at("boxes")[0][0][0].equal(
        at::tensor(std::vector<std::int64_t>{4, 6, 7, 9})));
    EXPECT_TRUE(at::allclose(output.tensors.at("crops")[0][0][0],
                             at::full({3, 8, 8}, 0.3 + 0.7 * 19 / 20)));
  }
}

TEST(TopActivations, PlacesAreSeenWhereverTheChannelsAre) {
  const at::Tensor kernel = at::randn({2, 3, 4, 4});
  const auto model = std::make_shared<StepModel>(
      at::zeros({1, 3, side, side}),
      std::vector<StepModel::Step>{
          {"patches", [kernel](const at::Tensor& x) { return at::conv2d(x, kernel, {}, 4); }},
          {"tokens", [](const at::Tensor& x) { return x.flatten(2).transpose(1, 2); }}});
  const auto found = [&](const std::string& layer) {
    Harness harness;
    harness.model("model", model).dataset("data", images(9));
    return harness.run(
        *make<TopActivations>(R"j({"layer": ")j" + layer +
                              R"j(", "units": [1], "count": 3, "crop_size": 8})j"))["samples"];
  };
  const Output map = found("patches"), tokens = found("tokens");
  for (const char* name : {"activation", "place", "positions", "values", "boxes", "crops"})
    EXPECT_TRUE(tokens.tensors.at(name).equal(map.tensors.at(name))) << name;
  // A patch sees itself.
  const at::Tensor box = map.tensors.at("boxes")[0][0][0];
  EXPECT_EQ((box[2] - box[0]).item<std::int64_t>(), 4);
  EXPECT_EQ((box[3] - box[1]).item<std::int64_t>(), 4);
}

TEST(TopActivations, RefusesAUnitThatIsNotThere) {
  Harness harness;
  harness.model("model", network()).dataset("data", images(4));
  EXPECT_THROW(harness.run(*make<TopActivations>(R"j({"layer": "relu", "units": [2]})j")), Error);
}

}  // namespace
}  // namespace microtome::testing
