#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "microtome/testing/harness.h"
#include "plugins/linear_probe/linear_probe.h"

namespace microtome::testing {
namespace {

using linear_probe::LogisticRegression;

struct Sample {
  at::Tensor rows, classes;
};

/// Three classes around corners, `spread` apart from noise of 1.
Sample sample(std::int64_t count, std::int64_t features, double spread) {
  at::manual_seed(5);
  const at::Tensor classes = at::arange(count, at::kLong) % 3;
  const at::Tensor corners = at::eye(3, features, at::kDouble) * spread;
  return {at::randn({count, features}, at::kDouble) + corners.index_select(0, classes) + 7,
          classes};
}

std::map<std::string, Output> run(const Sample& data, const std::string& parameters) {
  Output activations;
  activations.tensors["layer"] = data.rows.to(at::kFloat);
  for (std::int64_t i = 0; i < data.classes.size(0); ++i)
    activations.ids.push_back("s" + std::to_string(i));
  Harness harness;
  harness.artifact("activations", kind::activations, activations);
  harness.dataset("labels", std::make_shared<MemoryDataset>(
                                activations.ids, NamedTensors{{"labels", data.classes}}));
  return harness.run(*make<linear_probe::LinearProbe>(parameters));
}

/// Gradient of the objective, by definition.
at::Tensor gradient(const LogisticRegression& probe, const Sample& data, double l2) {
  const at::Tensor probability =
      (data.rows.mm(probe.weights.t()) + probe.bias).softmax(1) - at::one_hot(data.classes, 3);
  return probability.t().mm(data.rows) / static_cast<double>(data.rows.size(0)) +
         l2 * probe.weights;
}

TEST(LogisticRegression, StopsWhereTheGradientIsZero) {
  const Sample data = sample(90, 5, 2);
  for (const double l2 : {1e-3, 0.1, 10.0}) {
    const LogisticRegression probe = linear_probe::fit(data.rows, data.classes, 3, l2);
    EXPECT_TRUE(probe.converged) << l2;
    EXPECT_LE(gradient(probe, data, l2).abs().max().item<double>(), 1e-3) << l2;
    // Softmax has a free direction; l2 leaves nothing in it.
    EXPECT_LE(probe.weights.sum(0).abs().max().item<double>(), 1e-4) << l2;
  }
}

TEST(LogisticRegression, TwoClassesOneFeatureHasAClosedForm) {
  // x = +-1 with label noise 1/4: the log odds are log 3 = 2 w without a penalty.
  const at::Tensor rows = at::tensor({1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0}).unsqueeze(1);
  const at::Tensor classes = at::tensor(std::vector<std::int64_t>{1, 1, 1, 0, 0, 0, 0, 1});
  const LogisticRegression probe = linear_probe::fit(rows.to(at::kDouble), classes, 2, 1e-12);
  EXPECT_NEAR((probe.weights[1] - probe.weights[0]).item<double>(), std::log(3.0), 1e-3);
}

TEST(LinearProbe, ReadsWhatIsThereAndNotWhatIsNot) {
  auto clear = run(sample(120, 6, 8), R"({"permutations": 20, "l2": [0.01, 1]})");
  const Metric& accuracy = clear["metrics"].metric("accuracy");
  EXPECT_GE(accuracy.value, 0.95);
  EXPECT_NEAR(*accuracy.chance, 1.0 / 3, 1e-9);
  EXPECT_EQ(accuracy.details.at("p_value"), Value(1.0 / 21));
  EXPECT_NEAR(clear["metrics"].metric("accuracy_of_permuted_labels").value, 1.0 / 3, 0.1);
  auto noise = run(sample(120, 6, 0), R"({"permutations": 20, "l2": [0.01, 1]})");
  EXPECT_LE(noise["metrics"].metric("accuracy").interval->low, 1.0 / 3);
  EXPECT_GT(noise["metrics"].metric("accuracy").details.at("p_value").as_number(), 0.05);
}

TEST(LinearProbe, DirectionsAreInUnitsOfTheFeatures) {
  Sample data = sample(120, 6, 8);
  auto plain = run(data, R"({"permutations": 0, "l2": 0.01})");
  data.rows = data.rows * 1000;
  auto scaled = run(data, R"({"permutations": 0, "l2": 0.01})");
  const at::Tensor directions = plain["directions"].tensors.at("directions");
  EXPECT_TRUE(
      at::allclose(directions, scaled["directions"].tensors.at("directions") * 1000, 1e-2, 1e-3));
  const at::Tensor scores = sample(120, 6, 8).rows.to(at::kFloat).mm(directions.t()) +
                            plain["directions"].tensors.at("bias");
  EXPECT_GE((scores.argmax(1) == data.classes).to(at::kFloat).mean().item<float>(), 0.95);
}

TEST(LinearProbe, MoreFeaturesThanRows) {
  const Sample data = sample(60, 200, 8);
  auto wide = run(data, R"({"permutations": 0, "l2": 0.1})");
  EXPECT_GE(wide["metrics"].metric("accuracy").value, 0.7);
  // The solution in the span of the rows is the solution: its gradient vanishes in all features.
  const at::Tensor mean = data.rows.to(at::kFloat).to(at::kDouble).mean(0);
  const at::Tensor deviation = data.rows.to(at::kFloat).to(at::kDouble).std(0, false);
  const Sample standardised{(data.rows.to(at::kFloat).to(at::kDouble) - mean) / deviation,
                            data.classes};
  LogisticRegression probe;
  probe.weights = wide["directions"].tensors.at("directions").to(at::kDouble) * deviation;
  probe.bias = wide["directions"].tensors.at("bias").to(at::kDouble) +
               wide["directions"].tensors.at("directions").to(at::kDouble).mv(mean);
  EXPECT_LE(gradient(probe, standardised, 0.1).abs().max().item<double>(), 1e-3);
}

TEST(LinearProbe, RowsOfASampleStayTogetherAndCountAsACluster) {
  // Every position of a sample repeats it: independent rows would seem three times as many.
  Sample data = sample(120, 6, 2);
  auto single = run(data, R"({"permutations": 0, "l2": 0.1})");
  data.rows = data.rows.unsqueeze(1).repeat({1, 3, 1});
  auto repeated = run(data, R"({"permutations": 0, "l2": 0.1})");
  const Metric& one = single["metrics"].metric("accuracy");
  const Metric& three = repeated["metrics"].metric("accuracy");
  EXPECT_NEAR(one.value, three.value, 0.03);
  EXPECT_NEAR(one.interval->high - one.interval->low, three.interval->high - three.interval->low,
              0.01);
}

TEST(StratifiedFolds, AreEven) {
  const at::Tensor classes = at::arange(101, at::kLong) % 4;
  const at::Tensor folds =
      linear_probe::stratified_folds(classes, 5, at::detail::createCPUGenerator(1));
  for (std::int64_t c = 0; c < 4; ++c) {
    const at::Tensor counts = at::bincount(folds.index({classes == c}), {}, 5);
    EXPECT_LE((counts.max() - counts.min()).item<std::int64_t>(), 1);
  }
}

}  // namespace
}  // namespace microtome::testing
