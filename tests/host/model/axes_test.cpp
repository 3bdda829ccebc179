// What the dimensions of values are, from the operators that make and read them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/host/model/scripted.h"

namespace microtome::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

torch::jit::Module linear(std::int64_t in, std::int64_t out) {
  return scripted("def forward(self, x):\n  return torch.linear(x, self.weight)\n", {},
                  {{"weight", at::randn({out, in})}});
}

torch::jit::Module step(const std::string& expression) {
  return scripted("def forward(self, x):\n  return " + expression + "\n");
}

Axes axes_at(const host::ProgramModel& model, const std::string& hook) {
  return model.resolve(parse_hook_point(hook)).axes;
}

TEST(AxesOf, ConvolutionsOverSignalsImagesAndVolumes) {
  for (const auto& [rank, expected] : std::vector<std::pair<std::int64_t, Axes>>{
           {1, {"c", "x"}}, {2, {"c", "y", "x"}}, {3, {"c", "z", "y", "x"}}}) {
    std::vector<std::int64_t> weight{5, 2}, input{3, 2};
    for (std::int64_t d = 0; d < rank; ++d) weight.push_back(1), input.push_back(4 + d);
    const auto model = shared_model(scripted(
        "def forward(self, x):\n  return self.conv.forward(torch.relu(x)).flatten(2).mean(2)\n",
        {{"conv", scripted("def forward(self, x):\n  return torch.conv" + std::to_string(rank) +
                               "d(x, self.weight)\n",
                           {}, {{"weight", at::randn(weight)}})}}));
    model->learn_shapes({at::randn(input)});
    EXPECT_EQ(axes_at(*model, "conv"), expected);
    EXPECT_EQ(axes_at(*model, "input"), expected);
    EXPECT_EQ(axes_at(*model, "output"), Axes{"c"});
  }
}

TEST(AxesOf, ChannelsLastAfterAPermutation) {
  const auto model =
      shared_model(scripted("def forward(self, x):\n  h = self.turn.forward(self.conv.forward(x))\n"
                            "  return self.mix.forward(h).mean([1, 2])\n",
                            {{"conv", convolution(3, 4, true)},
                             {"turn", step("x.permute(0, 2, 3, 1)")},
                             {"mix", linear(4, 6)}}));
  model->learn_shapes({at::randn({2, 3, 5, 6})});
  EXPECT_EQ(axes_at(*model, "turn"), (Axes{"y", "x", "c"}));
  EXPECT_EQ(axes_at(*model, "mix"), (Axes{"y", "x", "c"}));
}

TEST(AxesOf, PatchesAndAttention) {
  const auto model =
      shared_model(scripted("def forward(self, x):\n"
                            "  t = self.tokens.forward(self.patch.forward(x))\n"
                            "  q = self.split.forward(self.query.forward(t))\n"
                            "  k = self.split.forward(self.key.forward(t))\n"
                            "  a = self.pattern.forward(torch.matmul(q, k.transpose(2, 3)))\n"
                            "  v = torch.matmul(a, k)\n"
                            "  return self.join.forward(v.transpose(1, 2)).mean(1)\n",
                            {{"patch", convolution(3, 8, true)},
                             {"tokens", step("x.flatten(2).transpose(1, 2)")},
                             {"query", linear(8, 8)},
                             {"key", linear(8, 8)},
                             {"split", step("x.view(x.size(0), x.size(1), 2, 4).transpose(1, 2)")},
                             {"pattern", step("x.softmax(3)")},
                             {"join", step("x.reshape(x.size(0), x.size(1), 8)")}}));
  model->learn_shapes({at::randn({2, 3, 3, 4})});
  EXPECT_EQ(axes_at(*model, "patch"), (Axes{"c", "y", "x"}));
  EXPECT_EQ(axes_at(*model, "tokens"), (Axes{"token", "c"}));
  EXPECT_EQ(axes_at(*model, "query"), (Axes{"token", "c"}));
  EXPECT_EQ(axes_at(*model, "split"), (Axes{"head", "token", "c"}));
  EXPECT_EQ(axes_at(*model, "pattern"), (Axes{"head", "query", "key"}));
  EXPECT_EQ(axes_at(*model, "join"), (Axes{"token", "c"}));
  EXPECT_THROW(model->declare_axes(parse_hook_point("pattern"), {"head", "key", "query"}), Error);
}

TEST(AxesOf, HeadsAndWindowsThatAreMergedWithTheSamples) {
  const auto model = shared_model(scripted(
      "def forward(self, x):\n"
      "  h = self.windows.forward(self.conv.forward(x))\n  return h.mean(1).sum(1, True)\n",
      {{"conv", convolution(3, 4, true)},
       {"windows", scripted("def forward(self, x):\n"
                            "  h = x.permute(0, 2, 3, 1)\n"
                            "  h = h.view(x.size(0), 2, 3, 2, 3, 4).permute(0, 1, 3, 2, 4, 5)\n"
                            "  return h.reshape(-1, 9, 4)\n")}}));
  model->learn_shapes({at::randn({2, 3, 6, 6})});
  EXPECT_EQ(axes_at(*model, "windows"), (Axes{"window", "token", "c"}));
  EXPECT_THAT(model->resolve(parse_hook_point("windows")).shape, ElementsAre(1, 4, 9, 4));
}

TEST(AxesOf, WindowsThatArePutBackAreRowsAndColumnsAgain) {
  // Attention within windows, as in Swin.
  const auto model = shared_model(
      scripted("def forward(self, x):\n"
               "  h = self.conv.forward(x).permute(0, 2, 3, 1)\n"
               "  h = h.view(x.size(0), 2, 3, 2, 3, 4).permute(0, 1, 3, 2, 4, 5)\n"
               "  h = h.reshape(-1, 9, 4)\n"
               "  h = torch.matmul(torch.softmax(torch.matmul(h, h.transpose(1, 2)), -1), h)\n"
               "  h = self.mix.forward(h).view(-1, 2, 2, 3, 3, 4).permute(0, 1, 3, 2, 4, 5)\n"
               "  return self.whole.forward(h.reshape(-1, 6, 6, 4)).mean([1, 2])\n",
               {{"conv", convolution(3, 4, true)}, {"mix", linear(4, 4)}, {"whole", step("x")}}));
  model->learn_shapes({at::randn({2, 3, 6, 6})});
  EXPECT_EQ(axes_at(*model, "mix"), (Axes{"window", "token", "c"}));
  EXPECT_EQ(axes_at(*model, "whole"), (Axes{"y", "x", "c"}));
}

TEST(AxesOf, AMapMadeOfPositionsIsWhatTheConvolutionReads) {
  // Self-attention between convolutions (Zhang et al. 2018, SAGAN).
  const auto model = shared_model(
      scripted("def forward(self, x):\n"
               "  h = torch.relu(self.first.forward(x))\n  t = h.flatten(2)\n"
               "  a = torch.softmax(torch.bmm(t.transpose(1, 2), t), -1)\n"
               "  m = self.map.forward(torch.bmm(t, a.transpose(1, 2)).view(x.size(0), 4, 5, 6))\n"
               "  return self.second.forward(m).mean([2, 3])\n",
               {{"first", convolution(3, 4, true)},
                {"map", step("x")},
                {"second", convolution(4, 5, true)}}));
  model->learn_shapes({at::randn({2, 3, 5, 6})});
  EXPECT_EQ(axes_at(*model, "map"), (Axes{"c", "y", "x"}));
  EXPECT_EQ(axes_at(*model, "second"), (Axes{"c", "y", "x"}));
}

TEST(AxesOf, EmbeddingsWithPositionsFirst) {
  const auto model = shared_model(scripted(
      "def forward(self, x):\n  h = self.embed.forward(x.transpose(0, 1))\n"
      "  return self.mix.forward(h).mean(0)\n",
      {{"embed", scripted("def forward(self, x):\n  return torch.embedding(self.weight, x)\n", {},
                          {{"weight", at::randn({11, 6})}})},
       {"mix", linear(6, 6)}}));
  model->learn_shapes({at::tensor({1, 2, 3, 4, 5, 6, 7, 8}, at::kLong).view({2, 4})});
  EXPECT_EQ(axes_at(*model, "input"), Axes{"token"});
  EXPECT_EQ(axes_at(*model, "embed"), (Axes{"token", "c"}));
  EXPECT_EQ(axes_at(*model, "mix"), (Axes{"token", "c"}));
}

TEST(AxesOf, MixingPositionsKeepsTheChannels) {
  const auto model = shared_model(
      scripted("def forward(self, x):\n  h = self.embed.forward(x)\n"
               "  h = self.mix.forward(h.transpose(1, 2))\n  return h.transpose(1, 2).mean(1)\n",
               {{"embed", linear(3, 6)}, {"mix", linear(4, 5)}}));
  model->learn_shapes({at::randn({2, 4, 3})});
  EXPECT_EQ(axes_at(*model, "embed"), (Axes{"token", "c"}));
  EXPECT_EQ(axes_at(*model, "mix"), (Axes{"c", "token"}));
}

TEST(AxesOf, WhatIsNotKnownIsAnErrorUntilItIsDeclared) {
  const auto model =
      shared_model(scripted("def forward(self, x):\n  return self.inner.forward(x).sum([1, 2])\n",
                            {{"inner", step("x * 2")}}));
  const at::Tensor x = at::randn({2, 3, 4});
  model->learn_shapes({x});
  Pass pass;
  pass.capture = {parse_hook_point("inner[c=1]")};
  try {
    model->run(named_inputs(*model, {x}), pass);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("\"c\" is not known"));
    EXPECT_THAT(error.what(), HasSubstr("axes:"));
  }
  EXPECT_THROW(model->declare_axes(parse_hook_point("inner"), {"c"}), Error);
  model->declare_axes(parse_hook_point("inner"), {"c", "x"});
  EXPECT_TRUE(model->run(named_inputs(*model, {x}), pass).captured[0].equal(x.select(1, 1) * 2));
}

TEST(AxesOf, PartsOfAListThatBranchesGiveKeepTheirNames) {
  const auto model = shared_model(scripted(
      "def forward(self, x):\n  h = self.embed.forward(x)\n  if bool(x.sum() > 1000.0):\n"
      "    if bool(x.sum() > 2000.0):\n      g = h.transpose(0, 1)\n    else:\n"
      "      g = h.transpose(0, 1) * 2\n    parts = torch.chunk(g, 2, -1)\n  else:\n"
      "    if bool(x.sum() > -2000.0):\n      g = h.transpose(0, 1)\n    else:\n      g = h * 3\n"
      "    parts = torch.chunk(g, 2, -1)\n  a, b = parts\n"
      "  return self.inner.forward(a).mean(0) + b.mean(0)\n",
      {{"embed", linear(3, 6)}, {"inner", step("x * 2")}}));
  model->learn_shapes({at::randn({2, 4, 3})});
  EXPECT_EQ(axes_at(*model, "inner"), (Axes{"token", "c"}));
}

TEST(AxesOf, ADeclarationAgainstTheOperatorsIsAnError) {
  const auto model = shared_model(
      scripted("def forward(self, x):\n  return self.conv.forward(x).mean([2, 3])\n",
               {{"conv", scripted("def forward(self, x):\n  return torch.conv2d(x, self.weight)\n",
                                  {}, {{"weight", at::randn({6, 2, 1, 1})}})}}));
  model->learn_shapes({at::randn({3, 2, 4, 5})});
  const HookPoint conv = parse_hook_point("conv");
  for (const Axes& wrong : {Axes{"y", "x", "c"}, Axes{"c", "x", "y"}, Axes{"token", "y", "x"}}) {
    try {
      model->declare_axes(conv, wrong);
      FAIL() << axes_text(wrong);
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("are c, y, x; dimension"));
    }
  }
  model->declare_axes(conv, {"c", "y", "x"});
  EXPECT_EQ(axes_at(*model, "conv"), (Axes{"c", "y", "x"}));
}

TEST(AxesOf, SelectorsFollowTheNames) {
  const auto model = shared_model(
      scripted("def forward(self, x):\n  return self.conv.forward(x).mean(2)\n",
               {{"conv", scripted("def forward(self, x):\n  return torch.conv1d(x, self.weight)\n",
                                  {}, {{"weight", at::randn({6, 2, 1})}})}}));
  const at::Tensor x = at::randn({3, 2, 10});
  Pass pass;
  pass.capture = {parse_hook_point("conv"), parse_hook_point("conv[c=1]"),
                  parse_hook_point("conv[x=last]"), parse_hook_point("conv[token=2,unit=3]")};
  const Recording recording = model->run(named_inputs(*model, {x}), pass);
  const at::Tensor whole = recording.captured[0];
  EXPECT_TRUE(recording.captured[1].equal(whole.select(1, 1)));
  EXPECT_TRUE(recording.captured[2].equal(whole.select(2, 9)));
  EXPECT_TRUE(recording.captured[3].equal(whole.select(2, 2).select(1, 3)));
  EXPECT_EQ(recording.axes[1], Axes{"x"});
  EXPECT_EQ(recording.axes[2], Axes{"c"});
  EXPECT_TRUE(recording.axes[3].empty());
}

}  // namespace
}  // namespace microtome::testing
