// Capture, replace and differentiate: what each must and must not touch.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/host/model/scripted.h"
#include "tests/support/resident_memory.h"

namespace microtome::testing {
namespace {

using ::testing::HasSubstr;
using torch::jit::Module;

Module residual() {
  return scripted(
      "def forward(self, x):\n  return self.act.forward(self.body.forward(self.pass_on.forward(x)) "
      "+ x)\n",
      {{"pass_on", scripted("def forward(self, x):\n  return x\n")},
       {"body", scripted("def forward(self, x):\n  return x * 3\n")},
       {"act", scripted("def forward(self, x):\n  return torch.relu(x)\n")}});
}

Edit edit(const std::string& hook, std::function<at::Tensor(const at::Tensor&)> apply) {
  return {parse_hook_point(hook), std::move(apply)};
}

TEST(Hooks, AnEditChangesExactlyWhatComesAfterIt) {
  const auto model = model_of(residual());
  const at::Tensor x = at::rand({2, 3});
  Pass pass;
  for (const char* name : {"input", "pass_on:in", "pass_on", "body:in", "body", "/add", "act"}) {
    pass.capture.push_back(parse_hook_point(name));
  }
  // The identity module passes its input on: replacing its output leaves the skip connection alone.
  pass.edits = {edit("pass_on", [](const at::Tensor& v) { return v + 1; })};
  const auto r = model.run(named_inputs(model, {x}), pass);
  EXPECT_TRUE(r.captured[0].equal(x));
  EXPECT_TRUE(r.captured[1].equal(x));
  EXPECT_TRUE(r.captured[2].equal(x + 1));
  EXPECT_TRUE(r.captured[3].equal(x + 1));
  EXPECT_TRUE(r.captured[4].equal((x + 1) * 3));
  EXPECT_TRUE(r.captured[5].equal((x + 1) * 3 + x));
  EXPECT_TRUE(r.output().equal(((x + 1) * 3 + x).relu()));
}

TEST(Hooks, GradientByAModulesInputLeavesOutTheSkipConnection) {
  const auto model = model_of(residual());
  const at::Tensor x = at::rand({2, 3}) + 0.1;
  Pass pass;
  pass.differentiate = {parse_hook_point("body:in"), parse_hook_point("input"),
                        parse_hook_point("body")};
  const auto r = model.run(named_inputs(model, {x}), pass);
  const auto g = r.gradients(r.output());
  EXPECT_TRUE(g[0].equal(at::full({2, 3}, 3.0F)));
  EXPECT_TRUE(g[1].equal(at::full({2, 3}, 4.0F)));
  EXPECT_TRUE(g[2].equal(at::ones({2, 3})));
}

TEST(Hooks, GradientByAnOperatorThatReturnsItsArgumentLeavesOutOtherReaders) {
  const auto model =
      model_of(scripted("def forward(self, x):\n  y = x * 1\n  return y.contiguous() * 3 + y\n"));
  Pass pass;
  pass.differentiate = {parse_hook_point("/contiguous"), parse_hook_point("input")};
  const auto r = model.run(named_inputs(model, {at::rand({2, 3})}), pass);
  const auto g = r.gradients(r.output());
  EXPECT_TRUE(g[0].equal(at::full({2, 3}, 3.0F)));
  EXPECT_TRUE(g[1].equal(at::full({2, 3}, 4.0F)));
}

TEST(Hooks, AThousandPassesLeaveMemoryFlat) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the address sanitizer holds freed memory back";
#endif
  const auto model = model_of(residual());
  const at::Tensor x = at::rand({64, 256});
  Pass pass;
  pass.capture = {parse_hook_point("body")};
  pass.differentiate = {parse_hook_point("body:in")};
  const auto once = [&] {
    const auto r = model.run(named_inputs(model, {x}), pass);
    r.gradients(r.output());
  };
  for (int i = 0; i < 50; ++i) once();
  const double before = resident_bytes();
  for (int i = 0; i < 1000; ++i) once();
  // One recording holds 0.3 MB; a thousand that stayed would be 300 MB.
  EXPECT_LT(resident_bytes() - before, 10e6);
}

TEST(Hooks, ASelectorEditsAndCapturesItsPartAlone) {
  const auto model = model_of(residual());
  const at::Tensor x = at::rand({2, 3});
  Pass pass;
  pass.edits = {edit("body[unit=1]", [](const at::Tensor& v) { return at::zeros_like(v); })};
  pass.capture = {parse_hook_point("body"), parse_hook_point("body[unit=[0,2]]"),
                  parse_hook_point("body[unit=last]")};
  const auto r = model.run(named_inputs(model, {x}), pass);
  at::Tensor expected = (x * 3).clone();
  expected.select(1, 1).zero_();
  EXPECT_TRUE(r.captured[0].equal(expected));
  EXPECT_TRUE(r.captured[1].equal(expected.index_select(1, at::tensor({0, 2}))));
  EXPECT_TRUE(r.captured[2].equal(expected.select(1, 2)));
}

TEST(Hooks, GradientsFlowThroughWhatAnEditBringsIn) {
  const auto model = model_of(residual());
  const at::Tensor replacement = at::rand({2, 3}).requires_grad_();
  Pass pass;
  pass.record_gradients = true;
  pass.edits = {edit("body", [&](const at::Tensor&) { return replacement; })};
  pass.differentiate = {parse_hook_point("body")};
  const auto r = model.run(named_inputs(model, {at::rand({2, 3})}), pass);
  EXPECT_TRUE(r.gradients(r.output() * 2)[0].equal(at::full({2, 3}, 2.0F)));
}

TEST(Hooks, AnEditThatChangesTheShapeIsRefused) {
  const auto model = model_of(residual());
  Pass pass;
  pass.edits = {edit("body", [](const at::Tensor& v) { return v.sum(); })};
  EXPECT_THROW(model.run(named_inputs(model, {at::rand({2, 3})}), pass), Error);
}

TEST(Hooks, AnUnknownNameIsAnsweredWithNearOnes) {
  const auto model = model_of(residual());
  try {
    model.resolve(parse_hook_point("bodi"));
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("did you mean \"body\""));
  }
}

TEST(BackwardRules, GuidedBackpropagationOnAFunctionalRelu) {
  const auto model =
      model_of(scripted("def forward(self, x):\n  return (torch.relu(x) * self.w).sum(1)\n", {},
                        {{"w", at::tensor({1.0F, -1.0F, 1.0F, -1.0F})}}));
  const at::Tensor x = at::tensor({1.0F, 1.0F, -1.0F, -1.0F}).view({1, 4});
  Pass pass;
  pass.differentiate = {parse_hook_point("input")};
  const BackwardRule guided = [](const BackwardCall& call) {
    return std::vector<at::Tensor>{call.output_gradients[0].clamp_min(0) * (call.outputs[0] > 0)};
  };
  pass.rules.on("aten::relu", guided);
  const auto r = model.run(named_inputs(model, {x}), pass);
  EXPECT_TRUE(r.output().equal(at::zeros({1})));
  EXPECT_TRUE(r.gradients(r.output())[0].equal(at::tensor({1.0F, 0.0F, 0.0F, 0.0F}).view({1, 4})));
}

TEST(BackwardRules, TheStandardRuleIsTheDerivative) {
  const auto model =
      model_of(scripted("def forward(self, x):\n  y = torch.tanh(x)\n  y.relu_()\n  return "
                        "torch.cat([y, x * x], 1)\n"));
  const at::Tensor x = at::randn({2, 3});
  Pass plain, ruled;
  plain.differentiate = ruled.differentiate = {parse_hook_point("input")};
  int calls = 0;
  for (const char* operation : {"aten::tanh", "aten::relu", "aten::cat", "aten::mul"}) {
    ruled.rules.on(operation, [&calls](const BackwardCall& call) {
      ++calls;
      return call.standard();
    });
  }
  const auto a = model.run(named_inputs(model, {x}), plain),
             b = model.run(named_inputs(model, {x}), ruled);
  const at::Tensor weight = at::randn({2, 6});
  EXPECT_TRUE(
      at::allclose(a.gradients(a.output() * weight)[0], b.gradients(b.output() * weight)[0]));
  EXPECT_EQ(calls, 4);
}

TEST(BackwardRules, AreChosenByTheNode) {
  const auto model = model_of(residual());
  Pass pass;
  pass.differentiate = {parse_hook_point("input")};
  pass.rules.on(
      "aten::mul",
      [](const BackwardCall& call) {
        return std::vector<at::Tensor>{call.output_gradients[0] * 0};
      },
      [](const GraphNode& node) { return node.module == "body"; });
  const auto r = model.run(named_inputs(model, {at::rand({2, 3})}), pass);
  EXPECT_TRUE(r.gradients(r.output())[0].equal(at::ones({2, 3})));
}

}  // namespace
}  // namespace microtome::testing
