// A plan changes how a network is computed, not what: each step to its tolerance.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/model/torchscript/loader.h"
#include "tests/host/model/scripted.h"
#include "tests/support/test_data.h"

namespace microtome::testing {
namespace {

using host::PlanSettings;
using host::ProgramModel;
using ::testing::HasSubstr;
using torch::jit::Module;

/// conv, norm, relu, conv with a skip, norm of the sum, and a view.
Module net() {
  at::manual_seed(5);
  return scripted(
      "def forward(self, x):\n  a = torch.relu(self.bn1.forward(self.conv1.forward(x)))\n  b = "
      "self.bn2.forward(self.conv2.forward(a) + a)\n  return b.view(b.size(0), -1)\n",
      {{"conv1", convolution(3, 6, false)},
       {"bn1", norm(6)},
       {"conv2", convolution(6, 6, true)},
       {"bn2", norm(6)}});
}

void expect_close(const at::Tensor& found, const at::Tensor& expected, double tolerance) {
  ASSERT_EQ(found.sizes(), expected.sizes());
  EXPECT_LE((found - expected).abs().max().item<double>(),
            tolerance * expected.abs().max().item<double>());
}

TEST(Plans, BatchNormIsFoldedWhereItsInputIsAConvolutionThatNobodyElseReads) {
  const auto whole = shared_model(net());
  const auto folded = whole->planned({}, only(&PlanSettings::fold_batch_norm));
  EXPECT_EQ(folded->plan_report().batch_norms_folded, 1);  // bn2 takes a sum
  const auto inputs = named_inputs(*whole, {at::randn({2, 3, 5, 5})});
  expect_close(folded->run(inputs, {}).output(), whole->run(inputs, {}).output(), 1e-5);
  Pass pass;
  pass.capture = {parse_hook_point("bn1"), parse_hook_point("conv2")};
  const Recording a = folded->run(inputs, pass), b = whole->run(inputs, pass);
  expect_close(a.captured[0], b.captured[0], 1e-5);
  expect_close(a.captured[1], b.captured[1], 1e-5);
}

TEST(Plans, SamplesAreWhereTheNetworkHasThem) {
  const auto whole = shared_model(net());
  const auto inputs = named_inputs(*whole, {at::randn({4, 3, 5, 5})});
  whole->learn_shapes({at::randn({2, 3, 5, 5})});
  const auto fed = whole->fed({{"x", at::kFloat, {3, 5, 5}}}, {at::randn({2, 3, 5, 5})});
  const std::optional<double> expected = fed->bytes_per_sample({});
  ASSERT_TRUE(expected);
  EXPECT_EQ(fed->planned({}, PlanSettings::none())->bytes_per_sample({}), expected);
  const auto folded = fed->planned({}, only(&PlanSettings::fold_batch_norm));
  EXPECT_GT(*folded->bytes_per_sample({}), 0);
  Pass pass;
  pass.cuts = {{parse_hook_point("conv2")}};
  const Recording run = folded->run(inputs, pass);
  const at::Tensor rows = at::tensor({3, 1}, at::kLong);
  const auto chosen = run.snapshots[0]->select(rows);
  expect_close(folded->resume(*chosen, {}).output(), run.output().index_select(0, rows), 1e-6);
}

TEST(Plans, AHookedValueIsMadeAsItWas) {
  const auto whole = shared_model(net());
  const auto inputs = named_inputs(*whole, {at::randn({2, 3, 5, 5})});
  for (const char* name : {"conv1", "bn1:in"}) {
    const auto planned =
        whole->planned({parse_hook_point(name)}, only(&PlanSettings::fold_batch_norm));
    EXPECT_EQ(planned->plan_report().batch_norms_folded, 0);
    Pass pass;
    pass.capture = {parse_hook_point(name)};
    EXPECT_TRUE(planned->run(inputs, pass).captured[0].equal(whole->run(inputs, pass).captured[0]));
    EXPECT_TRUE(planned->run(inputs, {}).output().equal(whole->run(inputs, {}).output()));
  }
  Pass pass;
  pass.capture = {parse_hook_point("conv1")};
  try {
    whole->planned({}, only(&PlanSettings::fold_batch_norm))->run(inputs, pass);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("folded away"));
  }
}

TEST(Plans, MaxPoolingBeforeAReluIsTheSameForwardAndBack) {
  at::manual_seed(12);
  const auto whole = shared_model(
      scripted("def forward(self, x):\n  a = torch.relu(self.conv.forward(x))\n  return "
               "torch.max_pool2d(a, [3, 3], [2, 2], [1, 1]) * 2\n",
               {{"conv", convolution(3, 6, true)}}));
  const auto swapped = whole->planned({}, only(&PlanSettings::pool_before_relu));
  EXPECT_EQ(swapped->plan_report().relus_after_pooling, 1);
  // Windows that are negative all over, and equal largest values, among others.
  at::Tensor x = at::randn({4, 3, 9, 9});
  x[0].fill_(0.3);
  x[1].fill_(-0.2);
  const auto inputs = named_inputs(*whole, {x});
  Pass pass;
  pass.differentiate = {parse_hook_point("input")};
  const Recording a = swapped->run(inputs, pass), b = whole->run(inputs, pass);
  EXPECT_TRUE(a.output().equal(b.output()));
  const at::Tensor direction = at::randn(b.output().sizes());
  EXPECT_TRUE(a.gradients((a.output() * direction).sum())[0].equal(
      b.gradients((b.output() * direction).sum())[0]));
}

TEST(Plans, AReluStaysBeforeMaxPoolingWhereItIsSeen) {
  const char* seen_by_others =
      "def forward(self, x):\n  a = torch.relu(x)\n  return torch.max_pool2d(a, [2, 2]).sum() + "
      "a.sum()\n";
  EXPECT_EQ(shared_model(scripted(seen_by_others))
                ->planned({}, only(&PlanSettings::pool_before_relu))
                ->plan_report()
                .relus_after_pooling,
            0);
  const auto whole = shared_model(
      scripted("def forward(self, x):\n  return torch.max_pool2d(self.act.forward(x), [2, 2])\n",
               {{"act", scripted("def forward(self, x):\n  return torch.relu(x)\n")}}));
  EXPECT_EQ(
      whole->planned({}, only(&PlanSettings::pool_before_relu))->plan_report().relus_after_pooling,
      1);
  const auto hooked =
      whole->planned({parse_hook_point("act")}, only(&PlanSettings::pool_before_relu));
  EXPECT_EQ(hooked->plan_report().relus_after_pooling, 0);
  Pass pass;
  pass.capture = {parse_hook_point("act")};
  const at::Tensor x = at::randn({2, 3, 4, 4});
  EXPECT_TRUE(hooked->run(named_inputs(*whole, {x}), pass).captured[0].equal(x.relu()));
}

TEST(Plans, ConstantsAreFoldedToTheSameBits) {
  at::manual_seed(6);
  const auto whole = shared_model(
      scripted("def forward(self, x):\n  return torch.addmm(self.bias, x, self.weight.t() * 2) + "
               "torch.arange(4)\n",
               {}, {{"weight", at::randn({4, 3})}, {"bias", at::randn({4})}}));
  const auto planned = whole->planned({}, only(&PlanSettings::fold_constants));
  EXPECT_EQ(planned->plan_report().constants_folded, 3);
  const auto inputs = named_inputs(*whole, {at::randn({2, 3})});
  EXPECT_TRUE(planned->run(inputs, {}).output().equal(whole->run(inputs, {}).output()));
}

TEST(Plans, ChannelsLastStaysInside) {
  const auto whole = shared_model(net());
  const auto planned = whole->planned({}, only(&PlanSettings::channels_last));
  EXPECT_TRUE(planned->plan_report().channels_last);
  const auto inputs = named_inputs(*whole, {at::randn({2, 3, 5, 5})});
  Pass pass;
  pass.capture = {parse_hook_point("conv1"), parse_hook_point("bn2")};
  pass.differentiate = {parse_hook_point("input")};
  bool in_rows = false;
  pass.edits = {{parse_hook_point("bn1"), [&](const at::Tensor& value) {
                   in_rows = value.is_contiguous();
                   return value;
                 }}};
  const Recording a = planned->run(inputs, pass), b = whole->run(inputs, pass);
  EXPECT_TRUE(in_rows);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(a.captured[i].is_contiguous());
    expect_close(a.captured[i].detach(), b.captured[i].detach(), 1e-5);
  }
  const at::Tensor gradient = a.gradients(a.output())[0];
  EXPECT_TRUE(gradient.is_contiguous());
  expect_close(gradient, b.gradients(b.output())[0], 1e-5);
}

TEST(Plans, InPlaceTakesOnlyMemoryThatNobodyElseHas) {
  const auto whole = shared_model(
      scripted("def forward(self, x):\n  a = x * 3\n  v = a[0]\n  b = torch.relu(a)\n  c = "
               "torch.relu(b - 1)\n  return b + c + v\n"));
  const auto planned = whole->planned({}, only(&PlanSettings::in_place));
  EXPECT_GE(planned->plan_report().in_place, 2);
  const at::Tensor x = at::randn({4, 5}), before = x.clone();
  const auto inputs = named_inputs(*whole, {x});
  Pass everything;
  whole->learn_shapes({x});
  for (const HookPointInfo& hook : whole->hook_points()) {
    // Not the first row, which is not of each sample.
    if (hook.refusal.empty()) everything.capture.push_back(parse_hook_point(hook.name));
  }
  const Recording a = planned->run(inputs, everything), b = whole->run(inputs, everything);
  for (std::size_t i = 0; i < everything.capture.size(); ++i)
    EXPECT_TRUE(a.captured[i].equal(b.captured[i])) << everything.capture[i].text();
  EXPECT_TRUE(planned->run(inputs, {}).output().equal(b.output()));
  EXPECT_TRUE(x.equal(before));
  // A function of the input itself must leave it alone.
  const auto direct = shared_model(scripted("def forward(self, x):\n  return torch.relu(x)\n"));
  direct->planned({}, only(&PlanSettings::in_place))->run(named_inputs(*direct, {x}), {});
  EXPECT_TRUE(x.equal(before));
}

TEST(Plans, ReducedPrecisionIsHandedOutInSinglePrecision) {
  const auto whole = shared_model(net());
  PlanSettings settings = PlanSettings::none();
  settings.precision = at::kBFloat16;
  const auto planned = whole->planned({}, settings);
  const auto inputs = named_inputs(*whole, {at::randn({2, 3, 5, 5})});
  Pass pass;
  pass.capture = {parse_hook_point("conv2")};
  const Recording a = planned->run(inputs, pass), b = whole->run(inputs, pass);
  EXPECT_EQ(a.output().scalar_type(), at::kFloat);
  EXPECT_EQ(a.captured[0].scalar_type(), at::kFloat);
  // Eight bits of mantissa, some operators deep.
  expect_close(a.output(), b.output(), 0.03);
  expect_close(a.captured[0], b.captured[0], 0.03);
  EXPECT_FALSE(a.output().equal(b.output()));
}

/// What an edit leaves in the place of `hook`: as many rows as there were, or one of them.
Edit constant_at(const std::string& hook, double number, bool one_row) {
  return {parse_hook_point(hook), [number, one_row](const at::Tensor& value) {
            return at::full_like(one_row ? value.slice(0, 0, 1) : value, number);
          }};
}

TEST(Plans, WhatIsTheSameForAllSamplesIsComputedOnOne) {
  at::manual_seed(7);
  // Operators that go row by row and others: sizes, views, a sum over samples, rows of a constant.
  const auto whole = shared_model(scripted(
      "def forward(self, x):\n  a = torch.relu(self.bn1.forward(self.conv1.forward(x)))\n  b = "
      "self.conv2.forward(torch.max_pool2d(a, [2, 2], [2, 2])) + x[:, 0:1, 0:3, 0:3]\n  c = "
      "torch.flatten(torch.relu(b), 1) - a.mean()\n  return torch.softmax(c, 1) * self.rows + "
      "a.view(a.size(0), -1).sum(0)[0] + a.view(-1, 36).sum()\n",
      {{"conv1", convolution(3, 6, false)}, {"bn1", norm(6)}, {"conv2", convolution(6, 6, true)}},
      {{"rows", at::randn({4, 54})}}));
  const auto planned = whole->planned({}, only(&PlanSettings::equal_rows_once));
  EXPECT_TRUE(planned->plan_report().equal_rows_once);
  const at::Tensor x = at::randn({4, 3, 6, 6});
  const auto inputs = named_inputs(*whole, {x});
  for (const char* place : {"input", "conv1", "bn1", "conv2"}) {
    Pass every, one;
    every.edits = {constant_at(place, 0.3, false)};
    one.edits = {constant_at(place, 0.3, true)};
    for (const char* seen : {"bn1", "conv2"}) {
      every.capture.push_back(parse_hook_point(seen));
      one.capture.push_back(parse_hook_point(seen));
    }
    const Recording expected = whole->run(inputs, every);
    for (const auto& model : {std::shared_ptr<const ProgramModel>(whole), planned}) {
      const Recording found = model->run(inputs, one);
      expect_close(found.output(), expected.output(), 1e-5);
      for (std::size_t i = 0; i < every.capture.size(); ++i) {
        expect_close(found.captured[i], expected.captured[i], 1e-5);
        EXPECT_TRUE(found.captured[i].is_contiguous());
      }
    }
    // From a cut on it is the same, and where gradients are recorded all rows are there.
    Pass cut;
    cut.cuts = {{parse_hook_point(place)}};
    const Recording clean = planned->run(inputs, cut);
    one.capture.clear();
    expect_close(planned->resume(*clean.snapshots[0], one).output(), expected.output(), 1e-5);
    one.record_gradients = every.record_gradients = true;
    EXPECT_TRUE(planned->run(inputs, one).output().equal(whole->run(inputs, every).output()));
  }
}

TEST(Plans, ARowThatStandsForAllIsCapturedKeptAndEditedAsAllOfThem) {
  at::manual_seed(8);
  const auto whole = shared_model(net());
  const auto planned = whole->planned({}, only(&PlanSettings::equal_rows_once));
  const auto inputs = named_inputs(*whole, {at::randn({3, 3, 5, 5})});
  // The second edit sees three rows and makes them differ again.
  std::vector<std::int64_t> rows;
  Pass pass;
  pass.edits = {constant_at("conv1", 0.5, true),
                {parse_hook_point("bn1"), [&](const at::Tensor& value) {
                   rows.push_back(value.size(0));
                   return value + at::arange(3).view({3, 1, 1, 1});
                 }}};
  pass.cuts = {{parse_hook_point("bn1:in")}};
  pass.capture = {parse_hook_point("bn1"), parse_hook_point("conv1")};
  const Recording found = planned->run(inputs, pass), expected = whole->run(inputs, pass);
  EXPECT_EQ(rows, (std::vector<std::int64_t>{3, 3}));
  EXPECT_TRUE(found.captured[1].equal(at::full({3, 6, 5, 5}, 0.5F)));
  expect_close(found.captured[0], expected.captured[0], 1e-5);
  expect_close(found.output(), expected.output(), 1e-5);
  const auto chosen = found.snapshots[0]->select(at::tensor({2, 0}, at::kLong));
  EXPECT_EQ(planned->resume(*chosen, {}).output().size(0), 2);
  // One sample is its own row, and a shape that fits neither is refused.
  const auto single = named_inputs(*whole, {at::randn({1, 3, 5, 5})});
  Pass alone;
  alone.edits = {constant_at("conv1", 0.5, true)};
  EXPECT_TRUE(planned->run(single, alone).output().equal(whole->run(single, alone).output()));
  Pass two;
  two.edits = {{parse_hook_point("conv1"),
                [](const at::Tensor& value) { return value.slice(0, 0, 2).clone(); }}};
  EXPECT_THROW(static_cast<void>(planned->run(inputs, two)), Error);
}

TEST(Plans, ARowThatStandsForAllGoesThroughBranchesAndLoops) {
  const auto whole = shared_model(scripted(
      "def forward(self, x):\n  a = self.act.forward(x)\n  for i in range(x.size(1)):\n    "
      "a = a * 2 + a.size(0)\n  if bool(a.sum() > 0):\n    a = a - 1\n  return a\n",
      {{"act", scripted("def forward(self, x):\n  return torch.relu(x)\n")}}));
  const auto planned = whole->planned({}, only(&PlanSettings::equal_rows_once));
  const auto inputs = named_inputs(*whole, {at::randn({3, 2})});
  Pass pass;
  pass.edits = {constant_at("act", 0.25, true)};
  EXPECT_TRUE(planned->run(inputs, pass).output().equal(whole->run(inputs, pass).output()));
  EXPECT_TRUE(whole->run(inputs, pass).output().equal(at::full({3, 2}, 9.0F)));
}

TEST(Plans, BackwardRulesSeeTheOperatorsThatWereGiven) {
  const auto whole = shared_model(net());
  const auto planned = whole->planned({}, PlanSettings{});
  int seen = 0;
  Pass pass;
  pass.differentiate = {parse_hook_point("input")};
  pass.rules.on("aten::batch_norm", [&](const BackwardCall& call) {
    ++seen;
    return call.standard();
  });
  const auto inputs = named_inputs(*whole, {at::randn({2, 3, 5, 5})});
  const Recording recording = planned->run(inputs, pass);
  static_cast<void>(recording.gradients(recording.output()));
  EXPECT_EQ(seen, 2);
}

TEST(Plans, RealNetworksAreTheSameToRounding) {
  for (const auto& [name, size] : std::vector<std::pair<std::string, std::vector<std::int64_t>>>{
           {"cifar10-resnet20.pt", {4, 3, 32, 32}},
           {"cifar10-resnet20-traced.pt", {4, 3, 32, 32}},
           {"imagenet-squeezenet1_0.pt", {1, 3, 227, 227}},
           {"imagenet-mobilenet_v2.pt", {2, 3, 96, 96}}}) {
    MICROTOME_TEST_DATA_OR_SKIP(file, "models/" + name);
    const auto whole = std::make_shared<ProgramModel>("net", host::torchscript::load(file),
                                                      ModelInput{}, at::kCPU);
    const auto planned = whole->planned({}, PlanSettings{});
    at::manual_seed(2);
    const auto inputs = named_inputs(*whole, {at::randn(size)});
    const at::Tensor expected = whole->run(inputs, {}).output();
    expect_close(planned->run(inputs, {}).output(), expected, 1e-4);
    const bool has_norms = name.find("resnet20") != std::string::npos;
    EXPECT_EQ(planned->plan_report().batch_norms_folded, has_norms ? 19 : 0) << name;
  }
}

TEST(Plans, TheModularAdditionNetworkIsTheSameToRounding) {
  MICROTOME_TEST_DATA_OR_SKIP(file, "models/modular-addition.pt");
  const auto whole =
      std::make_shared<ProgramModel>("net", host::torchscript::load(file), ModelInput{}, at::kCPU);
  const auto planned = whole->planned({}, PlanSettings{});
  const auto inputs = named_inputs(*whole, {at::randint(0, 59, {16, 3}, at::kLong)});
  expect_close(planned->run(inputs, {}).output(), whole->run(inputs, {}).output(), 1e-5);
}

}  // namespace
}  // namespace microtome::testing
