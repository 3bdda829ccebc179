// Networks keep their samples elsewhere than first; what they hand out has them first.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/host/model/scripted.h"

namespace microtome::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// `inner` works on values that `before` has rearranged; `after` puts them back.
torch::jit::Module rearranging(const std::string& before, const std::string& after) {
  return scripted("def forward(self, x):\n  n = x.size(0)\n  t = x.size(1)\n  h = " + before +
                      "\n  h = self.inner.forward(h)\n  h = " + after + "\n  return h.mean(1)\n",
                  {{"inner", scripted("def forward(self, x):\n"
                                      "  return torch.tanh(x * 1.5) * x\n")}});
}

struct Order {
  std::string name;
  torch::jit::Module module;
  SamplePlace place;
};

std::vector<Order> orders(std::int64_t positions) {
  const std::int64_t merged = positions == 1 ? 1 : positions;
  return {
      {"positions first", rearranging("x.transpose(0, 1)", "h.transpose(0, 1)"), {1, 1, 1}},
      {"samples x positions",
       rearranging("x.reshape(n * t, -1)", "h.reshape(n, t, -1)"),
       {0, 1, merged}},
      {"positions x samples",
       rearranging("x.transpose(0, 1).reshape(n * t, -1)", "h.reshape(t, n, -1).transpose(0, 1)"),
       {0, merged, 1}},
      {"samples last", rearranging("x.permute(1, 2, 0)", "h.permute(2, 0, 1)"), {2, 1, 1}}};
}

/// What `inner` makes of the samples, N x positions x 3.
at::Tensor inner_of(const at::Tensor& x) { return at::tanh(x * 1.5) * x; }

/// Chunks of fewer, as many and more samples than there are positions.
class SampleOrder : public ::testing::TestWithParam<std::int64_t> {};

TEST_P(SampleOrder, CapturedValuesHaveSamplesFirst) {
  const at::Tensor x = at::randn({GetParam(), 4, 3});
  for (const Order& order : orders(4)) {
    const auto model = shared_model(order.module);
    Pass pass;
    pass.capture = {parse_hook_point("inner"), parse_hook_point("inner:in")};
    const Recording recording = model->run(named_inputs(*model, {x}), pass);
    EXPECT_TRUE(at::allclose(recording.captured[0], inner_of(x))) << order.name;
    EXPECT_TRUE(recording.captured[1].equal(x)) << order.name;
    EXPECT_TRUE(at::allclose(recording.output(), inner_of(x).mean(1))) << order.name;
    const HookPointInfo info = model->resolve(parse_hook_point("inner"));
    EXPECT_THAT(info.shape, ElementsAre(1, 4, 3)) << order.name;
    EXPECT_EQ(info.place, order.place) << order.name;
    EXPECT_EQ(info.samples, OfSamples::each) << order.name;
  }
}

TEST_P(SampleOrder, EditsChangeTheSampleThatTheyMean) {
  const at::Tensor x = at::randn({GetParam(), 4, 3}), other = at::randn({GetParam(), 4, 3});
  for (const Order& order : orders(4)) {
    const auto model = shared_model(order.module);
    const auto inputs = named_inputs(*model, {x});
    Pass pass;
    pass.edits = {{parse_hook_point("inner"), {}, other}};
    EXPECT_TRUE(at::allclose(model->run(inputs, pass).output(), other.mean(1))) << order.name;
    // One row stands for all samples.
    pass.edits = {{parse_hook_point("inner"), {}, other.slice(0, 0, 1)}};
    EXPECT_TRUE(
        at::allclose(model->run(inputs, pass).output(), other.slice(0, 0, 1).expand_as(x).mean(1)))
        << order.name;
    pass.edits = {
        {parse_hook_point("inner[dim1=2]"), [](const at::Tensor& part) { return part * 0 + 7; }}};
    at::Tensor expected = inner_of(x);
    expected.select(1, 2).fill_(7);
    EXPECT_TRUE(at::allclose(model->run(inputs, pass).output(), expected.mean(1))) << order.name;
    pass.edits = {{parse_hook_point("inner"), [](const at::Tensor& value) { return value; }}};
    EXPECT_TRUE(model->run(inputs, pass).output().equal(model->run(inputs, {}).output()))
        << order.name;
  }
}

TEST_P(SampleOrder, GradientsAreOfEachSample) {
  const at::Tensor x = at::randn({GetParam(), 4, 3}), weights = at::randn({GetParam(), 3});
  for (const Order& order : orders(4)) {
    const auto model = shared_model(order.module);
    Pass pass;
    pass.differentiate = {parse_hook_point("inner")};
    const Recording recording = model->run(named_inputs(*model, {x}), pass);
    const at::Tensor gradient = recording.gradients(recording.output() * weights)[0];
    EXPECT_TRUE(at::allclose(gradient, (weights / 4).unsqueeze(1).expand_as(x))) << order.name;
    EXPECT_TRUE(at::allclose(recording.differentiated[0], inner_of(x))) << order.name;
  }
}

TEST_P(SampleOrder, RunsGoOnWithSomeOfTheSamples) {
  const std::int64_t count = GetParam();
  const at::Tensor x = at::randn({count, 4, 3});
  const at::Tensor rows = at::tensor({count - 1, std::int64_t{0}, count - 1}, at::kLong);
  for (const Order& order : orders(4)) {
    const auto model = shared_model(order.module);
    Pass pass;
    pass.cuts = {{parse_hook_point("inner")}};
    const Recording whole = model->run(named_inputs(*model, {x}), pass);
    Pass on;
    on.capture = {parse_hook_point("inner")};
    const Recording some = model->resume(*whole.snapshots[0]->select(rows), on);
    EXPECT_TRUE(at::allclose(some.output(), inner_of(x).index_select(0, rows).mean(1)))
        << order.name;
    EXPECT_TRUE(at::allclose(some.captured[0], inner_of(x).index_select(0, rows))) << order.name;
  }
}

INSTANTIATE_TEST_SUITE_P(BesidePositions, SampleOrder, ::testing::Values(1, 2, 4, 7));

TEST(SampleOrderOf, LengthsMayDiffer) {
  for (const Order& order : orders(4)) {
    const auto model = shared_model(order.module);
    Pass pass;
    pass.capture = {parse_hook_point("inner")};
    for (const std::int64_t length : {4, 1, 9, 2}) {
      const at::Tensor x = at::randn({3, length, 3});
      EXPECT_TRUE(at::allclose(model->run(named_inputs(*model, {x}), pass).captured[0],
                               inner_of(x).reshape({3, length, 3})) ||
                  length == 1)
          << order.name << " of length " << length;
    }
  }
}

TEST(SampleOrderOf, OutputsWithPositionsFirst) {
  const auto model = shared_model(scripted("def forward(self, x):\n  return x.transpose(0, 1)\n"));
  const at::Tensor x = at::randn({3, 5, 2});
  EXPECT_TRUE(model->run(named_inputs(*model, {x}), {}).output().equal(x));
  EXPECT_TRUE(model->outputs_as_in_network(named_inputs(*model, {x}))
                  .at("output")
                  .equal(x.transpose(0, 1)));
  EXPECT_THAT(model->outputs()[0].shape, ElementsAre(5, 2));
}

TEST(SampleOrderOf, ValuesThatAreTheSameForAllSamples) {
  const auto model = shared_model(
      scripted("def forward(self, x):\n  p = self.place.forward(x.size(1))\n  return x + p\n",
               {{"place", scripted("def forward(self, n: int):\n"
                                   "  return torch.arange(n) * 1.0\n")}}));
  const at::Tensor x = at::randn({3, 4});
  const auto inputs = named_inputs(*model, {x});
  Pass pass;
  pass.capture = {parse_hook_point("place")};
  EXPECT_TRUE(
      model->run(inputs, pass).captured[0].equal(at::arange(4).to(at::kFloat).expand({3, 4})));
  EXPECT_EQ(model->resolve(parse_hook_point("place")).samples, OfSamples::none);
  pass.edits = {{parse_hook_point("place"), {}, at::zeros({1, 4})}};
  EXPECT_TRUE(model->run(inputs, pass).output().equal(x));
  pass.edits = {{parse_hook_point("place"), {}, at::rand({3, 4})}};
  EXPECT_THROW(model->run(inputs, pass), Error);
  Pass gradient;
  gradient.differentiate = {parse_hook_point("place")};
  EXPECT_THROW(model->run(inputs, gradient), Error);
}

TEST(SampleOrderOf, WhatMixesSamplesIsNotHandedOut) {
  const auto model =
      shared_model(scripted("def forward(self, x):\n  m = self.mean.forward(x)\n  return x - m\n",
                            {{"mean", scripted("def forward(self, x):\n  return x.mean(0)\n")}}));
  const auto inputs = named_inputs(*model, {at::randn({4, 3})});
  Pass pass;
  pass.capture = {parse_hook_point("mean")};
  try {
    model->run(inputs, pass);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("\"mean\""));
    EXPECT_THAT(error.what(), HasSubstr("mean/aten::mean"));
  }
  EXPECT_THAT(model->resolve(parse_hook_point("mean")).refusal, HasSubstr("sample by sample"));
}

TEST(SampleOrderOf, OneSampleOfANetworkThatSqueezes) {
  // For one sample alone the output has no dimension left, and the soft-max goes over others.
  const auto model = shared_model(scripted(
      "def forward(self, x):\n  h = self.inner.forward(x)\n  return h.squeeze().softmax(0)\n",
      {{"inner", scripted("def forward(self, x):\n  return x.mean(1, True)\n")}}));
  const auto by_feature = shared_model(scripted(
      "def forward(self, x):\n  h = self.inner.forward(x)\n  return torch.exp(h.squeeze())\n",
      {{"inner", scripted("def forward(self, x):\n  return x.mean(1, True)\n")}}));
  const at::Tensor x = at::randn({3, 5});
  Pass pass;
  pass.capture = {parse_hook_point("inner")};
  pass.differentiate = {parse_hook_point("inner")};
  pass.cuts = {{parse_hook_point("inner")}};
  for (const std::int64_t count : {1, 2, 3}) {
    const at::Tensor some = x.slice(0, 0, count);
    const at::Tensor expected = some.mean(1).exp();
    const Recording recording = by_feature->run(named_inputs(*by_feature, {some}), pass);
    EXPECT_TRUE(at::allclose(recording.output(), expected)) << count;
    EXPECT_THAT(recording.captured[0].sizes().vec(), ElementsAre(count, 1));
    EXPECT_TRUE(at::allclose(recording.gradients(recording.output())[0], expected.unsqueeze(1)));
    const at::Tensor last = at::tensor({count - 1}, at::kLong);
    const Recording alone = by_feature->resume(*recording.snapshots[0]->select(last), {});
    EXPECT_TRUE(at::allclose(alone.output(), expected.slice(0, count - 1))) << count;
  }
}

TEST(SampleOrderOf, ANetworkTracedForOneSampleSaysSo) {
  const auto model = shared_model(
      scripted("def forward(self, x):\n  return torch.matmul(x.reshape(1, 6), self.weight)\n", {},
               {{"weight", at::ones({6, 2})}}));
  const at::Tensor one = at::randn({1, 2, 3});
  EXPECT_TRUE(
      at::allclose(model->run(named_inputs(*model, {one}), {}).output(), one.sum().expand({1, 2})));
  EXPECT_EQ(model->most_samples(), 1);
  try {
    model->run(named_inputs(*model, {at::randn({2, 2, 3})}), {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("takes one sample at a time"));
    EXPECT_THAT(error.what(), HasSubstr("chunk: 1"));
  }
}

/// As a pipeline opens it.
std::shared_ptr<host::ProgramModel> guarded_model(const std::string& source) {
  return std::make_shared<host::ProgramModel>(
      "m", host::torchscript::Lowering(scripted(source)).run(), ModelInput{}, at::kCPU);
}

TEST(SampleOrderOf, ANetworkThatMixesSamplesTakesOneAtATime) {
  at::manual_seed(3);
  for (const auto& [mixes, named] :
       std::map<std::string, std::string>{{"x.softmax(0)", "softmax"},
                                          {"x - x.mean(0)", "sub"},
                                          {"x / x.abs().max()", "div"},
                                          {"x.cumsum(0)", "cumsum"},
                                          {"x + x.roll([1], [0])", "roll"},
                                          {"x * x.flip([0])", "flip"}}) {
    const auto model = guarded_model("def forward(self, x):\n  return torch.tanh(" + mixes + ")\n");
    const at::Tensor x = at::randn({4, 3});
    // Alone a sample's value does not depend on the chunk that it came in.
    for (std::int64_t i = 0; i < 4; ++i)
      EXPECT_EQ(model->run(named_inputs(*model, {x.slice(0, i, i + 1)}), {}).output().size(0), 1);
    EXPECT_TRUE(model->mixes_samples()) << mixes;
    EXPECT_EQ(model->most_samples(), 1);
    try {
      model->run(named_inputs(*model, {x}), {});
      ADD_FAILURE() << mixes;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("beside it"));
      EXPECT_THAT(error.what(), HasSubstr("aten::" + named));
    }
  }
}

TEST(SampleOrderOf, WhatAnExtremeSampleDecidesForAllIsFound) {
  at::manual_seed(4);
  const std::map<std::string, std::string> decided = {
      {"  if float(x.max()) > 50.0:\n    x = x / 255.0\n  return torch.tanh(x)\n", "max"},
      {"  if bool(x.sum() > 0):\n    x = x * 3\n  else:\n    x = x - 1\n  return torch.tanh(x)\n",
       "sum"},
      {"  y = x * 1\n  while bool(y.abs().max() > 50.0):\n    y = y * 0.7\n  return y * 2\n",
       "max"},
      {"  return x / x.abs().max().clamp(min=50.0)\n", "max"}};
  for (const auto& [body, named] : decided) {
    const auto model = guarded_model("def forward(self, x):\n" + body);
    const at::Tensor x = at::randn({4, 3});
    EXPECT_TRUE(model->mixes_samples() || !model->outputs().empty());
    try {
      model->run(named_inputs(*model, {x}), {});
      ADD_FAILURE() << body;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("beside it")) << body;
      EXPECT_THAT(error.what(), HasSubstr("aten::" + named)) << body;
    }
    EXPECT_EQ(model->run(named_inputs(*model, {x.slice(0, 1, 2)}), {}).output().size(0), 1);
  }
  // A largest value that takes no part in the result may be that of all.
  const auto stable =
      guarded_model("def forward(self, x):\n  return torch.tanh(x) + (x - x.max()) * 0\n");
  EXPECT_EQ(stable->run(named_inputs(*stable, {at::randn({4, 3})}), {}).output().size(0), 4);
}

TEST(SampleOrderOf, ATraceForAFixedNumberThatTurnsSamplesIsRefused) {
  at::manual_seed(5);
  const auto turned = guarded_model(
      "def forward(self, x):\n  return x.view(3, -1, 6).transpose(0, 1).reshape(-1, 6)\n");
  for (const std::int64_t count : {3, 12}) {
    const at::Tensor x = at::randn({count, 6});
    if (count == 3) {
      // Three samples in three rows of one stay as they are.
      EXPECT_TRUE(turned->run(named_inputs(*turned, {x}), {}).output().equal(x));
    } else {
      EXPECT_THROW(turned->run(named_inputs(*turned, {x}), {}).output(), Error);
    }
  }
}

TEST(SampleOrderOf, AMeanOverSamplesBesideTheOutputIsRefusedAlone) {
  const auto model =
      guarded_model("def forward(self, x):\n  h = torch.tanh(x)\n  return h, (h * h).mean()\n");
  const at::Tensor x = at::randn({4, 3});
  const Recording recording = model->run(named_inputs(*model, {x}), {});
  EXPECT_FALSE(model->mixes_samples());
  EXPECT_TRUE(at::allclose(recording.outputs.begin()->second, x.tanh()));
  ASSERT_EQ(recording.refused_outputs.size(), 1);
  EXPECT_THAT(recording.refused_outputs[0].second, HasSubstr("for any number of samples"));
}

TEST(SampleOrderOf, LoopsOverSamplesAndOverPositions) {
  const auto part = scripted("def forward(self, x):\n  return torch.tanh(x)\n");
  const auto by_sample = shared_model(
      scripted("def forward(self, x):\n  rows = []\n  for i in range(x.size(0)):\n"
               "    rows.append(self.part.forward(x[i]).sum(0))\n  return torch.stack(rows)\n",
               {{"part", part}}));
  const at::Tensor x = at::randn({3, 4, 2});
  EXPECT_TRUE(
      at::allclose(by_sample->run(named_inputs(*by_sample, {x}), {}).output(), x.tanh().sum(1)));
  Pass pass;
  pass.capture = {parse_hook_point("part")};
  EXPECT_THROW(by_sample->run(named_inputs(*by_sample, {x}), pass), Error);
  const auto by_position = shared_model(
      scripted("def forward(self, x):\n  h = torch.zeros([x.size(0), x.size(2)])\n"
               "  for i in range(x.size(1)):\n    h = h + self.part.forward(x[:, i])\n  return h\n",
               {{"part", part}}));
  pass.capture = {parse_hook_point("part@2")};
  EXPECT_TRUE(at::allclose(by_position->run(named_inputs(*by_position, {x}), pass).captured[0],
                           x.select(1, 1).tanh()));
}

}  // namespace
}  // namespace microtome::testing
