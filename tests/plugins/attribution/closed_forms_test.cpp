// Functions whose attributions are known, with the SDK's harness.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gradient/grad_cam.h"
#include "gradient/plain_gradient.h"
#include "gradient/smooth_grad.h"
#include "layers/conductance.h"
#include "paths/expected_gradients.h"
#include "perturbation/ablation.h"
#include "perturbation/rise.h"
#include "perturbation/shapley.h"
#include "tests/plugins/attribution/on_network.h"

namespace microtome::testing {
namespace {

std::shared_ptr<MemoryDataset> some(const at::Tensor& x) {
  return std::make_shared<MemoryDataset>(sample_names(x.size(0)), NamedTensors{{"input", x}});
}

template <class S>
Output run(const std::shared_ptr<StepModel>& model, const std::string& parameters,
           const at::Tensor& x, std::int64_t chunk = 32) {
  const auto stage = make<S>(parameters);
  return Harness()
      .model("model", model)
      .dataset("data", some(x))
      .chunk_size(chunk)
      .run(*stage)
      .at("attributions");
}

at::Tensor values(const Output& output) { return output.tensors.at("attributions"); }

const at::Tensor weights() { return at::tensor({2.0F, -1.0F, 0.5F, 0.0F}); }

/// A linear score: each feature adds its weight times its value, whoever is there.
std::shared_ptr<StepModel> additive() {
  return std::make_shared<StepModel>(
      at::zeros({1, 4}),
      std::vector<StepModel::Step>{{"weigh", [](const at::Tensor& x) { return x * weights(); }},
                                   {"sum", [](const at::Tensor& x) {
                                      return at::stack({x.sum(1) + 3, -x.sum(1)}, 1);
                                    }}});
}

/// x0 x1 + x2 x3 x0: games whose Shapley values from zero are equal shares of each product.
std::shared_ptr<StepModel> products() {
  return std::make_shared<StepModel>(
      at::zeros({1, 4}),
      std::vector<StepModel::Step>{{"product", [](const at::Tensor& x) {
                                      const auto c = [&](int i) { return x.select(1, i); };
                                      return at::stack({c(0) * c(1) + c(2) * c(3) * c(0), c(0)}, 1);
                                    }}});
}

at::Tensor shares(const at::Tensor& x) {
  const auto c = [&](int i) { return x.select(1, i); };
  const at::Tensor pair = c(0) * c(1) / 2, triple = c(2) * c(3) * c(0) / 3;
  return at::stack({pair + triple, pair, triple, triple}, 1);
}

TEST(ClosedForms, PlainGradients) {
  const at::Tensor x = at::randn({3, 4});
  EXPECT_TRUE(values(run<attribution::Saliency>(additive(), R"j({"target": "class(0)"})j", x))
                  .equal(weights().abs().expand({3, 4})));
  EXPECT_TRUE(values(run<attribution::Saliency>(
                         additive(), R"j({"target": "class(0)", "absolute": false})j", x))
                  .equal(weights().expand({3, 4})));
  EXPECT_TRUE(at::allclose(
      values(run<attribution::InputXGradient>(additive(), R"j({"target": "class(0)"})j", x)),
      weights() * x));
}

TEST(ClosedForms, OfALinearScoreAllMethodsWithBaselinesAgree) {
  const at::Tensor x = at::randn({3, 4}), expected = weights() * x;
  const char* parameters = R"j({"target": "class(0)", "features": "unit"})j";
  EXPECT_TRUE(at::allclose(values(run<attribution::FeatureAblation>(additive(), parameters, x)),
                           expected, 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(values(run<attribution::ShapleySampling>(additive(), parameters, x)),
                           expected, 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(values(run<attribution::KernelShap>(additive(), parameters, x)),
                           expected, 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(
      values(run<attribution::Lime>(
          additive(), R"j({"target": "class(0)", "features": "unit", "ridge": 0})j", x)),
      expected, 1e-4, 1e-5));
  // Of the layer too: conductance of "weigh" is its value.
  EXPECT_TRUE(at::allclose(values(run<attribution::Conductance>(
                               additive(), R"j({"target": "class(0)", "at": "weigh"})j", x)),
                           expected, 1e-4, 1e-5));
}

TEST(ClosedForms, ShapleyValuesOfProductsAreEqualShares) {
  const at::Tensor x = at::randn({4, 4}) + 2;
  const Output exact = run<attribution::KernelShap>(
      products(), R"j({"target": "class(0)", "features": "unit"})j", x);
  EXPECT_TRUE(at::allclose(values(exact), shares(x), 1e-3, 1e-4));
  EXPECT_LE(exact.tensors.at("completeness_delta").abs().max().item<double>(), 1e-4);
  const Output sampled = run<attribution::ShapleySampling>(
      products(), R"j({"target": "class(0)", "features": "unit", "orders": 4000})j", x);
  EXPECT_LE((values(sampled) - shares(x)).abs().max().item<double>(),
            0.05 * shares(x).abs().max().item<double>());
  EXPECT_LE(sampled.tensors.at("completeness_delta").abs().max().item<double>(), 1e-4);
  // Five orders sum to the difference as well.
  const Output few = run<attribution::ShapleySampling>(
      products(), R"j({"target": "class(0)", "features": "unit", "orders": 5})j", x);
  EXPECT_LE(few.tensors.at("completeness_delta").abs().max().item<double>(), 1e-4);
}

TEST(ClosedForms, RandomMethodsDoNotDependOnTheChunk) {
  const at::Tensor x = at::randn({5, 4}) + 2;
  const char* parameters = R"j({"target": "class(0)", "features": "unit", "orders": 3})j";
  EXPECT_TRUE(at::allclose(values(run<attribution::ShapleySampling>(products(), parameters, x, 5)),
                           values(run<attribution::ShapleySampling>(products(), parameters, x, 2)),
                           1e-5, 1e-6));
}

TEST(ClosedForms, AnInputThatIsNoNumberIsAnErrorThatNamesTheSample) {
  at::Tensor x = at::randn({3, 4});
  x[1][2] = std::numeric_limits<float>::infinity();
  try {
    run<attribution::Saliency>(additive(), R"j({"target": "class(0)"})j", x);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("sample \"s1\""), std::string::npos) << error.what();
  }
}

TEST(ClosedForms, TooFewCoalitionsAreAnError) {
  const at::Tensor x = at::randn({2, 4});
  EXPECT_THROW(
      run<attribution::KernelShap>(
          additive(), R"j({"target": "class(0)", "features": "unit", "coalitions": 3})j", x),
      Error);
}

TEST(ClosedForms, ExpectedGradientsOfALinearScoreCompareWithTheMean) {
  const at::Tensor x = at::randn({6, 4});
  const Output output = run<attribution::ExpectedGradients>(
      additive(), R"j({"target": "class(0)", "draws": 4000})j", x);
  const at::Tensor expected = weights() * (x - x.mean(0));
  EXPECT_LE((values(output) - expected).abs().max().item<double>(), 0.15);
  // For a linear score each draw is complete.
  EXPECT_LE(output.tensors.at("completeness_delta").abs().max().item<double>(), 1e-4);
}

TEST(ClosedForms, NeuronConductancesOfAnInputSumToConductance) {
  const at::Tensor x = at::randn({3, 4}) + 1;
  const std::string of = R"j({"target": "class(0)", "steps": 64)j";
  const Output layer = run<attribution::Conductance>(additive(), of + R"j(, "at": "weigh"})j", x);
  for (int unit = 0; unit < 4; ++unit) {
    const Output neuron = run<attribution::NeuronConductance>(
        additive(), of + R"j(, "neuron": "weigh[unit=)j" + std::to_string(unit) + "]\"}", x);
    EXPECT_TRUE(at::allclose(values(neuron).sum(1), values(layer).select(1, unit), 1e-3, 1e-4));
  }
}

TEST(ClosedForms, SmoothGradOfASquareIsItsGradientAndTheNoisesVariance) {
  const auto squares = std::make_shared<StepModel>(
      at::zeros({1, 4}), std::vector<StepModel::Step>{{"score", [](const at::Tensor& x) {
                                                         return at::stack({(x * x).sum(1)}, 1);
                                                       }}});
  const at::Tensor x = at::tensor({0.0F, 1.0F, 2.0F, 3.0F, -1.0F, 0.0F, 5.0F, 0.5F}).view({2, 4});
  const auto smoothed = [&](attribution::Smoothing smoothing) {
    attribution::SmoothGradParams params;
    params.method.uses = "saliency";
    params.method.stage =
        make<attribution::Saliency>(R"j({"target": "class(0)", "absolute": false})j");
    params.smoothing = smoothing;
    params.draws = 4000;
    params.noise = 0.1;
    const attribution::SmoothGrad stage(params);
    return values(
        Harness().model("model", squares).dataset("data", some(x)).run(stage).at("attributions"));
  };
  // The noise is a tenth of the range, and the gradient doubles it.
  const at::Tensor range = x.amax(1, true) - x.amin(1, true);
  const at::Tensor variance = (0.2 * range).square().expand_as(x);
  EXPECT_LE((smoothed(attribution::Smoothing::mean) - 2 * x).abs().max().item<double>(), 0.1);
  EXPECT_TRUE(at::allclose(smoothed(attribution::Smoothing::variance), variance, 0.1, 0));
  EXPECT_LE((smoothed(attribution::Smoothing::mean_of_squares) - (4 * x * x + variance))
                .abs()
                .max()
                .item<double>(),
            1.5);
}

/// A map of two channels, their mean as the score of class 0.
std::shared_ptr<StepModel> pooled() {
  return std::make_shared<StepModel>(
      at::zeros({1, 2, 4, 4}),
      std::vector<StepModel::Step>{
          {"map", [](const at::Tensor& x) { return x * 1; }},
          {"score", [](const at::Tensor& x) {
             const at::Tensor mean = x.mean({2, 3});
             return at::stack({3 * mean.select(1, 0) - mean.select(1, 1), mean.select(1, 1)}, 1);
           }}});
}

TEST(ClosedForms, GradCamOfPooledChannelsIsTheirWeightedSum) {
  const at::Tensor x = at::randn({2, 2, 4, 4});
  const at::Tensor expected = (3 * x.slice(1, 0, 1) - x.slice(1, 1, 2)).div(16).clamp_min(0);
  const Output output =
      run<attribution::GradCam>(pooled(), R"j({"target": "class(0)", "at": "map"})j", x);
  EXPECT_TRUE(at::allclose(values(output), expected, 1e-5, 1e-6));
  // Where a channel's gradient is negative it has no weight in Grad-CAM++; elsewhere alpha is
  // g^2 / (2 g^2 + sum A g^3) at each of 16 places.
  const double g = 3.0 / 16;
  const at::Tensor sum = x.select(1, 0).sum({1, 2}).to(at::kDouble);
  const at::Tensor weight = 16 * g / (2 + sum * g);
  const Output second =
      run<attribution::GradCamPlusPlus>(pooled(), R"j({"target": "class(0)", "at": "map"})j", x);
  EXPECT_TRUE(at::allclose(
      values(second), (weight.to(at::kFloat).view({2, 1, 1, 1}) * x.slice(1, 0, 1)).clamp_min(0),
      1e-4, 1e-5));
}

TEST(ClosedForms, RiseOfAConstantIsItAndOfAPlaceIsHighestThere) {
  const auto place = std::make_shared<StepModel>(
      at::zeros({1, 1, 8, 8}),
      std::vector<StepModel::Step>{
          {"score", [](const at::Tensor& x) {
             const at::Tensor corner = x.select(1, 0).slice(1, 0, 2).slice(2, 0, 2).mean({1, 2});
             return at::stack({at::full_like(corner, 3), corner}, 1);
           }}});
  const at::Tensor x = at::ones({2, 1, 8, 8});
  const at::Tensor constant = values(
      run<attribution::Rise>(place, R"j({"target": "class(0)", "cells": 4, "masks": 4000})j", x));
  EXPECT_LE((constant - 3).abs().max().item<double>(), 0.2);
  const at::Tensor map = values(
      run<attribution::Rise>(place, R"j({"target": "class(1)", "cells": 4, "masks": 1000})j", x));
  ASSERT_EQ(map.sizes(), (std::vector<std::int64_t>{2, 1, 8, 8}));
  EXPECT_TRUE((map.flatten(1).argmax(1) % 8 < 2).all().item<bool>());
  EXPECT_GT(map.slice(2, 0, 2).slice(3, 0, 2).mean().item<double>(),
            1.3 * map.slice(2, 4, 8).slice(3, 4, 8).mean().item<double>());
}

TEST(ClosedForms, OcclusionOfAMeanIsTheWindowsShare) {
  const at::Tensor x = at::ones({1, 2, 4, 4});
  const Output output = run<attribution::Occlusion>(
      pooled(), R"j({"target": "class(1)", "window": 2, "stride": 2})j", x);
  EXPECT_TRUE(at::allclose(values(output), at::full({1, 2, 4, 4}, 4.0 / 16), 1e-5, 1e-6));
}

TEST(ClosedForms, BaselinesCanBeTensorsOfTheDataset) {
  at::manual_seed(4);
  const at::Tensor x = at::randn({3, 4}), start = at::randn({3, 4});
  const auto of_field = [&](const at::Tensor& field) {
    const auto stage = make<attribution::FeatureAblation>(
        R"j({"target": "class(0)", "features": "unit", "baseline": ["field:start"]})j");
    return values(
        Harness()
            .model("model", additive())
            .dataset("data", std::make_shared<MemoryDataset>(
                                 sample_names(3), NamedTensors{{"input", x}, {"start", field}}))
            .run(*stage)
            .at("attributions"));
  };
  EXPECT_TRUE(at::allclose(of_field(start), weights() * (x - start), 1e-4, 1e-5));
  EXPECT_THROW(of_field(at::randn({3, 5})), Error);
  at::Tensor no_number = start.clone();
  no_number[1][2].fill_(std::nan(""));
  try {
    of_field(no_number);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.full(), ::testing::HasSubstr("\"s1\""));
  }
}

}  // namespace
}  // namespace microtome::testing
