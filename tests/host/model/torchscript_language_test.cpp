// Small scripted models, each with one thing that a loader may get wrong. The program must return
// what LibTorch's own interpreter returns, and so must its gradients.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/host/model/same_as_original.h"

namespace microtome::testing {
namespace {

using ::testing::HasSubstr;
using torch::jit::Module;

Module relu_in_place() { return scripted("def forward(self, x):\n  return torch.relu_(x)\n"); }

TEST(ScriptedModel, CallsAModuleTwice) {
  const Module module = scripted(
      "def forward(self, x):\n  return self.act.forward(self.act.forward(x - 1) * 2 - 1)\n",
      {{"act", scripted("def forward(self, x):\n  return torch.relu(x)\n")}});
  expect_same(module, {at::randn({3, 4})});
  const auto model = model_of(module);
  Pass pass;
  pass.capture = {parse_hook_point("act"), parse_hook_point("act@2"), parse_hook_point("act@2:in")};
  const at::Tensor x = at::tensor({-1.0F, 1.5F, 3.0F});
  const auto recording = model.run(named_inputs(model, {x}), pass);
  EXPECT_TRUE(recording.captured[0].equal(at::relu(x - 1)));
  EXPECT_TRUE(recording.captured[1].equal(at::relu(at::relu(x - 1) * 2 - 1)));
  EXPECT_TRUE(recording.captured[2].equal(at::relu(x - 1) * 2 - 1));
}

TEST(ScriptedModel, UnrollsAConstantLoop) {
  const Module module = scripted(
      "def forward(self, x):\n  for i in range(3):\n    x = self.act.forward(x * 0.5 + i)\n  "
      "return x\n",
      {{"act", scripted("def forward(self, x):\n  return torch.tanh(x)\n")}});
  expect_same(module, {at::randn({2, 3})});
  const auto model = model_of(module);
  EXPECT_NO_THROW(model.resolve(parse_hook_point("act@3")));
  EXPECT_THROW(model.resolve(parse_hook_point("act@4")), Error);
}

TEST(ScriptedModel, RunsALoopWhoseLengthDependsOnTheInput) {
  const Module module = scripted(
      "def forward(self, x):\n  h = torch.zeros_like(x[:, 0])\n  out = [h]\n"
      "  for t in range(x.size(1)):\n    h = self.cell.forward(h + x[:, t])\n    out.append(h)\n"
      "  return torch.stack(out, 1)\n",
      {{"cell", scripted("def forward(self, x):\n  return torch.tanh(x)\n")}});
  expect_same(module, {at::randn({2, 5, 3})});
  const auto model = model_of(module);
  const at::Tensor x = at::randn({2, 5, 3});
  Pass pass;
  pass.capture = {parse_hook_point("cell@2")};
  const auto recording = model.run(named_inputs(model, {x}), pass);
  EXPECT_TRUE(recording.captured[0].equal(recording.output().select(1, 2)));
  pass.capture = {parse_hook_point("cell@6")};
  EXPECT_THROW(model.run(named_inputs(model, {x}), pass), Error);
}

TEST(ScriptedModel, CallsBeforeALoopAndInItsTurnsAreCountedOn) {
  const Module module = scripted(
      "def forward(self, x):\n  out = [self.act.forward(x[:, 0])]\n"
      "  for t in range(x.size(1)):\n    out.append(self.act.forward(x[:, t] * 2))\n"
      "    out.append(self.act.forward(x[:, t] * 3))\n"
      "  return torch.stack(out, 1)\n",
      {{"act", scripted("def forward(self, x):\n  return torch.tanh(x)\n")}});
  const auto model = model_of(module);
  const at::Tensor x = at::randn({2, 4, 3});
  for (int call = 1; call <= 9; ++call) {
    Pass pass;
    pass.capture = {parse_hook_point("act@" + std::to_string(call))};
    const auto recording = model.run(named_inputs(model, {x}), pass);
    EXPECT_TRUE(recording.captured[0].equal(recording.output().select(1, call - 1))) << call;
  }
}

TEST(ScriptedModel, WritesInPlaceInALoopIntoATensorFromOutside) {
  expect_same(
      scripted("def forward(self, x):\n  total = torch.zeros_like(x[:, 0])\n  view = total[0]\n"
               "  for t in range(x.size(1)):\n    total.add_(x[:, t])\n"
               "  return total + view\n"),
      {at::randn({2, 5, 3})});
}

TEST(ScriptedModel, WhileLoop) {
  expect_same(
      scripted("def forward(self, x):\n  while bool(x.sum() < 10):\n    x = x * 2\n  return x\n"),
      {at::rand({2, 2}) + 0.1});
}

TEST(ScriptedModel, BranchOnTheData) {
  const Module module = scripted(
      "def forward(self, x):\n  if bool(x.sum() > 0):\n    y = x * 2\n  else:\n    y = "
      "self.act.forward(x)\n  return y + 1\n",
      {{"act", scripted("def forward(self, x):\n  return torch.exp(x)\n")}});
  expect_same(module, {at::ones({2, 2})});
  expect_same(module, {-at::ones({2, 2})});
}

TEST(ScriptedModel, WritesInPlaceInABranch) {
  const Module module = scripted(
      "def forward(self, x):\n  y = x * 2\n  v = y[0]\n  if bool(x.sum() > 0):\n    v.mul_(3)\n  "
      "else:\n    y.add_(1)\n"
      "  return y + v\n");
  expect_same(module, {at::ones({2, 2})});
  expect_same(module, {-at::ones({2, 2})});
}

TEST(ScriptedModel, DictionaryOutput) {
  const Module module = scripted(
      "def forward(self, x):\n  out = {\"twice\": x * 2}\n  out[\"sum\"] = x.sum(1)\n  return "
      "out\n");
  expect_same(module, {at::randn({2, 3})});
  const auto model = model_of(module);
  EXPECT_EQ(model.outputs()[0].name, "twice");
  EXPECT_EQ(model.outputs()[1].name, "sum");
  EXPECT_NO_THROW(model.resolve(parse_hook_point("output.sum")));
}

TEST(ScriptedModel, TwoInputsOfWhichOneIsTokens) {
  const Module module = scripted(
      "def forward(self, image, tokens):\n  text = torch.embedding(self.table, tokens).mean(1)\n"
      "  return image.flatten(1).mean(1, True) * text, text\n",
      {}, {{"table", at::randn({7, 4})}});
  expect_same(module,
              {at::randn({2, 3, 4, 4}), at::tensor({1, 2, 3, 6, 0, 1}, at::kLong).view({2, 3})});
}

TEST(ScriptedModel, InPlaceChain) {
  expect_same(scripted("def forward(self, x):\n  y = x * 2\n  y.add_(1).mul_(3).relu_()\n  z = y - "
                       "0.5\n  z += 2\n  return z\n"),
              {at::randn({3, 3})});
}

TEST(ScriptedModel, WritesIntoItsInput) {
  expect_same(scripted("def forward(self, x):\n  x[:, 0].add_(1)\n  return x * 2\n"),
              {at::randn({2, 3})});
}

TEST(ScriptedModel, WritesThroughAView) {
  expect_same(scripted("def forward(self, x):\n  y = x * 1\n  y.view([-1]).relu_()\n  return y\n"),
              {at::randn({2, 3})});
  expect_same(scripted("def forward(self, x):\n  y = x * 1\n  y.transpose(0, 1)[1].fill_(3.0)\n  "
                       "y[0, 1:] = y[1, :2]\n  return y\n"),
              {at::randn({2, 3})});
}

TEST(ScriptedModel, ReadsAViewThatWasMadeBeforeTheWrite) {
  expect_same(
      scripted(
          "def forward(self, x):\n  y = x * 1\n  v = y[:, 1]\n  y.relu_()\n  return v * y[:, 0]\n"),
      {at::randn({4, 3})});
}

TEST(ScriptedModel, WritesIntoOnePartOfAChunk) {
  // The original runs without gradients alone; the program has them.
  const auto model =
      model_of(scripted("def forward(self, x):\n  y = x * 1\n  a, b = torch.chunk(y, 2, 1)\n  "
                        "a.relu_()\n  return y + torch.cat([b, a], 1)\n"));
  const at::Tensor x = at::randn({2, 4});
  const at::Tensor a = x.slice(1, 0, 2).relu(), b = x.slice(1, 2, 4);
  Pass pass;
  pass.differentiate = {parse_hook_point("input")};
  const auto recording = model.run(named_inputs(model, {x}), pass);
  EXPECT_TRUE(recording.output().equal(at::cat({a + b, b + a}, 1)));
  EXPECT_TRUE(recording.gradients(recording.output())[0].equal(
      at::cat({2 * (x.slice(1, 0, 2) > 0).to(at::kFloat), at::full({2, 2}, 2.0F)}, 1)));
}

TEST(ScriptedModel, KeepsTheTypeOfAnInPlaceResult) {
  expect_same(scripted("def forward(self, x):\n  y = torch.zeros_like(x)\n  y.copy_(x.double())\n  "
                       "y.clamp_(-0.5, 0.5)\n  return y\n"),
              {at::randn({2, 4})});
}

TEST(ScriptedModel, InPlaceFormsWhoseOverloadsHaveOtherNames) {
  expect_same(scripted("def forward(self, x):\n  y = x * 1\n  y.pow_(2)\n  y.pow_(x.abs())\n"
                       "  return y\n"),
              {at::rand({2, 4}) + 0.5});
}

TEST(ScriptedModel, TiedWeights) {
  const at::Tensor weight = at::randn({4, 4});
  const Module module =
      scripted("def forward(self, x):\n  return torch.relu(x @ self.encoder) @ self.decoder.t()\n",
               {}, {{"encoder", weight}, {"decoder", weight}});
  expect_same(module, {at::randn({2, 4})});
}

TEST(ScriptedModel, SplitHeads) {
  expect_same(scripted("def forward(self, x):\n  n, t, d = x.shape[0], x.shape[1], x.shape[2]\n"
                       "  q = x.view([n, t, 2, d // 2]).transpose(1, 2)\n"
                       "  p = torch.softmax(q @ q.transpose(-1, -2), -1)\n"
                       "  return (p @ q).transpose(1, 2).reshape([n, t, d])\n"),
              {at::randn({2, 3, 4})});
}

TEST(ScriptedModel, InPlaceModuleLeavesTheValueBeforeIt) {
  const Module module =
      scripted("def forward(self, x):\n  return self.act.forward(self.norm.forward(x))\n",
               {{"norm", scripted("def forward(self, x):\n  return x - x.mean()\n")},
                {"act", relu_in_place()}});
  expect_same(module, {at::randn({2, 4})});
  const auto model = model_of(module);
  const at::Tensor x = at::randn({2, 4});
  Pass pass;
  pass.capture = {parse_hook_point("norm"), parse_hook_point("act"), parse_hook_point("act:in")};
  const auto recording = model.run(named_inputs(model, {x}), pass);
  EXPECT_TRUE(recording.captured[0].equal(x - x.mean()));
  EXPECT_TRUE(recording.captured[2].equal(x - x.mean()));
  EXPECT_TRUE(recording.captured[1].equal((x - x.mean()).relu()));
}

TEST(ScriptedModel, AssertionOfTheModel) {
  const Module module = scripted(
      "def forward(self, x):\n  assert x.dim() == 2, \"needs a matrix\"\n  return x * 2\n");
  expect_same(module, {at::randn({2, 3})});
  const auto model = model_of(module);
  EXPECT_THROW(model.run(named_inputs(model, {at::randn({3})}), {}), Error);
}

TEST(ScriptedModel, AnOperatorThatFailsNamesItsPlaceOnce) {
  const auto model =
      model_of(scripted("def forward(self, x):\n  return self.part.forward(x) + 1\n",
                        {{"part", scripted("def forward(self, x):\n  return x.view([7, 3])\n")}}));
  try {
    model.run(named_inputs(model, {at::randn({3, 2})}), {});
    FAIL();
  } catch (const Error& error) {
    const std::string text = error.what();
    const std::size_t first = text.find("part/aten::view");
    ASSERT_NE(first, std::string::npos) << text;
    EXPECT_EQ(text.find("part/aten::view", first + 1), std::string::npos) << text;
  }
}

TEST(ScriptedModel, RefusesWhatItCantKeep) {
  EXPECT_THAT(refusal(scripted("def forward(self, x):\n  return torch.dropout(x, 0.5, True)\n")),
              HasSubstr("random"));
  EXPECT_THAT(refusal(scripted("def forward(self, x):\n  return x + torch.rand([2])\n")),
              HasSubstr("random"));
  EXPECT_THAT(
      refusal(scripted(
          "def forward(self, x):\n  y = x * 1\n  z = y.reshape([-1])\n  z.relu_()\n  return y\n")),
      HasSubstr("wrote in place into memory that may be the same"));
  EXPECT_THAT(refusal(scripted("def forward(self, x):\n  self.state.add_(1)\n  return x\n", {},
                               {{"state", at::zeros({2})}})),
              HasSubstr("\"state\" is a parameter or buffer"));
  EXPECT_THAT(refusal(scripted("def forward(self, x):\n  y = x * 1\n  y.t_()\n  return y\n")),
              HasSubstr("aten::t_"));
  EXPECT_THAT(refusal(scripted("def forward(self, x: int):\n  return torch.zeros([x])\n")),
              HasSubstr("inputs must be tensors"));
}

TEST(ScriptedModel, ReadingOnlyAReshapeAfterWritingItIsAccepted) {
  expect_same(
      scripted(
          "def forward(self, x):\n  y = x * 1\n  z = y.reshape([-1])\n  z.relu_()\n  return z\n"),
      {at::randn({2, 2})});
}

}  // namespace
}  // namespace microtome::testing
