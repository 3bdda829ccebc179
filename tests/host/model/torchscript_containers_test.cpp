// Lists and dictionaries that a model makes and changes while it runs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/host/model/same_as_original.h"

namespace microtome::testing {
namespace {

using ::testing::HasSubstr;
using torch::jit::Module;

void expect_same_on_both_sides(const std::string& body) {
  const Module module = scripted("def forward(self, x):\n" + body);
  expect_same(module, {at::rand({2, 3}) + 0.1});
  expect_same(module, {-at::rand({2, 3}) - 0.1});
}

TEST(ScriptedContainers, ListsAreChangedWhileLoading) {
  expect_same(
      scripted("def forward(self, x):\n  l = [x]\n  l.append(x * 2)\n  l.insert(0, x - 1)\n"
               "  l.extend([x * 3, x * 4])\n  a = l.pop()\n  b = l.pop(0)\n  l = l + [a, b]\n"
               "  m = l[1:3]\n  l.reverse()\n  k = [1, 2, 3]\n  k[1] = 5\n  k += [7]\n"
               "  j = k.copy()\n  j[0] = 100\n  if 5 in k:\n    x = x + k.index(5)\n"
               "  n = len(l)\n  l.clear()\n  l += [x]\n"
               "  return torch.cat(m + l, 1) * n * (k[0] + k[1] + k[3] + j[0])\n"),
      {at::randn({2, 3})});
}

TEST(ScriptedContainers, TwoNamesAreOneList) {
  expect_same(scripted("def add(self, l: List[Tensor], x):\n  l.append(x)\n  return len(l)\n"
                       "def forward(self, x):\n  l = [x]\n  m = l\n  n = self.add(m, x * 2)\n"
                       "  m[0] = x * 5\n  return l[0] + l[1] * n\n"),
              {at::randn({2, 3})});
}

TEST(ScriptedContainers, DictionariesAreFilledWhileLoading) {
  const Module module = scripted(
      "def forward(self, x):\n  d: Dict[str, Tensor] = {}\n  d['a'] = x\n  d['b'] = x * 2\n"
      "  d['a'] = d['a'] + 1\n  d.update({'c': x * 3})\n  y = torch.zeros_like(x)\n"
      "  for k, v in d.items():\n    if k != 'b':\n      y = y + v\n"
      "  for k in d.keys():\n    y = y + d[k]\n  z = d.get('zz')\n  if z is not None:\n    y = y + "
      "z\n"
      "  p = d.pop('a')\n  d['n'] = y + p\n  e: Dict[int, Tensor] = {}\n"
      "  for i in range(2):\n    e[i] = x * i\n  d['e'] = e[1]\n  return d\n");
  expect_same(module, {at::randn({2, 3})});
  const auto model = model_of(module);
  ASSERT_EQ(model.outputs().size(), 4);
  EXPECT_EQ(model.outputs()[0].name, "b");
}

TEST(ScriptedContainers, NumbersOfAListAreChangedInABranchOnTheShape) {
  // As in Swin transformers.
  const Module module = scripted(
      "def forward(self, x):\n  given = [1, 2]\n  shift = given.copy()\n"
      "  if x.size(1) <= 3:\n    shift[0] = 0\n  if x.size(1) <= 4:\n    shift[1] = 1\n"
      "  if shift[0] + shift[1] > 0:\n    x = torch.roll(x, [shift[0], -shift[1]], [0, 1])\n"
      "  return x * float(shift[0] + shift[1] * 10)\n");
  for (const std::int64_t width : {3, 4, 5}) expect_same(module, {at::randn({3, width})});
}

TEST(ScriptedContainers, BranchesOnTheDataChangeListsFromOutside) {
  expect_same_on_both_sides(
      "  l = [x, x * 2]\n  if bool(x.sum() > 0):\n    l[0] = x * 3\n  else:\n    l[1] = x * 4\n"
      "  return l[0] + l[1]\n");
  expect_same_on_both_sides(
      "  l = [x]\n  if bool(x.sum() > 0):\n    l.append(x * 3)\n  return torch.stack(l).sum(0)\n");
  expect_same_on_both_sides(
      "  if bool(x.sum() > 0):\n    l = [x, x * 2]\n  else:\n    l = [x * 3, x * 4]\n"
      "  l.append(x * 7)\n  return torch.cat(l, 1)\n");
  expect_same_on_both_sides(
      "  d = {'a': x}\n  if bool(x.sum() > 0):\n    d['b'] = x * 3\n  else:\n    d['b'] = x * 5\n"
      "  return d\n");
  expect_same_on_both_sides(
      "  if bool(x.sum() > 0):\n    t = (x, 3, [x * 2])\n  else:\n    t = (x + 1, 4, [x * 5])\n"
      "  a, b, c = t\n  return a * b + c[0]\n");
}

TEST(ScriptedContainers, AListThatABranchMayHaveGivenASecondNameIsNotChanged) {
  EXPECT_THAT(
      refusal(scripted("def forward(self, x):\n  l = [x]\n  m = [x * 2]\n  if bool(x.sum() > 0):\n"
                       "    k = l\n  else:\n    k = m\n  l.append(x)\n  return torch.cat(k, 1)\n")),
      HasSubstr("a second name"));
}

TEST(ScriptedContainers, LoopsWhoseLengthDependsOnTheInputFillLists) {
  expect_same(
      scripted("def forward(self, x):\n  l = [x]\n  n = [0, 0]\n  d: Dict[str, Tensor] = {}\n"
               "  for i in range(x.size(1)):\n    l.append(l[-1] * 0.5 + i)\n    n[0] += i\n"
               "    n[1] = n[0] * 2\n    d['last'] = l[i]\n"
               "  return torch.stack(l).sum(0) * n[1] + d['last']\n"),
      {at::randn({2, 3})});
  expect_same(scripted("def forward(self, x):\n  rows: List[Tensor] = []\n"
                       "  for i in range(x.size(0)):\n    rows.append(torch.tanh(x[i]).sum(0))\n"
                       "  return torch.stack(rows)\n"),
              {at::randn({4, 5, 3})});
  expect_same(scripted("def forward(self, x):\n  l = [x for _ in range(x.size(1))]\n"
                       "  for i in range(x.size(1)):\n    l[i] = x * i\n    if i == 1:\n"
                       "      l[0] = x * 9\n  return torch.stack(l).sum(0)\n"),
              {at::randn({2, 3})});
}

TEST(ScriptedContainers, AListThatGrowsByItselfInALoopIsOneList) {
  expect_same(scripted("def forward(self, x):\n  outs: List[Tensor] = []\n"
                       "  h = torch.zeros_like(x[:, 0])\n  for t in range(x.size(1)):\n"
                       "    h = torch.tanh(h + x[:, t])\n    outs += [h]\n"
                       "  return torch.stack(outs, 1)\n"),
              {at::randn({2, 5, 3})});
  expect_same(scripted("def forward(self, x):\n  beams = [x]\n  for i in range(x.size(1) - 1):\n"
                       "    new: List[Tensor] = []\n    for b in beams:\n"
                       "      new += [b * 2, b + 1]\n    beams = new\n"
                       "  return torch.stack(beams, 1)\n"),
              {at::randn({2, 3})});
}

TEST(ScriptedContainers, AListThatWasFilledInALoopLetsARunBeCut) {
  const auto model = shared_model(
      scripted("def forward(self, x):\n  l: List[Tensor] = []\n  for i in range(x.size(1)):\n"
               "    l.append(x[:, i] * i)\n  return self.act.forward(torch.stack(l, 1))\n",
               {{"act", scripted("def forward(self, x):\n  return torch.tanh(x)\n")}}));
  const at::Tensor x = at::randn({2, 3});
  NamedTensors inputs;
  inputs.set("x", x);
  Pass pass;
  pass.cuts = {{parse_hook_point("act:in")}};
  const auto first = model->run(inputs, pass);
  for (int time = 0; time < 2; ++time) {
    EXPECT_TRUE(
        at::allclose(model->resume(*first.snapshots[0], {}).output(), (x * at::arange(3)).tanh()));
  }
}

TEST(ScriptedContainers, WritingInPlaceIsSeenThroughAListAndAfterABranch) {
  expect_same(scripted("def forward(self, x):\n  y = x * 1\n  l = [y, x]\n  y.relu_()\n"
                       "  return l[0] + l[1]\n"),
              {at::randn({2, 3})});
  // What a branch hands on may be a view of what is written later.
  EXPECT_THAT(
      refusal(scripted("def forward(self, x):\n  y = x * 1\n  if bool(x.sum() > 0):\n    v = y[0]\n"
                       "  else:\n    v = y[1]\n  y.relu_()\n  return v\n")),
      HasSubstr("memory that may be the same"));
  EXPECT_THAT(
      refusal(scripted("def forward(self, x):\n  y = x * 1\n  h = x[0]\n"
                       "  for i in range(x.size(0)):\n    h = y[i]\n  y.relu_()\n  return h\n")),
      HasSubstr("memory that may be the same"));
}

TEST(ScriptedContainers, PartsOfATensorAreAList) {
  expect_same(scripted("def forward(self, x):\n  a = x.chunk(3, 1)\n  y = torch.zeros_like(a[0])\n"
                       "  for t in a:\n    y = y + t\n  p = list(x.split(2, 1))\n  p.append(y)\n"
                       "  q = x.unbind(1)\n  return torch.cat(p, 1) + q[0].unsqueeze(1)\n"),
              {at::randn({2, 6, 4})});
}

}  // namespace
}  // namespace microtome::testing
