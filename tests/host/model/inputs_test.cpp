// What a model's inputs take, as its operators say, and the samples that it is tried on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/model/example_inputs.h"
#include "tests/host/model/scripted.h"

namespace microtome::testing {
namespace {

using host::DeclaredInput;
using host::DeclaredInputs;
using host::InputUse;
using host::ProgramModel;

std::vector<InputUse> uses_of(const std::string& source,
                              const std::vector<std::pair<std::string, at::Tensor>>& parameters) {
  return host::input_uses(host::torchscript::Lowering(scripted(source, {}, parameters)).run());
}

ProgramModel declared(const torch::jit::Module& module, std::vector<DeclaredInput> inputs) {
  return ProgramModel("m", host::torchscript::Lowering(module).run(),
                      DeclaredInputs(std::move(inputs)), at::kCPU);
}

torch::jit::Module embedding_of(std::int64_t ids) {
  return scripted("def forward(self, x):\n  return torch.embedding(self.table, x).mean([1])\n", {},
                  {{"table", at::randn({ids, 3})}});
}

TEST(InputUses, TheFirstOperatorThatTakesOneTypeSaysIt) {
  const at::Tensor weight = at::randn({3, 4});
  struct Case {
    std::string source;
    at::Tensor weight;
    std::optional<at::ScalarType> type;
    bool takes_integers;
  };
  const std::vector<Case> cases = {
      {"return torch.linear(x, self.w)", weight, at::kFloat, false},
      {"return torch.linear(torch.relu(x.flatten(1)), self.w)", weight, at::kFloat, false},
      {"return torch.linear(x, self.w)", weight.to(at::kDouble), at::kDouble, false},
      {"return torch.linear(x, self.w)", weight.to(at::kBFloat16), at::kBFloat16, false},
      {"return torch.matmul(x, self.w.t())", weight, at::kFloat, false},
      {"return torch.conv2d(x, self.w.view([1, 3, 2, 2]))", weight, at::kFloat, false},
      {"return torch.linear(x / 255.0, self.w)", weight, at::kFloat, true},
      {"return torch.linear(torch.cat([x, x], 1), self.w)", weight, at::kFloat, true},
      {"return torch.linear(x.to(dtype=6), self.w)", weight, std::nullopt, false},
      {"return torch.tanh(x) + self.w", weight, std::nullopt, false},
      {"return (x != 0).sum(1)", weight, std::nullopt, false},
      {"return torch.embedding(self.w, x)", weight, at::kLong, false},
      {"return self.w[x]", weight, std::nullopt, false},
      {"return torch.one_hot(x, 7)", weight, at::kLong, false},
      {"return self.w.masked_fill(x, 0.0)", weight, at::kBool, false},
      // The strict reader counts, wherever it stands.
      {"return torch.linear(x * 2.0, self.w) + torch.linear(x, self.w)", weight, at::kFloat,
       false}};
  for (const Case& one : cases) {
    const auto uses = uses_of("def forward(self, x):\n  " + one.source + "\n", {{"w", one.weight}});
    ASSERT_EQ(uses.size(), 1U);
    EXPECT_EQ(uses[0].type, one.type) << one.source;
    EXPECT_EQ(uses[0].takes_integers, one.takes_integers) << one.source;
  }
}

TEST(InputUses, IdsAreBelowTheSmallestTableThatReadsThem) {
  const auto uses = uses_of(
      "def forward(self, x, y, z):\n  return torch.embedding(self.large, x) + "
      "torch.embedding(self.small, x) + torch.embedding(self.large, y.to(dtype=4)) + z\n",
      {{"large", at::randn({9, 2})}, {"small", at::randn({5, 2})}});
  EXPECT_EQ(uses[0].ids, 5);
  EXPECT_EQ(uses[1].ids, 9);
  EXPECT_FALSE(uses[1].type) << "it is cast, so any type will do";
  EXPECT_EQ(uses[2].ids, 0);
}

TEST(InputUses, AreFoundInBranchesAndLoops) {
  const auto uses = uses_of(
      "def forward(self, x, y):\n"
      "  if bool(y.sum() > 0):\n    z = x.flatten(1)\n  else:\n    z = torch.relu(x)\n"
      "  i = 0\n"
      "  while i < int(y.sum()):\n    z = torch.relu(z)\n    i += 1\n"
      "  return torch.linear(z, self.w)\n",
      {{"w", at::randn({3, 4}).to(at::kDouble)}});
  EXPECT_EQ(uses[0].type, at::kDouble);
  EXPECT_FALSE(uses[1].type);
}

TEST(ExampleInputs, RowsDifferAndIdsAreValid) {
  for (const std::int64_t ids : {2, 3, 7, 1000}) {
    const auto model = declared(embedding_of(ids), {{"", {4}, {}, {}, {}}});
    EXPECT_EQ(model.inputs()[0].type, at::kLong);
    const at::Tensor x = model.example_inputs(6).at(0);
    EXPECT_EQ(x.scalar_type(), at::kLong);
    EXPECT_EQ(x.sizes(), at::IntArrayRef({6, 4}));
    EXPECT_GE(x.min().item<std::int64_t>(), 0);
    EXPECT_LT(x.max().item<std::int64_t>(), ids);
    for (std::int64_t a = 0; a < 6; ++a) {
      for (std::int64_t b = 0; b < a; ++b) EXPECT_FALSE(x[a].equal(x[b])) << ids;
    }
    EXPECT_TRUE(x.equal(model.example_inputs(6).at(0)));
  }
}

TEST(ExampleInputs, AreEmptyWhereASizeIsNotKnown) {
  EXPECT_TRUE(model_of(embedding_of(5)).example_inputs(2).empty());
  EXPECT_TRUE(declared(embedding_of(5), {{"", {-1}, {}, {}, {}}}).example_inputs(2).empty());
  const auto two = scripted("def forward(self, x, y):\n  return x + y\n");
  EXPECT_TRUE(declared(two, {{"x", {3}, {}, {}, {}}}).example_inputs(2).empty());
  EXPECT_EQ(declared(two, {{"y", {3}, {}, {}, {}}, {"x", {3}, at::kDouble, {}, {}}})
                .example_inputs(2)
                .at(0)
                .scalar_type(),
            at::kDouble);
}

TEST(ExampleInputs, OfAModelThatIsFedAreSamplesLikeThose) {
  const auto model = shared_model(embedding_of(9));
  const at::Tensor samples = at::tensor({8, 3, 0, 1, 1, 7}, at::kLong).view({2, 3});
  const auto fed = model->fed({{"x", at::kLong, {3}}}, {samples});
  EXPECT_TRUE(fed->example_inputs(2).at(0).equal(samples));
  EXPECT_TRUE(fed->example_inputs(1).at(0).equal(samples.narrow(0, 0, 1)));
  const at::Tensor more = fed->example_inputs(4).at(0);
  EXPECT_TRUE(more.narrow(0, 0, 2).equal(samples));
  EXPECT_FALSE(more[2].equal(more[0]));
  EXPECT_LT(more.max().item<std::int64_t>(), 9);
  EXPECT_EQ(fed->outputs()[0].shape, std::vector<std::int64_t>({3}));
  EXPECT_TRUE(model->outputs()[0].shape.empty()) << "the model itself has learnt nothing";
}

TEST(TypedInputs, ANetworkOfTokensIsMeasured) {
  const auto model = declared(embedding_of(5), {{"", {4}, {}, {}, {}}});
  EXPECT_EQ(model.resolve(parse_hook_point("output")).shape, std::vector<std::int64_t>({1, 3}));
  // The table's rows, 4 x 3 numbers, at the peak beside the ids.
  ASSERT_TRUE(model.bytes_per_sample({}));
  EXPECT_GE(*model.bytes_per_sample({}), 4 * 3 * 4 + 4 * 8);
}

TEST(TypedInputs, ANetworkInDoubleComputesInDouble) {
  const at::Tensor weight = at::randn({3, 4}, at::kDouble);
  const auto model = declared(
      scripted("def forward(self, x):\n  return torch.linear(x, self.w)\n", {}, {{"w", weight}}),
      {{"", {4}, {}, {}, {}}});
  EXPECT_EQ(model.inputs()[0].type, at::kDouble);
  const at::Tensor x = at::randn({2, 4}, at::kDouble);
  const at::Tensor y = model.run({{"x", x}}, {}).output();
  EXPECT_EQ(y.scalar_type(), at::kDouble);
  EXPECT_TRUE(y.allclose(x.matmul(weight.t()), 1e-12, 1e-12));
  // What a stage makes in single precision is widened.
  const at::Tensor single = x.to(at::kFloat);
  EXPECT_TRUE(model.run({{"x", single}}, {})
                  .output()
                  .allclose(single.to(at::kDouble).matmul(weight.t()), 1e-12, 1e-12));
}

TEST(TypedInputs, ANetworkInHalfPrecisionTakesAndGivesSinglePrecision) {
  const at::Tensor weight = at::randn({3, 4}).to(at::kBFloat16);
  const auto model =
      declared(scripted("def forward(self, x):\n  return torch.relu(torch.linear(x, self.w))\n", {},
                        {{"w", weight}}),
               {{"", {4}, {}, {}, {}}});
  EXPECT_EQ(model.inputs()[0].type, at::kFloat);
  EXPECT_EQ(model.given_type(0), at::kBFloat16);
  EXPECT_EQ(model.outputs()[0].type, at::kFloat);
  const at::Tensor x = at::randn({2, 4});
  const at::Tensor y = model.run({{"x", x}}, {}).output();
  const at::Tensor expected = at::relu(at::linear(x.to(at::kBFloat16), weight)).to(at::kFloat);
  EXPECT_TRUE(y.equal(expected)) << y << expected;
}

TEST(TypedInputs, OneInputOfSeveralIsNormalised) {
  const auto module = scripted("def forward(self, image, shift):\n  return image * 2 + shift\n");
  const auto model = declared(
      module, {{"image", {2, 1, 1}, {}, {0.5, 0.25}, {0.5, 2}}, {"shift", {1, 1, 1}, {}, {}, {}}});
  EXPECT_TRUE(model.normalises());
  EXPECT_EQ(model.normalised_input(), 0U);
  const at::Tensor image = at::tensor({1.0F, 0.75F}).view({1, 2, 1, 1});
  Pass pass;
  pass.capture = {parse_hook_point("pixels"), parse_hook_point("input.image")};
  const auto recording = model.run({{"image", image}, {"shift", at::zeros({1, 1, 1, 1})}}, pass);
  EXPECT_TRUE(recording.captured[0].equal(image));
  EXPECT_TRUE(recording.captured[1].flatten().equal(at::tensor({1.0F, 0.25F})));
  EXPECT_TRUE(recording.output().flatten().equal(at::tensor({2.0F, 0.5F})));
  EXPECT_THROW(declared(module, {{"image", {2, 1, 1}, {}, {0, 0}, {1, 1}},
                                 {"shift", {2, 1, 1}, {}, {0, 0}, {1, 1}}}),
               Error);
}

}  // namespace
}  // namespace microtome::testing
