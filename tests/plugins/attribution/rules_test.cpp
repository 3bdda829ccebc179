// DeepLIFT and LRP on scripted networks whose answers are known, or that module hooks get wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gradient/plain_gradient.h"
#include "rules/deep_lift.h"
#include "rules/lrp.h"
#include "tests/plugins/attribution/on_network.h"

namespace microtome::testing {
namespace {

using ::testing::HasSubstr;

at::Tensor values(const Output& output) { return output.tensors.at("attributions"); }
double largest_delta(const Output& output, const char* name = "completeness_delta") {
  return output.tensors.at(name).abs().max().item<double>();
}

constexpr const char* first_class = R"j({"target": "class(0)"})j";
constexpr const char* reveal_cancel = R"j({"target": "class(0)", "rule": "reveal_cancel"})j";

/// Functional ReLUs, one module of them used twice, ReLU6, and an addition of branches.
torch::jit::Module residual() {
  auto relu = scripted("def forward(self, x):\n  return torch.relu(x)\n");
  auto head = scripted("def forward(self, x):\n  return torch.linear(x, self.weight, self.bias)\n",
                       {}, {{"weight", at::randn({3, 8})}, {"bias", at::randn({3})}});
  return scripted(
      "def forward(self, x):\n"
      "  y = self.relu.forward(self.norm.forward(self.one.forward(x)))\n"
      "  z = torch.relu(self.two.forward(y))\n"
      "  z = self.relu.forward(z + y)\n"
      "  z = torch.hardtanh(self.three.forward(z), 0., 6.)\n"
      "  z = torch.max_pool2d(z, [3, 3], [2, 2])\n"
      "  z = torch.adaptive_avg_pool2d(z, [1, 1])\n"
      "  return self.head.forward(torch.flatten(z, 1))\n",
      {{"one", convolution(2, 4, true)},
       {"norm", norm(4)},
       {"two", convolution(4, 4, true)},
       {"three", convolution(4, 8, false)},
       {"relu", relu},
       {"head", head}});
}

TEST(DeepLift, SumsToTheDifferenceThroughFunctionalReluBranchesAndOverlappingMaxima) {
  at::manual_seed(1);
  const auto network = residual();
  const at::Tensor x = at::randn({3, 2, 9, 9});
  for (const char* parameters : {first_class, reveal_cancel}) {
    const Output output = attribute<attribution::DeepLift>(network, parameters, x);
    const double scale = values(output).abs().flatten(1).sum(1).max().item<double>();
    EXPECT_LE(largest_delta(output), 1e-5 * scale) << parameters;
  }
  // Hooks on modules miss the functional ones, and quietly give input x gradient.
  const at::Tensor product =
      values(attribute<attribution::InputXGradient>(network, first_class, x));
  const at::Tensor ours = values(attribute<attribution::DeepLift>(network, first_class, x));
  EXPECT_GT((ours - product).abs().max().item<double>(), 0.05 * ours.abs().max().item<double>());
}

TEST(DeepLift, TwoFactorsGetTheMeanOfEachOther) {
  const auto network = scripted(
      "def forward(self, x):\n"
      "  a = x[:, 0:1]\n  b = x[:, 1:2]\n  c = x[:, 2:3]\n"
      "  return a * b + a / (c * c + 1)\n");
  const at::Tensor x = at::randn({4, 3});
  const Output output = attribute<attribution::DeepLift>(
      network, R"j({"target": "class(0)", "baseline": "noise:1"})j", x);
  EXPECT_LE(largest_delta(output), 1e-5);
  // From zero: a b is shared equally; 1 / (c^2 + 1) falls from 1.
  const at::Tensor from_zero = values(attribute<attribution::DeepLift>(network, first_class, x));
  const at::Tensor a = x.select(1, 0), b = x.select(1, 1), c = x.select(1, 2);
  const at::Tensor inverse = 1 / (c * c + 1);
  const at::Tensor expected =
      at::stack({a * b / 2 + a * (inverse + 1) / 2, a * b / 2, a / 2 * (inverse - 1)}, 1);
  EXPECT_TRUE(at::allclose(from_zero, expected, 1e-4, 1e-5));
}

TEST(DeepLift, SumsToTheDifferenceThroughAttention) {
  at::manual_seed(2);
  const auto network = scripted(
      "def forward(self, x):\n"
      "  q = torch.matmul(x, self.q)\n  k = torch.matmul(x, self.k)\n"
      "  a = torch.softmax(torch.matmul(q, k.transpose(1, 2)), -1)\n"
      "  return torch.matmul(a, x).mean(1)\n",
      {}, {{"q", at::randn({5, 4})}, {"k", at::randn({5, 4})}});
  const Output output =
      attribute<attribution::DeepLift>(network, first_class, at::randn({3, 6, 5}));
  EXPECT_LE(largest_delta(output), 1e-4);
}

TEST(DeepLift, RevealCancelSeesBothSidesOfAMinimum) {
  // min(a, b) = a - relu(a - b): the paper's example (section 3.5.3).
  const auto network = scripted(
      "def forward(self, x):\n"
      "  h = torch.relu(torch.linear(x, self.weight))\n  return x[:, 0:1] - h\n",
      {}, {{"weight", at::tensor({1.0F, -1.0F}).view({1, 2})}});
  const at::Tensor x = at::tensor({2.0F, 5.0F, 7.0F, 3.0F, 1.0F, 1.5F}).view({3, 2});
  const at::Tensor half = x.amin(1, true).div(2).expand({3, 2});
  EXPECT_TRUE(at::allclose(values(attribute<attribution::DeepLift>(network, reveal_cancel, x)),
                           half, 1e-5, 1e-5));
  // Rescale gives the smaller one all.
  const at::Tensor rescale = values(attribute<attribution::DeepLift>(network, first_class, x));
  EXPECT_TRUE(at::allclose(rescale.sum(1), x.amin(1), 1e-5, 1e-5));
  EXPECT_NEAR(rescale[1][1].item<double>(), 3, 1e-5);
  EXPECT_NEAR(rescale[1][0].item<double>(), 0, 1e-5);
}

TEST(DeepLift, OfShapleyIsTheMeanOverReferences) {
  at::manual_seed(3);
  const auto network = residual();
  const at::Tensor x = at::randn({4, 2, 9, 9});
  const Output output = attribute<attribution::DeepLiftShap>(network, first_class, x);
  EXPECT_LE(largest_delta(output), 1e-4 * values(output).abs().sum().item<double>());
}

TEST(DeepLift, ThePlanCountsReferencesAndWhatRulesHold) {
  ModelInput input;
  input.size = {2, 5, 5};
  const auto module =
      scripted("def forward(self, x):\n  return torch.relu(self.one.forward(x)).mean([2, 3])\n",
               {{"one", convolution(2, 6, true)}});
  const auto network = std::make_shared<host::ProgramModel>(
      "m", host::torchscript::Lowering(module).run(), input, at::kCPU);
  Harness harness;
  harness.model("model", network)
      .dataset("data", std::make_shared<MemoryDataset>(
                           sample_names(3), NamedTensors{{"x", at::randn({3, 2, 5, 5})}}));
  constexpr double largest = 6 * 5 * 5 * 4;
  const Plan deep_lift = harness.plan(*make<attribution::DeepLift>(first_class));
  EXPECT_EQ(deep_lift.rows(3), 6);
  EXPECT_EQ(deep_lift.bytes_per_sample, 16 * largest);
  const Plan lrp = harness.plan(*make<attribution::Lrp>(first_class));
  EXPECT_EQ(lrp.rows(3), 3);
  EXPECT_EQ(lrp.bytes_per_sample, 8 * largest);
}

TEST(DeepLift, WhatHasNoRuleIsAnErrorThatNamesIt) {
  const auto network =
      scripted("def forward(self, x):\n  return torch.layer_norm(torch.relu(x), [3])\n");
  try {
    attribute<attribution::DeepLift>(network, first_class, at::randn({2, 3}));
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("deep_lift has no rule for aten::layer_norm"));
  }
  EXPECT_THROW(attribute<attribution::DeepLift>(scripted("def forward(self, x):\n  return x * 2\n"),
                                                R"j({"target": {"of": "class(0)", "on": "prob"}})j",
                                                at::randn({2, 3})),
               Error);
}

/// Without biases, so that relevance has nowhere else to go.
torch::jit::Module unbiased() {
  auto head = scripted("def forward(self, x):\n  return torch.linear(x, self.weight)\n", {},
                       {{"weight", at::randn({3, 4})}});
  return scripted(
      "def forward(self, x):\n"
      "  y = torch.relu(self.one.forward(x))\n"
      "  y = y + torch.relu(self.two.forward(y))\n"
      "  y = torch.max_pool2d(y, [3, 3], [2, 2])\n"
      "  y = torch.cat([y[:, 0:2], y[:, 2:4]], 1)\n"
      "  return self.head.forward(y.mean([2, 3]))\n",
      {{"one", convolution(2, 4, false)}, {"two", convolution(4, 4, false)}, {"head", head}});
}

TEST(Lrp, ConservesRelevanceWithoutBiasesWhenEpsilonVanishes) {
  at::manual_seed(4);
  const auto network = unbiased();
  const at::Tensor x = at::rand({3, 2, 9, 9}) - 0.3;
  for (const std::string rules :
       {R"("first": "epsilon", "convolution": "epsilon")", R"("first": "flat")",
        R"("first": "z_box", "low": -1, "high": 1)", R"("first": "gamma", "convolution": "gamma")",
        R"("first": "z_plus", "dense": "gamma")",
        R"("first": "alpha_beta", "convolution": "alpha_beta")"}) {
    const Output output = attribute<attribution::Lrp>(
        network, R"j({"target": "class(0)", "epsilon": 1e-12, )j" + rules + "}", x);
    const double scale = output.tensors.at("score").abs().max().item<double>();
    EXPECT_LE(largest_delta(output, "conservation_delta"), 2e-3 * scale) << rules;
  }
}

TEST(Lrp, EpsilonOfAPiecewiseLinearNetworkIsInputTimesGradient) {
  at::manual_seed(5);
  const auto network = unbiased();
  const at::Tensor x = at::randn({3, 2, 9, 9});
  const at::Tensor relevance = values(attribute<attribution::Lrp>(
      network,
      R"j({"target": "class(0)", "epsilon": 1e-12, "first": "epsilon", "convolution": "epsilon"})j",
      x));
  const at::Tensor product =
      values(attribute<attribution::InputXGradient>(network, first_class, x));
  EXPECT_TRUE(at::allclose(relevance, product, 1e-3, 1e-3 * product.abs().max().item<double>()));
}

TEST(Lrp, OfOneLayerByHand) {
  const auto network =
      scripted("def forward(self, x):\n  return torch.linear(x, self.w, self.b)\n", {},
               {{"w", at::tensor({2.0F, -1.0F, 1.0F}).view({1, 3})}, {"b", at::tensor({-0.5F})}});
  // Contributions 2, -2, -3 and the bias -0.5: z = -3.5.
  const at::Tensor x = at::tensor({1.0F, 2.0F, -3.0F}).view({1, 3});
  const auto of = [&](const std::string& rules) {
    return values(attribute<attribution::Lrp>(
        network, R"j({"target": "class(0)", "epsilon": 0, )j" + rules + "}", x));
  };
  const auto row = [](std::vector<float> numbers) { return at::tensor(numbers).view({1, 3}); };
  EXPECT_TRUE(at::allclose(of(R"("first": "epsilon")"), row({2, -2, -3})));
  EXPECT_TRUE(at::allclose(of(R"("first": "z_plus")"), row({-3.5, 0, 0})));
  EXPECT_TRUE(at::allclose(of(R"("first": "flat")"), row({-3.5 / 3, -3.5 / 3, -3.5 / 3})));
  // 2 * (2 / 2) - 1 * (-2, -3) / -5.5, times -3.5.
  EXPECT_TRUE(
      at::allclose(of(R"("first": "alpha_beta")"), row({-7, 3.5 * 2 / 5.5, 3.5 * 3 / 5.5})));
  // Negative contributions are favoured, as the output is negative: 2, -3, -4.5, bias -0.75.
  EXPECT_TRUE(at::allclose(of(R"("first": "gamma", "gamma": 0.5)"),
                           row({-3.5 * 2 / -6.25, -3.5 * -3 / -6.25, -3.5 * -4.5 / -6.25})));
  // x w - low w+ - high w-, low -4 and high 4: 2 + 8, -2 + 4, -3 + 4: 10, 2, 1 of 13.
  EXPECT_TRUE(at::allclose(of(R"("first": "z_box", "low": -4, "high": 4)"),
                           row({-3.5 * 10 / 13, -3.5 * 2 / 13, -3.5 * 1 / 13})));
}

TEST(Lrp, IsTheSameWhenBatchNormIsMergedBefore) {
  at::manual_seed(6);
  const auto one = convolution(2, 4, true);
  const auto normed = norm(4);
  const at::Tensor scale =
      normed.attr("weight").toTensor() / (normed.attr("running_var").toTensor() + 1e-5).sqrt();
  const at::Tensor weight = one.attr("weight").toTensor() * scale.view({-1, 1, 1, 1});
  const at::Tensor bias =
      (one.attr("bias").toTensor() - normed.attr("running_mean").toTensor()) * scale +
      normed.attr("bias").toTensor();
  const auto merged =
      scripted("def forward(self, x):\n  return torch.conv2d(x, self.w, self.b, [1, 1], [1, 1])\n",
               {}, {{"w", weight}, {"b", bias}});
  const auto second = convolution(4, 3, true);
  const char* tail = "  return self.two.forward(torch.relu(y)).mean([2, 3])\n";
  const auto plain =
      scripted(std::string("def forward(self, x):\n  y = self.one.forward(x)\n") + tail,
               {{"one", merged}, {"two", second}});
  const auto with_norm = scripted(
      std::string("def forward(self, x):\n  y = self.norm.forward(self.one.forward(x))\n") + tail,
      {{"one", one}, {"norm", normed}, {"two", second}});
  const at::Tensor x = at::randn({2, 2, 6, 6});
  const char* parameters =
      R"j({"target": "class(0)", "first": "alpha_beta", "convolution": "gamma"})j";
  const at::Tensor a = values(attribute<attribution::Lrp>(plain, parameters, x));
  const at::Tensor b = values(attribute<attribution::Lrp>(with_norm, parameters, x));
  EXPECT_TRUE(at::allclose(a, b, 1e-3, 1e-4 * a.abs().max().item<double>()));
}

TEST(Lrp, WhatHasNoRuleIsAnErrorThatNamesIt) {
  for (const char* source : {"def forward(self, x):\n  return torch.softmax(x, 1)\n",
                             "def forward(self, x):\n  return x * x\n"}) {
    try {
      attribute<attribution::Lrp>(scripted(source), first_class, at::randn({2, 3}));
      FAIL() << source;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("lrp")) << source;
      EXPECT_THAT(error.what(), HasSubstr("aten::")) << source;
    }
  }
}

}  // namespace
}  // namespace microtome::testing
