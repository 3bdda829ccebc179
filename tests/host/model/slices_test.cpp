// From any cut on: what comes after is computed, nothing else, and with as many samples as wanted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include "host/model/torchscript/loader.h"
#include "tests/host/model/scripted.h"
#include "tests/support/test_data.h"

namespace microtome::testing {
namespace {

using ::testing::HasSubstr;
using torch::jit::Module;

std::shared_ptr<const host::ProgramModel> shared_model(const Module& module) {
  return std::make_shared<host::ProgramModel>("m", host::torchscript::Lowering(module).run(),
                                              ModelInput{}, at::kCPU);
}

/// x -> a -> b, with a skip from a around b, and a head.
Module skipping() {
  return scripted(
      "def forward(self, x):\n  a = self.a.forward(x)\n  return self.head.forward("
      "self.b.forward(a) + a)\n",
      {{"a", scripted("def forward(self, x):\n  return torch.sin(x) * 2\n")},
       {"b", scripted("def forward(self, x):\n  return torch.tanh(x)\n")},
       {"head", scripted("def forward(self, x):\n  return x.view(x.size(0), -1).cumsum(1)\n")}});
}

Pass cut_at(const std::vector<std::string>& names) {
  Pass pass;
  pass.cuts.emplace_back();
  for (const std::string& name : names) pass.cuts[0].push_back(parse_hook_point(name));
  return pass;
}

Edit replace(const std::string& hook, const at::Tensor& value) {
  return {parse_hook_point(hook), [value](const at::Tensor&) { return value; }};
}

TEST(Slices, GoingOnGivesTheSameBitsAsRunningWhole) {
  const auto model = shared_model(skipping());
  const auto inputs = named_inputs(*model, {at::rand({3, 2, 4})});
  for (const char* name : {"input", "a", "b", "b:in", "head", "/add"}) {
    const Recording whole = model->run(inputs, cut_at({name}));
    ASSERT_EQ(whole.snapshots.size(), 1U);
    const Recording on = model->resume(*whole.snapshots[0], {});
    EXPECT_TRUE(on.output().equal(whole.output())) << name;
    EXPECT_TRUE(model->resume(*whole.snapshots[0], {}).output().equal(whole.output())) << name;
  }
}

TEST(Slices, AnEditAtTheCutChangesWhatComesAfterAlone) {
  const auto model = shared_model(skipping());
  const auto inputs = named_inputs(*model, {at::rand({3, 2, 4})});
  const auto snapshot = model->run(inputs, cut_at({"b"})).snapshots[0];
  Pass patched;
  patched.edits = {replace("b", at::full({3, 2, 4}, 0.5F))};
  const at::Tensor expected = model->run(inputs, patched).output();
  EXPECT_TRUE(model->resume(*snapshot, patched).output().equal(expected));
  // What is before the cut is not computed again, and can't be asked for.
  Pass before;
  before.capture = {parse_hook_point("a")};
  try {
    model->resume(*snapshot, before);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("not computed from the cut"));
  }
}

TEST(Slices, SamplesAreStackedAndChosen) {
  const auto model = shared_model(skipping());
  const at::Tensor x = at::rand({3, 2, 4});
  const Recording clean = model->run(named_inputs(*model, {x}), cut_at({"b"}));
  const auto twice = clean.snapshots[0]->repeated(2);
  EXPECT_EQ(twice->rows(), 6);
  Pass patched;
  patched.edits = {{parse_hook_point("b"), [](const at::Tensor& value) {
                      at::Tensor half = value.clone();
                      half.slice(0, 3).zero_();
                      return half;
                    }}};
  const at::Tensor both = model->resume(*twice, patched).output();
  EXPECT_TRUE(both.slice(0, 0, 3).equal(clean.output()));
  Pass zero;
  zero.edits = {replace("b", at::zeros({3, 2, 4}))};
  EXPECT_TRUE(both.slice(0, 3).equal(model->run(named_inputs(*model, {x}), zero).output()));

  const auto chosen = clean.snapshots[0]->select(at::tensor({2, 0}, at::kLong));
  EXPECT_TRUE(model->resume(*chosen, {})
                  .output()
                  .equal(clean.output().index_select(0, at::tensor({2, 0}, at::kLong))));
}

TEST(Slices, GradientsGoBackToTheCut) {
  const auto model = shared_model(skipping());
  const auto inputs = named_inputs(*model, {at::rand({3, 2, 4})});
  Pass whole;
  whole.differentiate = {parse_hook_point("a")};
  const Recording recording = model->run(inputs, whole);
  const at::Tensor expected = recording.gradients(recording.output())[0];
  const auto snapshot = model->run(inputs, cut_at({"a"})).snapshots[0];
  const Recording on = model->resume(*snapshot, whole);
  EXPECT_TRUE(on.gradients(on.output())[0].equal(expected));
}

TEST(Slices, HeadsAndSamplesInOneDimensionAreToldApart) {
  const auto merged = [](const char* order) {
    return scripted(
        std::string("def forward(self, x):\n  h = self.split.forward(x)\n  return "
                    "self.rest.forward(h).view(x.size(0), -1)\n"),
        {{"split", scripted(std::string("def forward(self, x):\n  return x") + order + "\n")},
         {"rest", scripted("def forward(self, x):\n  return x * 2\n")}});
  };
  const at::Tensor x = at::rand({4, 2, 5});
  const auto outer = shared_model(merged(".reshape(x.size(0) * 2, 5)"));
  const auto snapshot = outer->run(named_inputs(*outer, {x}), cut_at({"split"})).snapshots[0];
  EXPECT_TRUE(outer->resume(*snapshot->select(at::tensor({3, 1, 1}, at::kLong)), {})
                  .output()
                  .equal((x * 2).index_select(0, at::tensor({3, 1, 1}, at::kLong)).view({3, -1})));
  // Heads outermost.
  const auto inner = shared_model(
      scripted("def forward(self, x):\n  h = self.split.forward(x)\n"
               "  return self.rest.forward(h).view(2, x.size(0), 5).transpose(0, 1)\n",
               {{"split", scripted("def forward(self, x):\n"
                                   "  return x.transpose(0, 1).reshape(x.size(0) * 2, 5)\n")},
                {"rest", scripted("def forward(self, x):\n  return x * 2\n")}}));
  const auto other = inner->run(named_inputs(*inner, {x}), cut_at({"split"})).snapshots[0];
  const at::Tensor rows = at::tensor({3, 1, 1}, at::kLong);
  EXPECT_TRUE(
      inner->resume(*other->select(rows), {}).output().equal((x * 2).index_select(0, rows)));
}

TEST(Slices, WithoutOutputsARunEndsAfterTheLastHookPoint) {
  const auto model =
      shared_model(scripted("def forward(self, x):\n  a = self.a.forward(x)\n  assert "
                            "bool(a.sum() > 0), \"late\"\n  return a\n",
                            {{"a", scripted("def forward(self, x):\n  return x * 2\n")}}));
  const auto inputs = named_inputs(*model, {at::full({2}, -1.0F)});
  Pass early;
  early.capture = {parse_hook_point("a")};
  early.outputs = false;
  const Recording recording = model->run(inputs, early);
  EXPECT_TRUE(recording.captured[0].equal(at::full({2}, -2.0F)));
  EXPECT_TRUE(recording.outputs.empty());
  EXPECT_THROW(model->run(inputs, {}), Error);
}

TEST(Slices, CutsAreOutsideOfLoopsAndAtWholeValues) {
  const auto model = shared_model(
      scripted("def forward(self, x):\n  while bool(x.sum() < 10):\n    x = self.a.forward(x)\n  "
               "return x\n",
               {{"a", scripted("def forward(self, x):\n  return x * 2\n")}}));
  // One sample: how often the loop turns would depend on the others.
  const auto inputs = named_inputs(*model, {at::ones({1, 2})});
  EXPECT_THROW(model->run(inputs, cut_at({"a"})), Error);
  EXPECT_THROW(model->run(inputs, cut_at({"input[c=1]"})), Error);
  const Recording whole = model->run(inputs, cut_at({"input"}));
  EXPECT_TRUE(model->resume(*whole.snapshots[0], {}).output().equal(at::full({1, 2}, 8.0F)));
}

TEST(Slices, RepeatedRunsLeaveMemoryFlat) {
  const auto model = shared_model(skipping());
  const auto inputs = named_inputs(*model, {at::rand({3, 2, 4})});
  Pass pass = cut_at({"b"});
  pass.capture = {parse_hook_point("a"), parse_hook_point("/add")};
  pass.differentiate = {parse_hook_point("a")};
  std::size_t early = 0;
  for (int i = 0; i < 1000; ++i) {
    const Recording recording = model->run(inputs, pass);
    static_cast<void>(recording.gradients(recording.output()));
    static_cast<void>(model->resume(*recording.snapshots[0], {}));
    if (i == 50) early = mallinfo2().uordblks;
  }
  EXPECT_LE(mallinfo2().uordblks, early + 65536);
}

TEST(Slices, OnRealNetworksEveryCutGoesOnToTheSameOutput) {
  for (const auto& [name, size] : std::vector<std::pair<std::string, std::vector<std::int64_t>>>{
           {"cifar10-resnet20.pt", {4, 3, 32, 32}}, {"imagenet-mobilenet_v2.pt", {2, 3, 96, 96}}}) {
    MICROTOME_TEST_DATA_OR_SKIP(file, "models/" + name);
    const auto model = std::make_shared<host::ProgramModel>("net", host::torchscript::load(file),
                                                            ModelInput{}, at::kCPU);
    at::manual_seed(1);
    const auto inputs = named_inputs(*model, {at::randn(size)});
    Pass all;
    for (const HookPointInfo& hook : model->hook_points())
      all.cuts.push_back({parse_hook_point(hook.name)});
    const Recording whole = model->run(inputs, all);
    for (std::size_t i = 0; i < all.cuts.size(); i += 7) {
      EXPECT_TRUE(model->resume(*whole.snapshots[i], {}).output().equal(whole.output()))
          << all.cuts[i][0].text();
    }
    // Two copies beside each other are what each is alone, to rounding.
    const std::size_t middle = all.cuts.size() / 2;
    const at::Tensor both = model->resume(*whole.snapshots[middle]->repeated(2), {}).output();
    const double scale = whole.output().abs().max().item<double>();
    EXPECT_LE((both - whole.output().repeat({2, 1})).abs().max().item<double>(), 1e-5 * scale);
  }
}

}  // namespace
}  // namespace microtome::testing
