// Quadrature against closed forms, and the method's properties, with the SDK's harness.
#include "plugins/attribution/paths/integrated_gradients.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "microtome/testing/harness.h"

namespace microtome::testing {
namespace {

using attribution::IntegratedGradients;
using attribution::Rule;

double integral(Rule rule, std::int64_t steps, int power) {
  double sum = 0;
  for (const auto& node : attribution::quadrature(rule, steps))
    sum += node.weight * std::pow(node.position, power);
  return sum;
}

TEST(Quadrature, WeightsSumToOne) {
  for (int rule = 0; rule < 7; ++rule) {
    for (const std::int64_t steps : {4, 16, 64, 500})
      EXPECT_NEAR(integral(static_cast<Rule>(rule), steps, 0), 1, 1e-12) << rule << " " << steps;
  }
}

TEST(Quadrature, IsExactForPolynomialsOfItsDegree) {
  const auto exact = [](Rule rule, std::int64_t steps, int degree) {
    EXPECT_NEAR(integral(rule, steps, degree), 1.0 / (degree + 1), 1e-12);
  };
  for (int degree = 0; degree <= 63; ++degree) exact(Rule::gauss_legendre, 32, degree);
  exact(Rule::midpoint, 5, 1);
  exact(Rule::trapezoid, 5, 1);
  for (int degree = 0; degree <= 3; ++degree) exact(Rule::simpson, 2, degree);
  for (int degree = 0; degree <= 5; ++degree) exact(Rule::boole, 4, degree);
  EXPECT_GT(std::abs(integral(Rule::simpson, 2, 4) - 0.2), 1e-4);
  EXPECT_NEAR(integral(Rule::left, 10, 1), 0.45, 1e-12);
  EXPECT_NEAR(integral(Rule::right, 10, 1), 0.55, 1e-12);
}

TEST(Quadrature, RefusesStepsThatARuleCantHave) {
  EXPECT_THROW(attribution::quadrature(Rule::simpson, 3), Error);
  EXPECT_THROW(attribution::quadrature(Rule::boole, 6), Error);
  EXPECT_THROW(attribution::quadrature(Rule::left, 0), Error);
}

/// x -> (sum of x^2, a linear form): gradients along a path are known.
std::shared_ptr<StepModel> quadratic() {
  return std::make_shared<StepModel>(
      at::zeros({1, 3}),
      std::vector<StepModel::Step>{
          {"square", [](const at::Tensor& x) { return x * x; }},
          {"sum", [](const at::Tensor& x) {
             return at::stack({x.sum(1), x.select(1, 0) * 2 - x.select(1, 2)}, 1);
           }}});
}

std::shared_ptr<MemoryDataset> some(const at::Tensor& x) {
  std::vector<std::string> ids;
  for (std::int64_t i = 0; i < x.size(0); ++i) ids.push_back("s" + std::to_string(i));
  return std::make_shared<MemoryDataset>(ids, NamedTensors{{"input", x}});
}

Output run(const std::string& parameters, const at::Tensor& x, std::int64_t chunk = 32) {
  const auto stage = make<IntegratedGradients>(parameters);
  return Harness()
      .model("model", quadratic())
      .dataset("data", some(x))
      .chunk_size(chunk)
      .run(*stage)
      .at("attributions");
}

TEST(IntegratedGradients, OfAQuadraticAreItsTerms) {
  const at::Tensor x = at::randn({5, 3});
  const Output output = run(R"j({"target": "class(0)", "steps": 4})j", x);
  EXPECT_TRUE(at::allclose(output.tensors.at("attributions"), x * x, 1e-5, 1e-6));
  EXPECT_LE(output.tensors.at("completeness_delta").abs().max().item<double>(), 1e-5);
  EXPECT_EQ(output.ids.size(), 5U);
}

TEST(IntegratedGradients, AtALayerTheyAreThoseOfTheRest) {
  const at::Tensor x = at::randn({4, 3});
  const Output output = run(R"j({"target": "class(1)", "steps": 2, "at": "square"})j", x);
  EXPECT_TRUE(at::allclose(output.tensors.at("attributions"),
                           x * x * at::tensor({2.0F, 0.0F, -1.0F}), 1e-5, 1e-6));
}

TEST(IntegratedGradients, SatisfyCompletenessForEveryTarget) {
  const at::Tensor x = at::randn({4, 3});
  for (const char* target : {"predicted", "class(1)", "contrast(0, 1)", "unit(square[unit=2])"}) {
    const Output output = run(std::string(R"j({"steps": 8, "target": ")j") + target + "\"}", x);
    EXPECT_LE(output.tensors.at("completeness_delta").abs().max().item<double>(), 1e-4) << target;
  }
  const Output output =
      run(R"j({"steps": 64, "target": {"of": "class(0)", "on": "log_prob"}})j", x);
  EXPECT_LE(output.tensors.at("completeness_delta").abs().max().item<double>(), 1e-4);
}

TEST(IntegratedGradients, OfTheBaselineItselfAreExactlyZero) {
  const Output output = run(R"j({"target": "class(0)"})j", at::zeros({2, 3}));
  EXPECT_TRUE(output.tensors.at("attributions").equal(at::zeros({2, 3})));
  EXPECT_TRUE(output.tensors.at("completeness_delta").equal(at::zeros({2}, at::kDouble)));
}

TEST(IntegratedGradients, DoNotDependOnTheChunk) {
  const at::Tensor x = at::randn({7, 3});
  const Output whole = run(R"j({"target": "class(0)"})j", x),
               parts = run(R"j({"target": "class(0)"})j", x, 2);
  EXPECT_TRUE(
      at::allclose(whole.tensors.at("attributions"), parts.tensors.at("attributions"), 1e-6, 1e-7));
  EXPECT_EQ(parts.metric("mean_absolute_completeness_delta").n, 7);
}

TEST(IntegratedGradients, ThePlanSaysHowManyRowsGoThroughTheModelTogether) {
  const auto stage = make<IntegratedGradients>(R"j({"target": "class(0)"})j");
  for (const std::int64_t chunk : {1, 3, 8, 11}) {
    std::int64_t most = 0;
    const auto counting = std::make_shared<StepModel>(
        at::zeros({1, 3}),
        std::vector<StepModel::Step>{{"sum", [&most](const at::Tensor& x) {
                                        most = std::max(most, x.size(0));
                                        return at::stack({x.square().sum(1), x.sum(1)}, 1);
                                      }}});
    Harness harness;
    harness.model("model", counting).dataset("data", some(at::randn({12, 3}))).chunk_size(chunk);
    harness.run(*stage);
    const Plan plan = harness.plan(*stage);
    EXPECT_EQ(plan.bytes_per_sample, 3 * 12) << "a value of three numbers";
    const std::int64_t said = plan.rows(chunk);
    // Whole copies of a chunk: 6 rows of 3 samples where 8 are said.
    EXPECT_LE(most, said) << chunk;
    EXPECT_GT(most, said - chunk) << chunk;
  }
}

TEST(IntegratedGradients, AutomaticStepsRefineOrSaySo) {
  const at::Tensor x = at::randn({6, 3}) * 4;
  const Output fine =
      run(R"j({"steps": "auto", "rule": "left", "tolerance": 0.01, "target": "class(0)"})j", x);
  EXPECT_TRUE(fine.tensors.at("converged").all().item<bool>());
  EXPECT_GT(fine.tensors.at("steps").max().item<std::int64_t>(), 16);
  const at::Tensor difference = (x * x).sum(1).to(at::kDouble);
  EXPECT_TRUE(
      (fine.tensors.at("completeness_delta").abs() <= 0.0101 * difference).all().item<bool>());
  const Output coarse = run(
      R"j({"steps": "auto", "rule": "left", "tolerance": 0.001, "max_steps": 32, "target": "class(0)"})j",
      x);
  EXPECT_FALSE(coarse.tensors.at("converged").any().item<bool>());
}

TEST(IntegratedGradients, SeveralBaselinesAreAveraged) {
  const at::Tensor x = at::randn({3, 3});
  const at::Tensor zeros = run(R"j({"target": "class(0)"})j", x).tensors.at("attributions");
  const at::Tensor noise =
      run(R"j({"target": "class(0)", "baseline": ["noise"]})j", x).tensors.at("attributions");
  const at::Tensor both = run(R"j({"target": "class(0)", "baseline": ["noise", "zeros"]})j", x)
                              .tensors.at("attributions");
  EXPECT_TRUE(at::allclose(both, (zeros + noise) / 2, 1e-5, 1e-6));
  EXPECT_FALSE(at::allclose(noise, zeros, 1e-2, 1e-2));
}

TEST(Baselines, BlurKeepsConstantsAndMeansAreMeans) {
  using attribution::Baseline;
  const at::Tensor flat = at::full({2, 3, 9, 9}, 0.7);
  EXPECT_TRUE(at::allclose(attribution::pixel_baseline(Baseline::parse("blur:2"), flat, {}), flat,
                           1e-5, 1e-6));
  const at::Tensor images = at::rand({2, 3, 9, 9}), mean = at::rand({3, 9, 9});
  EXPECT_TRUE(
      attribution::pixel_baseline(Baseline::parse("mean_image"), images, mean)[1].equal(mean));
  EXPECT_TRUE(at::allclose(
      attribution::pixel_baseline(Baseline::parse("mean_colour"), images, mean)[0].std({1, 2}),
      at::zeros({3}), 0, 1e-6));
  EXPECT_TRUE(attribution::pixel_baseline(Baseline::parse("black"), images, mean)
                  .equal(at::zeros_like(images)));
  const at::Tensor blurred = attribution::pixel_baseline(Baseline::parse("blur"), images, {});
  EXPECT_LT(blurred.std().item<double>(), images.std().item<double>() / 2);
  EXPECT_THROW(Baseline::parse("blur:-1"), Error);
  EXPECT_THROW(Baseline::parse("zeros:1"), Error);
}

}  // namespace
}  // namespace microtome::testing
