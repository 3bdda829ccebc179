// Metrics of attributions on cases whose scores are known.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gradient/plain_gradient.h"
#include "metrics/agreement.h"
#include "metrics/infidelity.h"
#include "metrics/insertion_deletion.h"
#include "metrics/localisation.h"
#include "metrics/max_sensitivity.h"
#include "metrics/parameter_randomisation.h"
#include "tests/plugins/attribution/on_network.h"

namespace microtome::testing {
namespace {

using ::testing::HasSubstr;

std::shared_ptr<MemoryDataset> images(const at::Tensor& x, const NamedTensors& more = {}) {
  NamedTensors fields{{"input", x}};
  for (const auto& [name, value] : more) fields.set(name, value);
  return std::make_shared<MemoryDataset>(sample_names(x.size(0)), fields);
}

Output attributed(const at::Tensor& values) {
  Output output;
  output.ids = sample_names(values.size(0));
  output.tensors["attributions"] = values;
  return output;
}

/// The metric of one method.
Metric of(const Output& output, const std::string& name, const std::string& method) {
  for (const Metric& metric : output.metrics) {
    if (metric.name == name && metric.details.at("method").as_string() == method) return metric;
  }
  throw Error("no metric " + name + " of " + method);
}

/// Class 0 is the sum of an image's pixels times fixed weights.
const at::Tensor weights() { return at::linspace(-1, 2, 36).view({1, 6, 6}); }
std::shared_ptr<StepModel> linear() {
  return std::make_shared<StepModel>(
      at::zeros({1, 1, 6, 6}),
      std::vector<StepModel::Step>{{"score", [](const at::Tensor& x) {
                                      const at::Tensor sum = (x * weights()).flatten(1).sum(1);
                                      return at::stack({sum, at::zeros_like(sum)}, 1);
                                    }}});
}

TEST(Metrics, InsertionAndDeletionPreferTheTrueOrder) {
  at::manual_seed(1);
  const at::Tensor x = at::rand({6, 1, 6, 6}) + 0.1;
  const auto stage = make<attribution::InsertionDeletion>(
      R"j({"target": "class(0)", "steps": 36, "sigma": 1, "random_orders": 10})j");
  const Output output =
      Harness()
          .model("model", linear())
          .dataset("data", images(x))
          .member("attributions", "true", kind::attributions, attributed(x * weights()))
          .member("attributions", "wrong", kind::attributions, attributed(-x * weights()))
          .member("attributions", "nothing", kind::attributions, attributed(at::zeros_like(x)))
          .run(*stage)
          .at("metrics");
  // Pixels that count most are first: of a sum no other order goes down faster.
  EXPECT_LT(of(output, "deletion_logit_less_random", "true").interval->high, 0);
  EXPECT_GT(of(output, "deletion_logit_less_random", "wrong").interval->low, 0);
  // Methods are compared with each other, paired by sample.
  const at::Tensor differences = output.tensors.at("deletion_logit_differences");
  ASSERT_EQ(differences.sizes(), (std::vector<std::int64_t>{3, 3}));
  EXPECT_NEAR(
      differences[0][1].item<double>(),
      of(output, "deletion_logit", "true").value - of(output, "deletion_logit", "wrong").value,
      1e-5);
  EXPECT_EQ(differences[1][0].item<float>(), -differences[0][1].item<float>());
  const auto pair =
      std::find_if(output.metrics.begin(), output.metrics.end(), [](const Metric& metric) {
        return metric.name == "deletion_logit_difference" &&
               metric.details.at("methods").as_list()[0].as_string() == "wrong";
      });
  ASSERT_NE(pair, output.metrics.end());
  EXPECT_GT(pair->interval->low, 0);
  // All ties: one more random order.
  const Metric none = of(output, "deletion_logit_less_random", "nothing");
  EXPECT_LT(none.interval->low, 0.5);
  EXPECT_GT(none.interval->high, -0.5);
  const at::Tensor curve = output.tensors.at("deletion_logit");
  ASSERT_EQ(curve.sizes(), (std::vector<std::int64_t>{4, 37}));
  // All begin at the clean score and end at the same place.
  const double clean = (x * weights()).flatten(1).sum(1).mean().item<double>();
  for (int method = 0; method < 4; ++method) {
    EXPECT_NEAR(curve[method][0].item<double>(), clean, 1e-4);
    EXPECT_NEAR(curve[method][36].item<double>(), curve[0][36].item<double>(), 1e-4);
  }
  // The area by hand: pixels fall to the mean colour in the order of the attribution.
  const double colour = x.mean().item<double>();
  double area = 0;
  for (std::int64_t i = 0; i < x.size(0); ++i) {
    const at::Tensor order = (x[i] * weights()).flatten().argsort(std::int64_t{0}, true);
    const at::Tensor fall = ((x[i] - colour) * weights()).flatten().index_select(0, order);
    const at::Tensor left = (x[i] * weights()).sum() - fall.cumsum(0);
    area += ((x[i] * weights()).sum() / 2 + left.sum() - left[35] / 2).item<double>() / 36;
  }
  EXPECT_NEAR(of(output, "deletion_logit", "true").value, area / 6, 1e-3);
}

TEST(Metrics, InfidelityOfALinearScoresGradientIsZero) {
  at::manual_seed(2);
  const at::Tensor x = at::randn({5, 1, 6, 6});
  const at::Tensor gradient = weights().expand({5, 1, 6, 6}).contiguous();
  for (const char* parameters :
       {R"j({"target": "class(0)", "perturbation": "noise"})j",
        R"j({"target": "class(0)", "perturbation": "square", "side": 3})j"}) {
    const auto stage = make<attribution::Infidelity>(parameters);
    const Output output =
        Harness()
            .model("model", linear())
            .dataset("data", images(x))
            .member("attributions", "gradient", kind::attributions, attributed(gradient))
            .member("attributions", "thrice", kind::attributions, attributed(3 * gradient))
            .run(*stage)
            .at("metrics");
    EXPECT_LE(of(output, "infidelity", "gradient").value, 1e-6) << parameters;
    EXPECT_GE(of(output, "infidelity", "thrice").value, 0.01) << parameters;
    // At its best scale it is the same.
    EXPECT_LE(std::abs(of(output, "infidelity_scaled", "thrice").value), 1e-6) << parameters;
    EXPECT_LT(of(output, "infidelity_scaled_less_random", "thrice").interval->high, 0)
        << parameters;
  }
}

TEST(Metrics, LocalisationCountsWhatLiesInTheMask) {
  at::Tensor mask = at::zeros({3, 4, 4}, at::kLong);
  mask.slice(1, 0, 2).slice(2, 0, 2).fill_(1);
  at::Tensor inside = at::full({3, 1, 4, 4}, -1.0), half = at::zeros({3, 1, 4, 4});
  inside.slice(2, 0, 2).slice(3, 0, 2).fill_(2);
  half.select(3, 0).select(2, 0).fill_(1);
  half.select(3, 3).select(2, 3).fill_(3);
  const auto stage = make<attribution::Localisation>(R"j({"mask": "mask"})j");
  const Output output =
      Harness()
          .dataset("data", images(at::zeros({3, 1, 4, 4}), {{"mask", mask}}))
          .member("attributions", "inside", kind::attributions, attributed(inside))
          .member("attributions", "quarter", kind::attributions, attributed(half))
          .run(*stage)
          .at("metrics");
  EXPECT_DOUBLE_EQ(of(output, "relevance_mass", "inside").value, 1);
  EXPECT_DOUBLE_EQ(of(output, "relevance_mass", "quarter").value, 0.25);
  EXPECT_DOUBLE_EQ(*of(output, "relevance_mass", "inside").chance, 0.25);
  EXPECT_DOUBLE_EQ(of(output, "pointing_game", "inside").value, 1);
  EXPECT_DOUBLE_EQ(of(output, "pointing_game", "quarter").value, 0);
  // The paired difference of what is all alike has no width.
  EXPECT_DOUBLE_EQ(of(output, "relevance_mass_less_random", "inside").interval->low, 0.75);
}

TEST(Metrics, RankCorrelationKnowsTies) {
  const at::Tensor a = at::tensor({1.0, 2.0, 3.0, 4.0, 2.0, 1.0, 2.0, 2.0}).view({2, 4});
  const at::Tensor b = at::tensor({10.0, 20.0, 30.0, 40.0, 1.0, 2.0, 3.0, 4.0}).view({2, 4});
  const at::Tensor found = attribution::rank_correlation(a, b);
  EXPECT_NEAR(found[0].item<double>(), 1, 1e-12);
  // Ranks 2, 0, 2, 2 against 0..3: covariance 1, variances 3 and 5.
  EXPECT_NEAR(found[1].item<double>(), 1 / std::sqrt(15.0), 1e-12);
  EXPECT_NEAR(attribution::rank_correlation(-b, b)[0].item<double>(), -1, 1e-12);
  EXPECT_EQ(attribution::rank_correlation(at::ones({1, 3}), at::rand({1, 3}))[0].item<double>(), 0);
}

TEST(Metrics, AgreementAndComplexity) {
  at::manual_seed(3);
  const at::Tensor a = at::randn({20, 1, 6, 6});
  at::Tensor point = at::zeros({20, 1, 6, 6});
  point.select(3, 2).select(2, 3).fill_(-4);
  const auto run = [&](const Stage& stage) {
    return Harness()
        .chunk_size(7)
        .member("attributions", "a", kind::attributions, attributed(a))
        .member("attributions", "cubed", kind::attributions, attributed(a * a * a))
        .member("attributions", "point", kind::attributions, attributed(point))
        .run(stage)
        .at("metrics");
  };
  const Output agreement = run(*make<attribution::Agreement>("{}"));
  const at::Tensor matrix = agreement.tensors.at("agreement");
  ASSERT_EQ(matrix.sizes(), (std::vector<std::int64_t>{4, 4}));
  EXPECT_NEAR(matrix[0][1].item<double>(), 1, 1e-6);  // a monotone function of it
  EXPECT_LE(std::abs(matrix[0][3].item<double>()), 0.15);
  const Output complexity = run(*make<attribution::Complexity>("{}"));
  EXPECT_NEAR(of(complexity, "effective_size", "point").value, 1.0 / 36, 1e-9);
  EXPECT_NEAR(of(complexity, "entropy", "point").value, 0, 1e-9);
  EXPECT_GT(of(complexity, "entropy", "a").value, of(complexity, "entropy", "cubed").value);
}

TEST(Metrics, WhatIsNotFiniteOrOfOtherSamplesIsAnErrorThatNamesIt) {
  at::Tensor broken = at::zeros({3, 1, 6, 6});
  broken[1][0][2][2] = std::numeric_limits<float>::quiet_NaN();
  const auto stage = make<attribution::Complexity>("{}");
  const auto message = [&](const Output& output) -> std::string {
    try {
      Harness().member("attributions", "ig", kind::attributions, output).run(*stage);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message(attributed(broken)), HasSubstr("attributions \"ig\" of sample \"s1\""));
}

TEST(Metrics, SensitivityOfAConstantGradientIsZero) {
  attribution::MaxSensitivityParams params;
  params.method.uses = "saliency";
  params.method.stage =
      make<attribution::Saliency>(R"j({"target": "class(0)", "absolute": false})j");
  const attribution::MaxSensitivity stage(params);
  const Output output = Harness()
                            .model("model", linear())
                            .dataset("data", images(at::randn({4, 1, 6, 6})))
                            .run(stage)
                            .at("metrics");
  EXPECT_EQ(of(output, "max_sensitivity", "saliency").value, 0);
  EXPECT_GT(*of(output, "max_sensitivity", "saliency").chance, 1);
  // Of input times gradient it is how much the input may move.
  attribution::MaxSensitivityParams moved;
  moved.method.uses = "input_x_gradient";
  moved.method.stage = make<attribution::InputXGradient>(R"j({"target": "class(0)"})j");
  const attribution::MaxSensitivity second(moved);
  const at::Tensor x = at::ones({2, 1, 6, 6});
  const double found =
      of(Harness().model("model", linear()).dataset("data", images(x)).run(second).at("metrics"),
         "max_sensitivity", "input_x_gradient")
          .value;
  EXPECT_GT(found, 0.005);
  EXPECT_LE(found, 0.02 + 1e-6);
}

TEST(Metrics, ParameterRandomisationGoesFromTheTopDown) {
  at::manual_seed(4);
  auto head = scripted("def forward(self, x):\n  return torch.linear(x, self.weight)\n", {},
                       {{"weight", at::randn({3, 4})}});
  const auto network = shared_model(scripted(
      "def forward(self, x):\n"
      "  y = torch.tanh(self.one.forward(x))\n  y = torch.tanh(self.two.forward(y))\n"
      "  return self.head.forward(y.mean([2, 3]))\n",
      {{"two", convolution(4, 4, true)}, {"one", convolution(2, 4, true)}, {"head", head}}));
  const auto layers = attribution::layers_from_the_top(*network);
  ASSERT_EQ(layers.size(), 3U);
  EXPECT_EQ(layers[0].module, "head");
  EXPECT_EQ(layers[1].module, "two");
  EXPECT_EQ(layers[2].module, "one");
  attribution::ParameterRandomisationParams params;
  params.method.uses = "saliency";
  params.method.stage =
      make<attribution::Saliency>(R"j({"target": "class(0)", "absolute": false})j");
  const attribution::ParameterRandomisation stage(params);
  const auto data = std::make_shared<MemoryDataset>(
      sample_names(6), NamedTensors{{network->inputs()[0].name, at::randn({6, 2, 8, 8})}});
  const Output output =
      Harness().model("model", network).dataset("data", data).run(stage).at("metrics");
  const at::Tensor curves = output.tensors.at("curves");
  ASSERT_EQ(curves.sizes(), (std::vector<std::int64_t>{3, 3}));
  // A gradient follows the parameters.
  EXPECT_LE(std::abs(curves[0][2].item<double>()), 0.5);
  EXPECT_EQ(
      attribution::structural_similarity(at::randn({2, 9, 9}).mul(0).add(1), at::ones({2, 9, 9}))
          .sub(1)
          .abs()
          .max()
          .item<double>(),
      0);
}

TEST(Metrics, AModelsParametersCanBeReplaced) {
  const auto network =
      shared_model(scripted("def forward(self, x):\n  return torch.linear(x, self.weight)\n", {},
                            {{"weight", at::ones({1, 3})}}));
  ASSERT_EQ(network->parameters().size(), 1U);
  const auto other =
      network->with_parameters({{"weight", at::tensor({1.0F, 2.0F, 3.0F}).view({1, 3})}});
  const NamedTensors x{{network->inputs()[0].name, at::ones({1, 3})}};
  EXPECT_EQ(other->run(x, {}).output().item<double>(), 6);
  EXPECT_EQ(network->run(x, {}).output().item<double>(), 3);
  EXPECT_THROW(network->with_parameters({{"weigth", at::ones({1, 3})}}), Error);
  EXPECT_THROW(network->with_parameters({{"weight", at::ones({3})}}), Error);
}

}  // namespace
}  // namespace microtome::testing
