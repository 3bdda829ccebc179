// What PyTorch decides by its state, resolved as in evaluation with gradients; and what is random.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/host/model/same_as_original.h"

namespace microtome::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using torch::jit::Module;

TEST(ScriptedEvaluation, GradientsAreOnAndAutocastIsOff) {
  const Module module = scripted(
      "def forward(self, x):\n  if not torch.is_grad_enabled():\n    x = x * 100\n"
      "  if torch.is_autocast_enabled():\n    x = x * 10\n  if self.weight.requires_grad:\n"
      "    x = x + 1\n  return x * 2\n",
      {}, {{"weight", at::ones({2})}});
  const at::Tensor x = at::randn({2, 3});
  const auto model = model_of(module);
  EXPECT_TRUE(model.run(named_inputs(model, {x}), {}).output().equal((x + 1) * 2));
}

TEST(ScriptedEvaluation, NoGradientGoesThroughWhatIsComputedWithoutGradients) {
  const auto model = model_of(scripted(
      "def forward(self, x):\n  y = x * 3\n  torch.set_grad_enabled(False)\n"
      "  z = torch.exp(y)\n  z.add_(1)\n  torch.set_grad_enabled(True)\n  return y * z + z\n"));
  const at::Tensor x = at::randn({2, 3});
  Pass pass;
  pass.differentiate = {parse_hook_point("input")};
  pass.capture = {parse_hook_point("/exp")};
  const auto recording = model.run(named_inputs(model, {x}), pass);
  const at::Tensor z = (x * 3).exp() + 1;
  EXPECT_TRUE(at::allclose(recording.output(), x * 3 * z + z));
  EXPECT_TRUE(at::allclose(recording.captured[0], (x * 3).exp()));
  EXPECT_TRUE(at::allclose(recording.gradients(recording.output().sum())[0], 3 * z));
}

TEST(ScriptedEvaluation, PartsThatAreTakenWithoutGradientsHaveNone) {
  const auto model = model_of(scripted(
      "def forward(self, x):\n  torch.set_grad_enabled(False)\n  parts = x.chunk(2, 1)\n"
      "  torch.set_grad_enabled(True)\n  a, b = parts\n  return x + torch.cat([b, a], 1)\n"));
  const at::Tensor x = at::randn({2, 4});
  Pass pass;
  pass.differentiate = {parse_hook_point("input")};
  const auto recording = model.run(named_inputs(model, {x}), pass);
  EXPECT_TRUE(recording.gradients(recording.output().sum())[0].equal(at::ones({2, 4})));
}

TEST(ScriptedEvaluation, WritingIntoATensorFromOutsideWithoutGradientsIsRefused) {
  EXPECT_THAT(refusal(scripted("def forward(self, x):\n  y = x * 3\n"
                               "  torch.set_grad_enabled(False)\n  y.mul_(2)\n"
                               "  torch.set_grad_enabled(True)\n  return y\n")),
              HasSubstr("Write into a copy"));
}

TEST(ScriptedEvaluation, DropoutIsDecidedByItsArguments) {
  expect_same(scripted("def forward(self, x):\n  y = torch.dropout(x, 0.0, True)\n"
                       "  y = y + torch.alpha_dropout(x, 0.5, False)\n  y = y + torch.rrelu(x)\n"
                       "  y = y + torch.feature_dropout(x, 0.3, False)\n"
                       "  z = x * 1\n  torch.dropout_(z, 0.5, False)\n  return y * z\n"),
              {at::randn({2, 3})});
  const std::vector<std::string> random = {"torch.dropout(x, 0.5, True)",
                                           "torch.alpha_dropout(x, 0.5, True)",
                                           "torch.feature_alpha_dropout(x, 0.5, True)",
                                           "torch.dropout(x, float(x.size(0)), True)",
                                           "torch.rrelu(x, 0.1, 0.3, True)",
                                           "torch.bernoulli(x)",
                                           "torch.rand_like(x)",
                                           "torch.randn(2)",
                                           "torch.randint(3, [2])",
                                           "torch.normal(x, 1.0)",
                                           "torch.multinomial(x, 1)",
                                           "(x * 1).uniform_()",
                                           "(x * 1).normal_()",
                                           "(x * 1).exponential_()",
                                           "(x * 1).bernoulli_(0.5)",
                                           "torch.poisson(x)"};
  for (const std::string& call : random) {
    EXPECT_THAT(refusal(scripted("def forward(self, x):\n  return x + " + call + "\n")),
                AllOf(HasSubstr("random"), HasSubstr("evaluation mode")))
        << call;
  }
}

TEST(ScriptedEvaluation, RecurrentDropoutIsRefusedWhenItIsOn) {
  const auto network = [](const std::string& train) {
    std::vector<std::pair<std::string, at::Tensor>> weights;
    std::string list;
    for (const char* layer : {"0", "1"}) {
      weights.emplace_back(std::string("wi") + layer, at::randn({8, layer[0] == '0' ? 3 : 2}));
      weights.emplace_back(std::string("wh") + layer, at::randn({8, 2}));
      list += std::string(list.empty() ? "" : ", ") + "self.wi" + layer + ", self.wh" + layer;
    }
    return scripted(
        "def forward(self, x):\n  h = torch.zeros([2, x.size(0), 2])\n"
        "  y = torch.lstm(x, [h, h], [" +
            list + "], False, 2, 0.5, " + train + ", False, True)\n  return y[0]\n",
        {}, weights);
  };
  expect_same(network("False"), {at::randn({2, 4, 3})});
  EXPECT_THAT(refusal(network("True")), HasSubstr("dropout is on"));
}

TEST(ScriptedEvaluation, BatchNormWithTheBatchsStatisticsIsRefused) {
  const auto norm = [](const std::string& call) {
    return scripted("def forward(self, x):\n  return torch." + call + "\n", {},
                    {{"mean", at::zeros({3})}, {"var", at::ones({3})}});
  };
  EXPECT_THAT(refusal(norm("batch_norm(x, None, None, None, None, True, 0.1, 1e-5, True)")),
              AllOf(HasSubstr("depends on the samples beside it"), HasSubstr("evaluation mode")));
  EXPECT_THAT(
      refusal(norm("batch_norm(x, None, None, self.mean, self.var, True, 0.1, 1e-5, True)")),
      HasSubstr("depends on the samples beside it"));
  const at::Tensor x = at::randn({2, 3, 4, 4});
  expect_same(norm("batch_norm(x, None, None, self.mean, self.var, False, 0.1, 1e-5, True)"), {x});
  expect_same(norm("instance_norm(x, None, None, None, None, True, 0.1, 1e-5, True)"), {x});
}

TEST(ScriptedEvaluation, BatchNormOfAWeightIsNoTraining) {
  // Weight standardization (Qiao et al. 2019), as timm writes it.
  expect_same(scripted("def forward(self, x):\n"
                       "  w = self.weight.reshape(1, 4, -1)\n"
                       "  w = torch.batch_norm(w, None, None, None, None, True, 0.0, 1e-6, True)\n"
                       "  return torch.conv2d(x, w.reshape(4, 3, 2, 2))\n",
                       {}, {{"weight", at::randn({4, 3, 2, 2})}}),
              {at::randn({2, 3, 5, 5})});
}

TEST(ScriptedEvaluation, AnAttributeThatIsSetAndReadInOneRunIsAVariable) {
  const auto stateful = [](const std::string& body) {
    return scripted("def forward(self, x):\n" + body, {}, {{"last", at::zeros({3})}});
  };
  expect_same(stateful("  self.last = x * 2\n  return self.last + 1\n"), {at::randn({2, 3})});
  EXPECT_THAT(refusal(stateful("  self.last = self.last + x\n  return self.last\n")),
              HasSubstr("depends on the run before"));
  EXPECT_THAT(refusal(stateful(
                  "  if bool(x.sum() > 0):\n    self.last = x\n  else:\n    self.last = x + 1\n"
                  "  return self.last\n")),
              HasSubstr("may depend on the run before"));
}

}  // namespace
}  // namespace microtome::testing
