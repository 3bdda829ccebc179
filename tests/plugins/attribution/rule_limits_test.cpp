// Rules where a slope or a value is infinite: what they give is the limit, so that attributions
// still sum to the score's difference.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "rules/deep_lift.h"
#include "rules/lrp.h"
#include "tests/plugins/attribution/on_network.h"

namespace microtome::testing {
namespace {

/// A function behind a ReLU, as a network writes it and in plain ATen.
struct Function {
  std::string source;
  std::function<at::Tensor(const at::Tensor&)> value;
};

const std::vector<Function>& functions() {
  static const std::vector<Function> all = {
      {"torch.sqrt(h)", [](const at::Tensor& h) { return h.sqrt(); }},
      {"torch.pow(h, 0.5)", [](const at::Tensor& h) { return h.pow(0.5); }},
      {"torch.pow(h, 0.3)", [](const at::Tensor& h) { return h.pow(0.3); }},
      {"torch.tanh(torch.pow(h, -1))", [](const at::Tensor& h) { return h.pow(-1).tanh(); }},
      {"torch.relu(torch.log(h))", [](const at::Tensor& h) { return h.log().relu(); }},
      {"torch.sigmoid(torch.log(h))", [](const at::Tensor& h) { return h.log().sigmoid(); }},
      {"torch.sigmoid(-torch.reciprocal(h))",
       [](const at::Tensor& h) { return h.reciprocal().neg().sigmoid(); }},
      {"torch.exp(-torch.rsqrt(h))", [](const at::Tensor& h) { return h.rsqrt().neg().exp(); }},
      {"torch.tanh((h * 0.2 + 1) / h)",
       [](const at::Tensor& h) { return ((h * 0.2 + 1) / h).tanh(); }},
      {"torch.tanh(torch.div(2 - x[:, 0:1], h))", {}},
      {"torch.norm(h, 2, [1], True) * torch.ones_like(h)",
       [](const at::Tensor& h) {
         return h.square().sum(1, true).sqrt().expand_as(h).contiguous();
       }},
      {"torch.linalg_vector_norm(h, 2, [1]).unsqueeze(1) * torch.ones_like(h)",
       [](const at::Tensor& h) {
         return h.square().sum(1, true).sqrt().expand_as(h).contiguous();
       }},
      {"h / (torch.norm(h, 2, [1], True) + 0.1)",
       [](const at::Tensor& h) { return h / (h.square().sum(1, true).sqrt() + 0.1); }},
      {"torch.sqrt((h * h).sum(1, keepdim=True)) * torch.ones_like(h)",
       [](const at::Tensor& h) { return (h * h).sum(1, true).sqrt().expand_as(h).contiguous(); }},
  };
  return all;
}

class Behind {
 public:
  explicit Behind(Function function)
      : function_(std::move(function)),
        first_(at::randn({6, 4})),
        bias_(at::tensor({-0.5F, 0.5F, -1.0F, 1.0F, 0.0F, -0.2F})),
        last_(at::randn({3, 6})) {}
  torch::jit::Module network() const {
    return scripted(
        "def forward(self, x):\n"
        "  h = torch.relu(torch.linear(x, self.first, self.bias))\n"
        "  return torch.linear(" +
            function_.source + ", self.last)\n",
        {}, {{"first", first_}, {"bias", bias_}, {"last", last_}});
  }
  at::Tensor score(const at::Tensor& x) const {
    const at::Tensor h = at::linear(x, first_, bias_).relu();
    const at::Tensor made =
        function_.value ? function_.value(h) : ((2 - x.narrow(1, 0, 1)) / h).tanh();
    return at::linear(made, last_).select(1, 1);
  }

 private:
  Function function_;
  at::Tensor first_, bias_, last_;
};

constexpr const char* second_class = R"j({"target": "class(1)"})j";

TEST(RuleLimits, RescaledMultipliersSumToTheDifferenceWhereSlopesAreInfinite) {
  at::manual_seed(11);
  // With and without a change behind each unit; the reference is zero.
  const at::Tensor x = at::randn({16, 4});
  for (const Function& function : functions()) {
    const Behind network(function);
    const at::Tensor expected = network.score(x) - network.score(at::zeros_like(x));
    const at::Tensor sums = attribute<attribution::DeepLift>(network.network(), second_class, x)
                                .tensors.at("attributions")
                                .sum(1);
    EXPECT_TRUE(at::allclose(sums, expected, 1e-4, 1e-4)) << function.source << "\n"
                                                          << at::stack({sums, expected}, 1);
  }
}

TEST(RuleLimits, RevealCancelSumsToTheDifferenceBehindARoot) {
  at::manual_seed(12);
  const at::Tensor x = at::randn({16, 4});
  for (std::size_t i = 0; i < 3; ++i) {
    const Behind network(functions()[i]);
    const at::Tensor expected = network.score(x) - network.score(at::zeros_like(x));
    const at::Tensor sums =
        attribute<attribution::DeepLift>(network.network(),
                                         R"j({"target": "class(1)", "rule": "reveal_cancel"})j", x)
            .tensors.at("attributions")
            .sum(1);
    EXPECT_TRUE(at::allclose(sums, expected, 1e-4, 1e-4)) << functions()[i].source;
  }
}

TEST(RuleLimits, ATinyDifferenceUnderARootIsNotTakenForNone) {
  // The slope at 1e-8 is half the root's own difference.
  const auto network = scripted("def forward(self, x):\n  return torch.sqrt(x)\n");
  const at::Tensor x = at::tensor({1e-8F, 4e-8F, 0.0F}).view({3, 1});
  const at::Tensor values =
      attribute<attribution::DeepLift>(network, R"j({"target": "class(0)"})j", x)
          .tensors.at("attributions");
  EXPECT_TRUE(at::allclose(values, at::tensor({1e-4F, 2e-4F, 0.0F}).view({3, 1}), 1e-3, 0));
}

TEST(RuleLimits, MaskedPlacesOfASoftmaxGetNothing) {
  at::manual_seed(13);
  constexpr float none = -std::numeric_limits<float>::infinity();
  const at::Tensor mask = at::tensor({0.0F, none, 0.0F, none, 0.0F});
  const at::Tensor last = at::randn({2, 5});
  const auto network = scripted(
      "def forward(self, x):\n"
      "  return torch.linear(torch.softmax(x + self.mask, 1), self.last)\n",
      {}, {{"mask", mask}, {"last", last}});
  const at::Tensor x = at::randn({6, 5});
  const auto score = [&](const at::Tensor& of) {
    return at::linear((of + mask).softmax(1), last).select(1, 1);
  };
  const at::Tensor values =
      attribute<attribution::DeepLift>(network, second_class, x).tensors.at("attributions");
  EXPECT_TRUE(at::allclose(values.sum(1), score(x) - score(at::zeros_like(x)), 1e-4, 1e-5));
  EXPECT_TRUE(values.select(1, 1).equal(at::zeros({6})));
  EXPECT_TRUE(values.select(1, 3).equal(at::zeros({6})));
}

TEST(RuleLimits, AnInfiniteTermOfASumTakesAllRelevance) {
  // Where x0 is below 0 the sum is infinite.
  const auto network = scripted(
      "def forward(self, x):\n"
      "  a = torch.reciprocal(torch.relu(x[:, 0:1]))\n"
      "  return torch.tanh(a + x[:, 1:2]) * 3\n");
  const at::Tensor x = at::tensor({-1.0F, 0.5F, 2.0F, 1.5F}).view({2, 2});
  const at::Tensor values =
      attribute<attribution::Lrp>(network, R"j({"target": "class(0)", "epsilon": 0})j", x)
          .tensors.at("attributions");
  // Of 3 tanh(infinity) = 3 the infinite term has all; of 3 tanh(0.5 + 1.5) each its share.
  const float score = 3 * std::tanh(2.0F);
  const at::Tensor expected = at::tensor({3.0F, 0.0F, score * 0.25F, score * 0.75F}).view({2, 2});
  EXPECT_TRUE(at::allclose(values, expected, 1e-5, 1e-5)) << values;
}

TEST(RuleLimits, ContributionsThatAreLostInRoundingAreRefused) {
  // x / |x| with a denominator of 1e-12 at the baseline of zeros: parts of 1e12 that cancel.
  const auto network = scripted(
      "def forward(self, x):\n"
      "  return torch.div(x, torch.norm(x, 2, [1], True).clamp_min(1e-12).expand_as(x))\n");
  at::manual_seed(14);
  const at::Tensor x = at::randn({4, 5});
  EXPECT_THAT([&] { attribute<attribution::DeepLift>(network, R"j({"target": "class(0)"})j", x); },
              ::testing::ThrowsMessage<Error>(::testing::AllOf(::testing::HasSubstr("sample \"s"),
                                                               ::testing::HasSubstr("rounding"))));
  // Away from it the values are right.
  const at::Tensor values = attribute<attribution::DeepLift>(
                                network, R"j({"target": "class(0)", "baseline": "noise:1"})j", x)
                                .tensors.at("completeness_delta");
  EXPECT_LE(values.abs().max().item<double>(), 1e-4);
}

TEST(RuleLimits, WhatHasNoLimitIsRefusedWithTheSampleAndTheStep) {
  // The score itself is -infinity at the reference.
  const auto network = scripted("def forward(self, x):\n  return torch.log(torch.relu(x))\n");
  try {
    attribute<attribution::DeepLift>(network, R"j({"target": "class(0)"})j",
                                     at::tensor({1.0F, 2.0F}).view({2, 1}));
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                ::testing::AllOf(::testing::HasSubstr("sample \"s0\""),
                                 ::testing::HasSubstr("score"), ::testing::HasSubstr("infinite")));
  }
}

}  // namespace
}  // namespace microtome::testing
