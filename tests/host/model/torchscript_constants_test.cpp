// What is known while a model is loaded: constants, None, branches that are never taken, what comes
// after an exception.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/host/model/same_as_original.h"

namespace microtome::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using torch::jit::Module;

TEST(KnownWhileLoading, AMethodThatReturnsAConstantIsThatConstant) {
  const Module module = scripted(
      "def floor(self) -> float:\n  return 0.0\n"
      "def axis(self) -> int:\n  return 1\n"
      "def on(self) -> bool:\n  return False\n"
      "def nothing(self) -> Optional[int]:\n  return None\n"
      "def forward(self, x):\n  y = torch.clamp(x, self.floor(), 6.0).mean(dim=self.axis())\n"
      "  if not self.on():\n    y = y * 3\n"
      "  if self.nothing() is not None:\n    y = y * 100\n  return y\n");
  const auto model = model_of(module);
  const at::Tensor x = at::randn({4, 5}) * 3;
  Pass pass;
  pass.differentiate = {parse_hook_point("input")};
  const auto recording = model.run(named_inputs(model, {x}), pass);
  EXPECT_TRUE(at::allclose(recording.output(), x.clamp(0, 6).mean(1) * 3));
  const at::Tensor gradient = recording.gradients(recording.output().sum())[0];
  const at::Tensor inside = ((x > 0).to(at::kFloat) * (x < 6).to(at::kFloat));
  EXPECT_TRUE(at::allclose(gradient, inside * 3 / 5));
  for (const auto& hook : model.hook_points()) EXPECT_THAT(hook.name, Not(HasSubstr("@")));
}

TEST(KnownWhileLoading, ArgumentsThatAreNone) {
  expect_same(
      scripted("def pick(self, x, sizes: Optional[List[int]]=None, factor: Optional[float]=None, "
               "other: Optional[Tensor]=None):\n"
               "  y = x\n"
               "  if sizes is None and factor is None:\n    y = y + 1\n"
               "  elif sizes is not None:\n    y = y * len(sizes)\n"
               "  if factor is not None:\n    y = y * factor\n"
               "  if other is not None:\n    y = y + other\n  return y\n"
               "def forward(self, x):\n"
               "  return self.pick(x) + self.pick(x, [1, 2]) * self.pick(x, None, 0.5) + "
               "self.pick(x, None, None, x)\n"),
      {at::randn({2, 3})});
}

TEST(KnownWhileLoading, AFactorForAllDimensionsIsRepeatedAsOftenAsTheInputSays) {
  // As torch.nn.functional.interpolate has it.
  expect_same(
      scripted(
          "def forward(self, x):\n  size: Optional[int] = None\n"
          "  factor: Optional[float] = 2.0\n  dim = x.dim() - 2\n"
          "  output: Optional[List[int]] = None\n"
          "  if size is not None and factor is not None:\n    assert False, 'both'\n"
          "  elif size is not None:\n    output = [size for _ in range(dim)]\n"
          "    factors: Optional[List[float]] = None\n"
          "  elif factor is not None:\n    factors = [factor for _ in range(dim)]\n"
          "  else:\n    assert False, 'none'\n"
          "  if x.dim() == 4:\n    return torch.upsample_bilinear2d(x, output, False, factors)\n"
          "  assert False, 'no such dimension'\n  return x\n"),
      {at::randn({2, 3, 4, 4})});
}

TEST(KnownWhileLoading, WhatComesAfterAnExceptionIsNotRead) {
  const Module module = scripted(
      "def forward(self, x):\n  mode = 'mean'\n  if mode == 'sum':\n    return x.sum(1)\n"
      "  elif mode == 'mean':\n    return x.mean(1)\n  else:\n"
      "    assert False, 'no such mode'\n    return x\n");
  expect_same(module, {at::randn({2, 3})});
  EXPECT_THAT(refusal(scripted("def forward(self, x):\n  n = 3\n  if n == 3:\n"
                               "    assert False, 'always wrong'\n  return x\n")),
              HasSubstr("raises an exception: AssertionError: always wrong"));
}

TEST(KnownWhileLoading, AConditionThatMustHoldLeavesWhatFollowsOutsideOfTheBranch) {
  const Module module = scripted(
      "def forward(self, x):\n  if x.dim() != 2:\n"
      "    assert False, 'two, not {}'.format(x.dim())\n"
      "  l = [x]\n  if x.size(1) == 3:\n    l.append(x * 2)\n  else:\n"
      "    assert False, 'three'\n  return l[0] + l[1]\n");
  expect_same(module, {at::randn({2, 3})});
  const auto model = model_of(module);
  EXPECT_TRUE(model.resolve(parse_hook_point("/mul")).can_cut);
  try {
    model.run(named_inputs(model, {at::randn({2, 3, 4})}), {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("two, not 3"));
  }
  EXPECT_THROW(model.run(named_inputs(model, {at::randn({2, 4})}), {}), Error);
}

TEST(KnownWhileLoading, ATextThatIsNeverEmptyTakesNoFastPath) {
  // As nn.MultiheadAttention asks: the reasons are many, none of them is empty.
  const Module module = scripted(
      "def forward(self, x):\n  why = ''\n  if x.dim() != 3:\n    why = 'got {} "
      "dims'.format(x.dim())\n"
      "  elif x.size(1) > 3:\n    why = 'long'\n"
      "  if len(why) == 0:\n    if torch.is_grad_enabled():\n      why = 'gradients'\n"
      "  if len(why) > 0:\n    y = x * 2\n  else:\n    y = torch.rand(2)\n  return y\n");
  expect_same(module, {at::randn({2, 3})});
  expect_same(module, {at::randn({2, 3, 4})});
}

TEST(KnownWhileLoading, LoopsWhoseConditionIsKnownAreWrittenOut) {
  const Module module = scripted(
      "def forward(self, x):\n  n = 0\n  while n < 3:\n    x = self.act.forward(x + n)\n    n += "
      "1\n"
      "  for i in range(5):\n    if i == 2:\n      break\n    x = self.act.forward(x)\n  return "
      "x\n",
      {{"act", scripted("def forward(self, x):\n  return torch.tanh(x)\n")}});
  expect_same(module, {at::randn({2, 3})});
  const auto model = model_of(module);
  EXPECT_NO_THROW(model.resolve(parse_hook_point("act@5")));
  EXPECT_THROW(model.resolve(parse_hook_point("act@6")), Error);
}

TEST(KnownWhileLoading, WhatIsRefusedInABranchIsAnErrorOfRunsThatTakeIt) {
  const auto model =
      model_of(scripted("def forward(self, x):\n  if bool(x.sum() > 0):\n    y = x * 2\n  else:\n  "
                        "  y = x + torch.rand(2)\n"
                        "  return y\n"));
  const at::Tensor x = at::ones({3, 2});
  EXPECT_TRUE(model.run(named_inputs(model, {x}), {}).output().equal(x * 2));
  try {
    model.run(named_inputs(model, {-x}), {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("draws random numbers"));
  }
}

TEST(KnownWhileLoading, ShapesOfParametersAreKnownTheirValuesAreNot) {
  const Module module = scripted(
      "def forward(self, x):\n  for i in range(self.weight.size(0)):\n    x = self.act.forward(x)\n"
      "  return x * float(self.weight[0])\n",
      {{"act", scripted("def forward(self, x):\n  return torch.tanh(x)\n")}},
      {{"weight", at::tensor({0.5F, 2.0F})}});
  expect_same(module, {at::randn({2, 3})});
  const auto model = shared_model(module);
  EXPECT_NO_THROW(model->resolve(parse_hook_point("act@2")));
  NamedTensors other;
  other.set("weight", at::tensor({3.0F, 1.0F}));
  const at::Tensor x = at::randn({2, 3});
  NamedTensors inputs;
  inputs.set("x", x);
  EXPECT_TRUE(
      at::allclose(model->with_parameters(other)->run(inputs, {}).output(), x.tanh().tanh() * 3));
}

TEST(KnownWhileLoading, NoWordsOfLibTorchsOwnAssertions) {
  for (const char* source :
       {"def forward(self, x):\n  l: Optional[List[int]] = None\n  assert l is not None\n"
        "  return x * len(l)\n",
        "def forward(self, x):\n  a = 3\n  return x * (a // (a - 3))\n",
        "def forward(self, x):\n  l = [1, 2]\n  return x * l[5]\n",
        "def forward(self, x):\n  d = {'a': 1}\n  return x * d['b']\n"}) {
    const std::string said = refusal(scripted(source));
    EXPECT_NE(said, "accepted") << source;
    EXPECT_THAT(said, Not(HasSubstr("INTERNAL ASSERT")));
    EXPECT_THAT(said, Not(HasSubstr("report a bug")));
  }
}

}  // namespace
}  // namespace microtome::testing
