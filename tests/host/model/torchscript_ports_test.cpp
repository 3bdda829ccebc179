// Inputs that need not be given, inputs with default values, outputs that are not plain tensors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/host/model/same_as_original.h"

namespace microtome::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using torch::jit::Module;

TEST(ScriptedPorts, AnInputThatMayBeNoneNeedNotBeGiven) {
  const auto model = shared_model(scripted(
      "def forward(self, x, mask: Optional[Tensor]=None):\n  y = x * 2\n  if mask is not None:\n"
      "    y = y * mask\n  return self.act.forward(y)\n",
      {{"act", scripted("def forward(self, x):\n  return torch.tanh(x)\n")}}));
  const auto& ports = model->program().inputs;
  ASSERT_EQ(ports.size(), 2);
  EXPECT_FALSE(ports[0].optional);
  EXPECT_TRUE(ports[1].optional);
  const at::Tensor x = at::randn({4, 3}), mask = at::rand({4, 3});
  NamedTensors one, both;
  one.set("x", x);
  both.set("x", x);
  both.set("mask", mask);
  EXPECT_TRUE(at::allclose(model->run(one, {}).output(), (x * 2).tanh()));
  EXPECT_TRUE(at::allclose(model->run(both, {}).output(), (x * 2 * mask).tanh()));
  // A run without it can be cut, and gone on from with other samples.
  Pass cut;
  cut.cuts = {{parse_hook_point("act:in")}};
  const auto snapshot = model->run(one, cut).snapshots[0];
  const at::Tensor rows = at::tensor({3, 0}, at::kLong);
  EXPECT_TRUE(at::allclose(model->resume(*snapshot->select(rows), {}).output(),
                           (x * 2).tanh().index_select(0, rows)));
}

TEST(ScriptedPorts, TheSizeIsThatOfTheInputThatMustBeGiven) {
  ModelInput input;
  input.size = {3};
  const auto model = std::make_shared<host::ProgramModel>(
      "m",
      host::torchscript::Lowering(
          scripted("def forward(self, x, mask: Optional[Tensor]=None):\n  if mask is not None:\n"
                   "    x = x * mask\n  return x * 2\n"))
          .run(),
      input, at::kCPU);
  EXPECT_EQ(model->inputs()[0].shape, std::vector<std::int64_t>{3});
  EXPECT_EQ(model->outputs()[0].shape, std::vector<std::int64_t>{3});
  EXPECT_TRUE(model->bytes_per_sample({}).has_value());
}

TEST(ScriptedPorts, OtherInputsHaveTheirDefaults) {
  const auto model = model_of(
      scripted("def forward(self, x, k: int=3, flag: bool=False, sizes: Optional[List[int]]=None, "
               "scale: float=0.5):\n  y = x * k * scale\n  if flag:\n    y = y * 100\n"
               "  if sizes is not None:\n    y = y.view(sizes)\n  return y\n"));
  ASSERT_EQ(model.inputs().size(), 1);
  const at::Tensor x = at::randn({2, 3});
  EXPECT_TRUE(at::allclose(model.run(named_inputs(model, {x}), {}).output(), x * 1.5));
  EXPECT_THAT(refusal(scripted("def forward(self, x, count: int):\n  return x * count\n")),
              AllOf(HasSubstr("\"count\" is int"), HasSubstr("default value")));
  EXPECT_THAT(refusal(scripted("def forward(self, images: List[Tensor]):\n  return images[0]\n")),
              HasSubstr("\"images\" is List[Tensor]"));
}

TEST(ScriptedPorts, OutputsThatAreNested) {
  const Module module = scripted(
      "def forward(self, x):\n  none: Optional[Tensor] = None\n"
      "  return {'l': [x, x * 2], 'm': [x * 3]}, none, 3.0, (x + 1, [x + 2])\n");
  const auto model = model_of(module);
  std::vector<std::string> names;
  for (const auto& port : model.outputs()) names.push_back(port.name);
  EXPECT_EQ(names, (std::vector<std::string>{"0.l.0", "0.l.1", "0.m.0", "3.0", "3.1.0"}));
  expect_same(module, {at::randn({2, 3})});
}

TEST(ScriptedPorts, AnOutputThatMayBeNone) {
  const auto model = model_of(
      scripted("def forward(self, x):\n  extra: Optional[Tensor] = None\n  if bool(x.sum() > 0):\n"
               "    extra = x * 2\n  return x, extra\n"));
  EXPECT_TRUE(model.program().outputs[1].optional);
  const at::Tensor x = at::ones({2, 2});
  EXPECT_EQ(model.run(named_inputs(model, {x}), {}).outputs.size(), 2);
  EXPECT_EQ(model.run(named_inputs(model, {-x}), {}).outputs.size(), 1);
}

TEST(ScriptedPorts, PartsOfATensorAsOutput) {
  const Module module = scripted("def forward(self, x):\n  return x.chunk(2, 1)\n");
  const auto model = model_of(module);
  EXPECT_EQ(model.outputs().size(), 2);
  const at::Tensor x = at::randn({2, 4});
  const auto outputs = model.run(named_inputs(model, {x}), {}).outputs;
  EXPECT_TRUE(outputs.at("0").equal(x.slice(1, 0, 2)));
  EXPECT_TRUE(outputs.at("1").equal(x.slice(1, 2, 4)));
  EXPECT_THAT(refusal(scripted("def forward(self, x):\n  return x.unbind(0)\n")),
              HasSubstr("only when the model runs"));
  EXPECT_THAT(refusal(scripted("def forward(self, x):\n  l: List[Tensor] = []\n"
                               "  for i in range(x.size(0)):\n    l.append(x[i])\n  return l\n")),
              HasSubstr("only when the model runs"));
  EXPECT_THAT(refusal(scripted("def forward(self, x):\n  return 3\n")),
              HasSubstr("returns no tensor"));
}

}  // namespace
}  // namespace microtome::testing
