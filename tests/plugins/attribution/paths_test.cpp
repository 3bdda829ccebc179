// Path methods on functions whose answers are known.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/model/smooth_rectifiers.h"
#include "host/model/torchscript/loader.h"
#include "paths/discretized_integrated_gradients.h"
#include "paths/integrated_hessians.h"
#include "paths/path_integrated_gradients.h"
#include "tests/plugins/attribution/on_network.h"
#include "tests/support/test_data.h"

namespace microtome::testing {
namespace {

using ::testing::HasSubstr;

std::shared_ptr<MemoryDataset> some(const at::Tensor& x, const NamedTensors& more = {}) {
  NamedTensors fields{{"input", x}};
  for (const auto& [name, value] : more) fields.set(name, value);
  return std::make_shared<MemoryDataset>(sample_names(x.size(0)), fields);
}

std::shared_ptr<StepModel> scored(const at::Tensor& example,
                                  const std::function<at::Tensor(const at::Tensor&)>& score) {
  return std::make_shared<StepModel>(
      example, std::vector<StepModel::Step>{
                   {"score", [score](const at::Tensor& x) { return score(x).unsqueeze(1); }}});
}

std::shared_ptr<StepModel> product() {
  return scored(at::zeros({1, 2}),
                [](const at::Tensor& x) { return x.select(1, 0) * x.select(1, 1); });
}

template <class S>
Output run(const std::shared_ptr<StepModel>& model, const std::string& parameters,
           const std::shared_ptr<MemoryDataset>& data) {
  const auto stage = make<S>(R"j({"target": "class(0)")j" + parameters + "}");
  return Harness().model("model", model).dataset("data", data).run(*stage).at("attributions");
}

at::Tensor along(const std::string& parameters, const std::shared_ptr<MemoryDataset>& data) {
  return run<attribution::PathIntegratedGradients>(product(), parameters, data)
      .tensors.at("attributions");
}

const at::Tensor points() {
  return at::tensor({2.0F, 3.0F, -1.0F, 0.5F, 4.0F, -2.0F}).view({3, 2});
}
at::Tensor shares(double first) {
  const at::Tensor x = points(), whole = x.select(1, 0) * x.select(1, 1);
  return at::stack({whole * first, whole * (1 - first)}, 1);
}

TEST(PathIntegratedGradients, OfAProductByTheShapeOfThePath) {
  const auto data = some(points());
  EXPECT_TRUE(at::allclose(along("", data), shares(0.5), 1e-4, 1e-5));
  // x1 x2 p1 / (p1 + p2).
  EXPECT_TRUE(at::allclose(along(R"j(, "path": "power", "exponents": [1, 3], "steps": 512)j", data),
                           shares(0.25), 1e-3, 1e-4));
  // The same road at another speed.
  EXPECT_TRUE(at::allclose(along(R"j(, "path": "power", "exponents": [3], "steps": 512)j", data),
                           shares(0.5), 1e-3, 1e-4));
}

TEST(PathIntegratedGradients, ByWaypointsAndControlPoints) {
  const at::Tensor corner = points() * at::tensor({1.0F, 0.0F});
  const auto data = some(points(), {{"corner", corner}, {"middle", points() / 2}});
  // All of the first feature before any of the second.
  EXPECT_TRUE(at::allclose(along(R"j(, "path": "waypoints", "points": ["corner"])j", data),
                           shares(0), 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(along(R"j(, "path": "waypoints", "points": ["middle"])j", data),
                           shares(0.5), 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(along(R"j(, "path": "bezier", "points": ["middle"])j", data),
                           shares(0.5), 1e-4, 1e-5));
  // Integral of alpha^2 (2 - 2 alpha).
  EXPECT_TRUE(
      at::allclose(along(R"j(, "path": "bezier", "points": ["corner"], "steps": 512)j", data),
                   shares(1.0 / 6), 1e-3, 1e-4));
}

TEST(PathIntegratedGradients, ByThePathOfAnotherStage) {
  const at::Tensor corner = points() * at::tensor({1.0F, 0.0F});
  Output path;
  path.ids = {"s2", "s0", "s1"};  // in another order
  const at::Tensor all = at::stack({at::zeros({3, 2}), corner, points()}, 1);
  path.tensors["path"] = all.index_select(0, at::tensor({2, 0, 1}, at::kLong));
  const auto stage =
      make<attribution::PathIntegratedGradients>(R"j({"target": "class(0)", "path": "given"})j");
  const auto run_with = [&](const Output& given) {
    return Harness()
        .model("model", product())
        .dataset("data", some(points()))
        .artifact("path", kind::activations, given)
        .run(*stage)
        .at("attributions");
  };
  EXPECT_TRUE(at::allclose(run_with(path).tensors.at("attributions"), shares(0), 1e-4, 1e-5));
  // The same points as a tensor of the dataset.
  EXPECT_TRUE(at::allclose(
      along(R"j(, "path": "given", "points": ["way"])j", some(points(), {{"way", all}})), shares(0),
      1e-4, 1e-5));
  EXPECT_THROW(along(R"j(, "path": "given", "points": ["way"])j",
                     some(points(), {{"way", all.narrow(1, 0, 2)}})),
               Error);
  path.tensors["path"] = path.tensors["path"].clone();
  path.tensors["path"][1][2][0] += 0.5;
  try {
    run_with(path);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("the path of sample \"s0\" does not end"));
  }
}

TEST(PathIntegratedGradients, GuidedMovesFeaturesOfLeastGradientFirst) {
  const auto additive = scored(at::zeros({1, 3}), [](const at::Tensor& x) {
    return 5 * x.select(1, 0) + x.select(1, 1) * x.select(1, 1) - x.select(1, 2);
  });
  const at::Tensor x = at::tensor({1.0F, 2.0F, 3.0F, -1.0F, 0.0F, 2.0F}).view({2, 3});
  const Output output = run<attribution::PathIntegratedGradients>(
      additive, R"j(, "path": "guided", "steps": 64)j", some(x));
  // Of a sum of functions of one feature each the road does not matter.
  const at::Tensor expected =
      at::stack({5 * x.select(1, 0), x.select(1, 1).square(), -x.select(1, 2)}, 1);
  EXPECT_TRUE(at::allclose(output.tensors.at("attributions"), expected, 1e-3, 1e-3));
  EXPECT_LE(output.tensors.at("completeness_delta").abs().max().item<double>(), 1e-3);
  // Far from the straight line the smaller gradient's feature is first: of x1 x2^3 at (0, 0) both
  // are 0; a slope of 1 on the first keeps it back.
  const auto bent = scored(
      at::zeros({1, 2}), [](const at::Tensor& y) { return y.select(1, 0) * (1 + y.select(1, 1)); });
  const Output guided = run<attribution::PathIntegratedGradients>(
      bent, R"j(, "path": "guided", "steps": 64, "most_apart": 1, "fraction": 0.5)j",
      some(at::ones({1, 2})));
  // The second feature is all there when the first begins, so the first gets everything.
  EXPECT_NEAR(guided.tensors.at("attributions")[0][0].item<double>(), 2, 0.05);
  EXPECT_LE(guided.tensors.at("completeness_delta").abs().max().item<double>(), 1e-3);
}

TEST(PathIntegratedGradients, BlurOfALinearScoreIsWhatBlurringTakesAway) {
  at::manual_seed(1);
  const at::Tensor weight = at::randn({1, 6, 6});
  const auto model = scored(at::zeros({1, 1, 6, 6}), [weight](const at::Tensor& x) {
    return (x * weight).flatten(1).sum(1);
  });
  const at::Tensor x = at::randn({2, 1, 6, 6});
  const Output output = run<attribution::PathIntegratedGradients>(
      model, R"j(, "path": "blur", "sigma": 2, "steps": 16)j", some(x));
  EXPECT_TRUE(at::allclose(output.tensors.at("attributions"),
                           weight * (x - attribution::blurred(x, 2)), 1e-4, 1e-5));
}

TEST(DiscretizedIntegratedGradients, FollowsTheDataWhereTheStraightLineLeavesIt) {
  // Points of the curve (t, t^2): along it the shares of x1 x2 are 1/3 and 2/3.
  const at::Tensor t = at::arange(1, 201, at::kFloat) / 200;
  const auto data = some(at::stack({t, t * t}, 1));
  for (const char* strategy : {"greedy", "max_count"}) {
    const Output output = run<attribution::DiscretizedIntegratedGradients>(
        product(), R"j(, "strategy": ")j" + std::string(strategy) + "\"", data);
    EXPECT_LE(output.tensors.at("completeness_delta").abs().max().item<double>(), 5e-3);
    EXPECT_NEAR(output.tensors.at("attributions")[199][0].item<double>(), 1.0 / 3, 0.02);
    EXPECT_LE(output.tensors.at("approximation_error")[199].item<double>(), 0.005);
    EXPECT_GE(output.tensors.at("straight_error")[199].item<double>(), 0.05);
  }
  at::manual_seed(2);
  const at::Tensor x = at::rand({40, 3}) + 0.1;
  const at::Tensor weight = at::tensor({2.0F, -1.0F, 0.5F});
  const auto linear =
      scored(at::zeros({1, 3}), [weight](const at::Tensor& y) { return (y * weight).sum(1); });
  EXPECT_TRUE(at::allclose(run<attribution::DiscretizedIntegratedGradients>(linear, "", some(x))
                               .tensors.at("attributions"),
                           weight * x, 1e-4, 1e-5));
}

TEST(DiscretizedIntegratedGradients, PathsAreMonotoneAndEndWhereTheyShould) {
  at::manual_seed(3);
  const at::Tensor real = at::randn({60, 4});
  const auto set = attribution::ReferenceSet::of(real, 8);
  for (std::int64_t i = 0; i < real.size(0); ++i) {
    EXPECT_EQ((set.neighbours[i] == i).sum().item<std::int64_t>(), 0);
  }
  const at::Tensor start = at::zeros({4}), end = real[7] * 1.5;
  for (const auto strategy :
       {attribution::AnchorStrategy::greedy, attribution::AnchorStrategy::max_count}) {
    const auto path = attribution::anchored_path(set, start, end, 12, strategy);
    ASSERT_EQ(path.points.size(0), 14);
    EXPECT_TRUE(path.points[0].equal(start));
    EXPECT_TRUE(path.points[13].equal(end));
    const at::Tensor steps = path.points.slice(0, 1, 14) - path.points.slice(0, 0, 13);
    EXPECT_TRUE((steps * (end - start) >= -1e-6).all().item<bool>());
  }
}

TEST(IntegratedHessians, OfAProductAndASquareByHand) {
  const auto model = scored(at::zeros({1, 3}), [](const at::Tensor& x) {
    return x.select(1, 0) * x.select(1, 1) + x.select(1, 2).square();
  });
  const at::Tensor x = at::tensor({2.0F, 3.0F, -1.5F, 1.0F, -4.0F, 2.0F}).view({2, 3});
  const Output output = run<attribution::IntegratedHessians>(
      model, R"j(, "features": "unit", "steps": 64)j", some(x));
  at::Tensor expected = at::zeros({2, 3, 3});
  const at::Tensor quarter = x.select(1, 0) * x.select(1, 1) / 4;
  for (const int i : {0, 1}) {
    for (const int j : {0, 1}) expected.select(1, i).select(1, j).copy_(quarter);
  }
  expected.select(1, 2).select(1, 2).copy_(x.select(1, 2).square());
  EXPECT_TRUE(at::allclose(output.tensors.at("interactions"), expected, 1e-3, 1e-3));
  EXPECT_TRUE(at::allclose(output.tensors.at("attributions"), expected.sum(2), 1e-3, 1e-3));
  EXPECT_LE(output.tensors.at("completeness_delta").abs().max().item<double>(), 1e-3);
}

TEST(IntegratedHessians, OfANetworkOfReluSeeInteractionsWhenItIsMadeSmooth) {
  at::manual_seed(6);
  const auto module = scripted(
      "def forward(self, x):\n  return torch.matmul(torch.relu(torch.matmul(x, self.a)), self.b)\n",
      {}, {{"a", at::randn({4, 16})}, {"b", at::randn({16, 2})}});
  const at::Tensor x = at::randn({3, 4});
  const auto interactions = [&](const std::shared_ptr<host::ProgramModel>& model) {
    const auto stage = make<attribution::IntegratedHessians>(
        R"j({"target": "class(0)", "features": "unit", "steps": 256})j");
    const Output output =
        Harness()
            .model("model", model)
            .dataset("data", std::make_shared<MemoryDataset>(
                                 sample_names(3), NamedTensors{{model->inputs()[0].name, x}}))
            .run(*stage)
            .at("attributions");
    const at::Tensor pairs = output.tensors.at("interactions");
    EXPECT_LE((pairs - pairs.transpose(1, 2)).abs().max().item<double>(), 1e-3);
    const at::Tensor off = pairs - pairs.diagonal(0, 1, 2).diag_embed();
    return std::pair(off.abs().max().item<double>(),
                     output.tensors.at("completeness_delta").abs().max().item<double>());
  };
  EXPECT_EQ(interactions(shared_model(module)).first, 0);
  host::Program program = host::torchscript::Lowering(module).run();
  host::smooth_rectifiers(program, 5);
  const auto [smooth, delta] = interactions(
      std::make_shared<host::ProgramModel>("m", std::move(program), ModelInput{}, at::kCPU));
  EXPECT_GT(smooth, 0.05);
  EXPECT_LE(delta, 2e-3);
}

TEST(DiscretizedIntegratedGradients, GoThroughTheEmbeddingsOfTheModularAddition) {
  MICROTOME_TEST_DATA_OR_SKIP(file, "models/modular-addition.pt");
  const auto model = std::make_shared<host::ProgramModel>("net", host::torchscript::load(file),
                                                          ModelInput{}, at::kCPU);
  const std::string input = model->inputs()[0].name;
  const auto pairs = [](const at::Tensor& a, const at::Tensor& b) {
    return at::stack({a, b, at::full_like(a, 59)}, 1);
  };
  const at::Tensor every = at::arange(59);
  at::manual_seed(7);
  const at::Tensor a = at::randint(59, {8}, at::kLong), b = at::randint(59, {8}, at::kLong);
  const at::Tensor zero = at::zeros({8}, at::kLong);
  for (const char* strategy : {"greedy", "max_count"}) {
    const auto attribute = [&](int substeps) {
      const auto stage = make<attribution::DiscretizedIntegratedGradients>(
          std::string(R"j({"at": "embed", "point": "position", "background": 59, "neighbours": 30,
               "anchors": 15, "baseline": ["field:start"], "strategy": ")j") +
          strategy + R"j(", "substeps": )j" + std::to_string(substeps) + "}");
      return Harness()
          .model("model", model)
          .dataset("data", std::make_shared<MemoryDataset>(
                               sample_names(8),
                               NamedTensors{{input, pairs(a, b)}, {"start", pairs(zero, zero)}}))
          .dataset("background", std::make_shared<MemoryDataset>(
                                     sample_names(59), NamedTensors{{input, pairs(every, every)}}))
          .run(*stage)
          .at("attributions");
    };
    const Output by_points = attribute(1), between = attribute(32);
    const at::Tensor values = between.tensors.at("attributions");
    ASSERT_EQ(values.sizes(), (std::vector<std::int64_t>{8, 3, 128}));
    // The third token is the same in the baseline.
    EXPECT_TRUE(values.select(1, 2).equal(at::zeros({8, 128}))) << strategy;
    // 59 points of 128 dimensions lie far apart: gradients of them alone miss a good part of the
    // score, which those between them find.
    const auto delta = [](const Output& output) {
      return (output.tensors.at("completeness_delta").abs() / output.tensors.at("score").abs())
          .max()
          .item<double>();
    };
    EXPECT_GT(delta(by_points), 0.1) << strategy;
    EXPECT_LE(delta(between), 0.01) << strategy;
    // The points are nearer to real embeddings than those of the straight line.
    EXPECT_LT(between.tensors.at("approximation_error").mean().item<double>(),
              between.tensors.at("straight_error").mean().item<double>())
        << strategy;
  }
}

}  // namespace
}  // namespace microtome::testing
