// Attributions of what is not finite are refused with the sample and the step; pictures are of the
// samples that they stand beside.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "gradient/plain_gradient.h"
#include "layers/conductance.h"
#include "metrics/max_sensitivity.h"
#include "paths/discretized_integrated_gradients.h"
#include "paths/expected_gradients.h"
#include "paths/integrated_gradients.h"
#include "perturbation/shapley.h"
#include "rules/deep_lift.h"
#include "tests/plugins/attribution/on_network.h"

namespace microtome::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr const char* first_class = R"j({"target": "class(0)"})j";

TEST(NotFinite, TheBaselinesScoreIsNamed) {
  // log of 0 at the baseline of zeros.
  const auto network = scripted("def forward(self, x):\n  return torch.log(torch.abs(x))\n");
  const at::Tensor x = at::tensor({1.0F, 2.0F, 3.0F}).view({3, 1});
  const auto refused = ThrowsMessage<Error>(
      AllOf(HasSubstr("sample \"s0\""), HasSubstr("score of the baseline is infinite")));
  EXPECT_THAT([&] { attribute<attribution::IntegratedGradients>(network, first_class, x); },
              refused);
  EXPECT_THAT([&] { attribute<attribution::DeepLift>(network, first_class, x); }, refused);
  EXPECT_THAT(
      [&] { attribute<attribution::DiscretizedIntegratedGradients>(network, first_class, x); },
      refused);
  EXPECT_THAT(
      [&] {
        attribute<attribution::KernelShap>(
            network, R"j({"target": "class(0)", "features": "unit", "coalitions": 4})j", x);
      },
      ThrowsMessage<Error>(AllOf(HasSubstr("sample \"s0\""), HasSubstr("infinite"))));
}

TEST(NotFinite, ASampleOfTheBackgroundIsNamed) {
  // The sum that the score divides by is 0 in one sample of the background alone.
  const auto network = scripted("def forward(self, x):\n  return x / x.sum(1, keepdim=True)\n");
  const at::Tensor rows = at::tensor({1.0F, 2.0F, 3.0F, 1.0F}).view({2, 2});
  const at::Tensor others = at::tensor({2.0F, 1.0F, 1.0F, -1.0F}).view({2, 2});
  const auto run = [&](const Stage& method) {
    Harness()
        .model("model", shared_model(network))
        .dataset("data",
                 std::make_shared<MemoryDataset>(sample_names(2), NamedTensors{{"x", rows}}))
        .dataset("background",
                 std::make_shared<MemoryDataset>(std::vector<std::string>{"even", "balanced"},
                                                 NamedTensors{{"x", others}}))
        .run(method);
  };
  const auto refused = ThrowsMessage<Error>(
      HasSubstr("the score of the background's sample \"balanced\" is infinite"));
  EXPECT_THAT([&] { run(*make<attribution::ExpectedGradients>(first_class)); }, refused);
  EXPECT_THAT([&] { run(*make<attribution::DeepLiftShap>(first_class)); }, refused);
}

TEST(NotFinite, TheSampleIsNotTheFirstOfTheBatch) {
  const auto network = scripted("def forward(self, x):\n  return torch.sqrt(x)\n");
  const at::Tensor x = at::tensor({1.0F, 2.0F, 0.0F, 3.0F}).view({4, 1});
  EXPECT_THAT([&] { attribute<attribution::Saliency>(network, first_class, x); },
              ThrowsMessage<Error>(AllOf(HasSubstr("sample \"s2\""), HasSubstr("gradient"))));
}

TEST(NotFinite, TheScoreOfTheSampleIsNamed) {
  const auto network = scripted("def forward(self, x):\n  return torch.log(x)\n");
  const at::Tensor x = at::tensor({1.0F, -2.0F, 3.0F}).view({3, 1});
  EXPECT_THAT([&] { attribute<attribution::Saliency>(network, first_class, x); },
              ThrowsMessage<Error>(
                  AllOf(HasSubstr("sample \"s1\""), HasSubstr("score"), HasSubstr("NaN"))));
}

TEST(Gradients, ThatNothingLetsThroughAreNotZeros) {
  const at::Tensor x = at::rand({3, 2});
  const auto refused = ThrowsMessage<Error>(
      AllOf(HasSubstr("no gradient flows from the target \"class(0)\" to \"input\""),
            HasSubstr("detach()")));
  for (const char* line : {"  return x.detach() * 2\n", "  return (x > 0.5).float()\n"}) {
    const auto network = scripted(std::string("def forward(self, x):\n") + line);
    EXPECT_THAT([&] { attribute<attribution::Saliency>(network, first_class, x); }, refused);
    EXPECT_THAT([&] { attribute<attribution::IntegratedGradients>(network, first_class, x); },
                refused);
    EXPECT_THAT([&] { attribute<attribution::DeepLift>(network, first_class, x); }, refused);
  }
  // What the target does not depend on has an effect of zero.
  const auto beside = scripted(
      "def forward(self, x):\n  a = self.a.forward(x)\n  b = self.b.forward(x)\n  return b + 0\n",
      {{"a", scripted("def forward(self, x):\n  return x * 2\n")},
       {"b", scripted("def forward(self, x):\n  return x * 3\n")}});
  EXPECT_TRUE(attribute<attribution::Saliency>(beside, R"j({"target": "class(0)", "at": "a"})j", x)
                  .tensors.at("attributions")
                  .equal(at::zeros({3, 2})));
}

TEST(Baselines, OfTokensAreZerosThereWhateverOtherInputsThereAre) {
  at::manual_seed(6);
  const at::Tensor table = at::randn({5, 3}),
                   ids = at::tensor({1, 2, 3, 4}, at::kLong).view({2, 2});
  const auto embed =
      scripted("def forward(self, ids):\n  return torch.embedding(self.table, ids)\n", {},
               {{"table", table}});
  const auto attributed = [&](const at::Tensor& mask) {
    const auto model = shared_model(
        scripted("def forward(self, ids, mask):\n"
                 "  return torch.tanh(self.e.forward(ids) * mask.unsqueeze(2)).sum(1)\n",
                 {{"e", embed}}));
    const auto data = std::make_shared<MemoryDataset>(sample_names(2),
                                                      NamedTensors{{"ids", ids}, {"mask", mask}});
    return Harness()
        .model("model", model)
        .dataset("data", data)
        .run(*make<attribution::IntegratedGradients>(R"j({"target": "class(0)", "at": "e"})j"))
        .at("attributions")
        .tensors.at("attributions");
  };
  const at::Tensor expected = attributed(at::ones({2, 2}, at::kLong));
  EXPECT_GT(expected.abs().max().item<float>(), 0.1F);
  EXPECT_TRUE(at::allclose(attributed(at::ones({2, 2})), expected));
}

TEST(Pictures, AreOfTheInputThatTheHookPointSees) {
  const at::Tensor left = at::rand({3, 3, 6, 6}), right = at::rand({3, 3, 6, 6});
  const auto model = shared_model(
      scripted("def forward(self, left, right):\n"
               "  return (self.a.forward(left) - self.b.forward(right)).mean([2, 3])\n",
               {{"a", scripted("def forward(self, x):\n  return x * 2\n")},
                {"b", scripted("def forward(self, x):\n  return x * 3\n")}}));
  const auto data = std::make_shared<MemoryDataset>(sample_names(3),
                                                    NamedTensors{{"left", left}, {"right", right}});
  data->mark_image("left");
  data->mark_image("right");
  const auto images = [&](const std::string& at) {
    return Harness()
        .model("model", model)
        .dataset("data", data)
        .run(*make<attribution::Saliency>(R"j({"target": "class(0)", "at": ")j" + at + "\"}"))
        .at("attributions")
        .tensors.at("images");
  };
  EXPECT_TRUE(images("a").equal(left));
  EXPECT_TRUE(images("b").equal(right));
  EXPECT_TRUE(images("input.right").equal(right));
}

/// A network that takes the mean of each channel.
torch::jit::Module channel_means() {
  return scripted("def forward(self, x):\n  return x.mean([2, 3])\n");
}

TEST(Pictures, OfNormalisedImagesAreTheirPixels) {
  at::manual_seed(2);
  const at::Tensor pixels = at::rand({3, 3, 6, 6});
  const std::vector<double> mean = {0.5, 0.25, 0.75}, deviation = {0.2, 0.3, 0.4};
  const auto by_channel = [](const std::vector<double>& numbers) {
    return at::tensor(numbers, at::kFloat).view({3, 1, 1});
  };
  auto data = std::make_shared<MemoryDataset>(
      sample_names(3), NamedTensors{{"x", (pixels - by_channel(mean)) / by_channel(deviation)}});
  data->mark_image("x", mean, deviation);
  const Output output = Harness()
                            .model("model", shared_model(channel_means()))
                            .dataset("data", data)
                            .run(*make<attribution::Saliency>(first_class))
                            .at("attributions");
  const at::Tensor& images = output.tensors.at("images");
  ASSERT_EQ(images.sizes(), pixels.sizes());
  EXPECT_LT((images - pixels).abs().max().item<float>(), 1e-6F);
}

Output saliency_of(const NamedTensors& fields, const std::string& image, std::int64_t chunk) {
  const std::int64_t count = fields.begin()->second.size(0);
  auto data = std::make_shared<MemoryDataset>(sample_names(count), fields);
  data->mark_image(image);
  return Harness()
      .model("model", shared_model(channel_means()))
      .dataset("data", data)
      .chunk_size(chunk)
      .run(*make<attribution::Saliency>(first_class))
      .at("attributions");
}

TEST(Pictures, EachShownSampleHasItsImageWhateverTheChunk) {
  at::manual_seed(1);
  for (const std::int64_t count : {1, 5, 12, 20}) {
    const at::Tensor x = at::rand({count, 3, 6, 6});
    for (const std::int64_t chunk : {1, 3, 8, 32}) {
      const Output output = saliency_of({{"x", x}}, "x", chunk);
      // The report shows twelve at most.
      const at::Tensor expected = x.slice(0, 0, 12);
      ASSERT_EQ(output.tensors.at("images").sizes(), expected.sizes()) << count << " " << chunk;
      EXPECT_TRUE(output.tensors.at("images").equal(expected)) << count << " " << chunk;
      EXPECT_EQ(output.views.at(0).options.at("images"), Value("images"));
    }
  }
}

}  // namespace
}  // namespace microtome::testing
