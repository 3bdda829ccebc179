// What is affine at the beginning of a network, and straight paths that run it once.
#include <gtest/gtest.h>

#include <cmath>

#include "microtome/kinds/score_function.h"
#include "tests/host/model/scripted.h"

namespace microtome::testing {
namespace {

using host::PlanSettings;
using host::ProgramModel;
using torch::jit::Module;

std::shared_ptr<const ProgramModel> sharing(const std::shared_ptr<ProgramModel>& model,
                                            bool affine_prefix) {
  PlanSettings settings = PlanSettings::none();
  settings.affine_prefix = affine_prefix;
  return model->planned({}, settings);
}

std::optional<std::string> prefix_of(const Module& module, const std::string& from = "input") {
  const auto hook = sharing(shared_model(module), true)->affine_prefix(parse_hook_point(from));
  return hook ? std::optional(hook->text()) : std::nullopt;
}

/// Convolution, batch norm, then what bends.
Module smooth_net() {
  at::manual_seed(4);
  return scripted(
      "def forward(self, x):\n  a = torch.tanh(self.bn1.forward(self.conv1.forward(x)))\n"
      "  return torch.mean(torch.tanh(self.conv2.forward(a)), [2, 3])\n",
      {{"conv1", convolution(3, 6, true)}, {"bn1", norm(6)}, {"conv2", convolution(6, 4, false)}});
}

TEST(AffinePrefix, EndsBehindTheLastAffineOperator) {
  EXPECT_EQ(prefix_of(smooth_net()), "bn1");
  EXPECT_EQ(prefix_of(smooth_net(), "conv1"), "bn1");
  EXPECT_EQ(prefix_of(smooth_net(), "bn1"), std::nullopt);
  // From inside of the network too.
  EXPECT_EQ(prefix_of(smooth_net(), "/tanh"), "conv2");
}

TEST(AffinePrefix, ABranchAroundItHasNone) {
  // x itself is read later: bn1 alone does not say how the output depends on it.
  EXPECT_EQ(
      prefix_of(scripted("def forward(self, x):\n  return torch.relu(self.c.forward(x)) + x\n",
                         {{"c", convolution(3, 3, false)}})),
      std::nullopt);
  // Branches that are affine and join are.
  EXPECT_EQ(
      prefix_of(scripted("def forward(self, x):\n  return torch.relu(self.c.forward(x) + x)\n",
                         {{"c", convolution(3, 3, false)}})),
      "/add");
}

TEST(AffinePrefix, ProductsOfTwoThatMoveAreNone) {
  EXPECT_EQ(prefix_of(scripted("def forward(self, x):\n  return torch.relu((x * 3) * (x + 1))\n")),
            std::nullopt);
  EXPECT_EQ(prefix_of(scripted("def forward(self, x):\n  return torch.relu(x * 3 / 2 - 1)\n")),
            "/sub");
  EXPECT_EQ(prefix_of(scripted("def forward(self, x):\n  return torch.relu(2 / (x + 2))\n")),
            "/add");
}

TEST(AffinePrefix, IsLeftToTheSetting) {
  EXPECT_EQ(sharing(shared_model(smooth_net()), false)->affine_prefix(parse_hook_point("input")),
            std::nullopt);
}

TEST(AffinePrefix, IntegralsAlongALineAreThoseOfPlainRuns) {
  const auto model = shared_model(smooth_net());
  const at::Tensor end = at::randn({3, 3, 5, 5}), start = at::randn({3, 3, 5, 5});
  const NamedTensors inputs = named_inputs(*model, {end});
  const Batch batch{{0, 1, 2}, {"a", "b", "c"}, {}};
  const std::vector<QuadratureNode> nodes = {{0, 0.25}, {0.3, 0.5}, {1, 0.25}};
  const auto integral = [&](bool affine_prefix, const at::Tensor& rows) {
    const auto planned = sharing(model, affine_prefix);
    const ScoreFunction score(*planned, inputs, parse_hook_point("input"),
                              [&](const Recording& plain) {
                                return TargetScore(parse_target("class(2)"), plain, batch);
                              });
    const auto chosen = [&](const at::Tensor& values) {
      return rows.defined() ? values.index_select(0, rows) : values;
    };
    return score.line_integral(chosen(start), chosen(end), nodes, rows, [] {});
  };
  for (const at::Tensor& rows : {at::Tensor(), at::tensor({2, 0})}) {
    const at::Tensor plain = integral(false, rows), shared = integral(true, rows);
    ASSERT_EQ(plain.sizes(), shared.sizes());
    EXPECT_LE((plain - shared).abs().max().item<double>(), 1e-6 * plain.abs().max().item<double>());
  }
}

TEST(AffinePrefix, RectifiersDecideAsInPlainRuns) {
  at::manual_seed(8);
  // So many units that some are within a rounding of 0, and a gradient that depends on each.
  const auto model = shared_model(
      scripted("def forward(self, x):\n  a = torch.relu(self.bn1.forward(self.conv1.forward(x)))\n"
               "  return torch.mean(torch.relu(self.conv2.forward(a)), [2, 3])\n",
               {{"conv1", convolution(3, 32, true)},
                {"bn1", norm(32)},
                {"conv2", convolution(32, 16, false)}}));
  const at::Tensor end = at::randn({2, 3, 64, 64});
  const NamedTensors inputs = named_inputs(*model, {end});
  std::vector<QuadratureNode> nodes;
  for (int i = 0; i < 16; ++i) nodes.push_back({(i + 0.5) / 16, 1.0 / 16});
  const auto integral = [&](bool affine_prefix) {
    const auto planned = sharing(model, affine_prefix);
    const ScoreFunction score(
        *planned, inputs, parse_hook_point("input"), [&](const Recording& plain) {
          return TargetScore(parse_target("class(2)"), plain, Batch{{0, 1}, {"a", "b"}, {}});
        });
    return score.line_integral(at::zeros_like(end), end, nodes, {}, [] {});
  };
  const at::Tensor plain = integral(false), shared = integral(true);
  EXPECT_LE((plain - shared).abs().max().item<double>(), 2e-6 * plain.abs().max().item<double>());
}

TEST(AffinePrefix, ATargetBeforeItsEndRunsPlainly) {
  const auto planned = sharing(shared_model(smooth_net()), true);
  const at::Tensor end = at::randn({2, 3, 5, 5});
  const NamedTensors inputs = named_inputs(*planned, {end});
  const Batch batch{{0, 1}, {"a", "b"}, {}};
  const ScoreFunction score(
      *planned, inputs, parse_hook_point("input"), [&](const Recording& plain) {
        return TargetScore(parse_target("unit(conv1[c=1,y=2,x=2])"), plain, batch);
      });
  const at::Tensor start = at::zeros_like(end);
  const at::Tensor attributions =
      score.line_integral(start, end, {{0.5, 1}}, {}, [] {}) * (end - start);
  const at::Tensor difference = score.scores(end) - score.scores(start);
  EXPECT_LE((attributions.flatten(1).sum(1) - difference).abs().max().item<double>(), 1e-5);
}

}  // namespace
}  // namespace microtome::testing
