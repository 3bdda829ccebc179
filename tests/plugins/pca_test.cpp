#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "microtome/testing/harness.h"
#include "plugins/pca/pca.h"

namespace microtome::testing {
namespace {

Output activations(const at::Tensor& rows) {
  Output output;
  output.tensors["layer"] = rows.to(at::kFloat);
  for (std::int64_t i = 0; i < rows.size(0); ++i) output.ids.push_back(std::to_string(i));
  return output;
}

std::map<std::string, Output> run(const at::Tensor& rows, const std::string& parameters) {
  Harness harness;
  harness.artifact("activations", kind::activations, activations(rows));
  return harness.run(*make<pca::PrincipalComponents>(parameters));
}

/// Rows with a spectrum that falls, and a large mean.
at::Tensor rows(std::int64_t count, std::int64_t features) {
  at::manual_seed(3);
  const at::Tensor scale = at::pow(0.7, at::arange(features, at::kDouble));
  return at::randn({count, features}, at::kDouble) * scale + 100;
}

/// Singular values of the centred rows say what the variances are.
void expect_equals_svd(const at::Tensor& data, std::map<std::string, Output> found,
                       double tolerance) {
  const at::Tensor centred = data.to(at::kFloat).to(at::kDouble);
  const at::Tensor around_zero = centred - centred.mean(0);
  const auto [u, s, v] = at::linalg_svd(around_zero, false);
  const at::Tensor directions = found["directions"].tensors.at("directions").to(at::kDouble);
  const std::int64_t k = directions.size(0);
  const at::Tensor variance = (s * s / static_cast<double>(data.size(0) - 1));
  EXPECT_TRUE(at::allclose(found["directions"].tensors.at("variance"), variance.slice(0, 0, k),
                           tolerance, tolerance));
  const at::Tensor cosine = (directions * v.slice(0, 0, k)).sum(1).abs();
  EXPECT_GE(cosine.min().item<double>(), 1 - tolerance);
  EXPECT_TRUE(at::allclose(directions.mm(directions.t()), at::eye(k, at::kDouble), 0, 1e-5));
  EXPECT_TRUE(at::allclose(found["projection"].tensors.at("projection").to(at::kDouble),
                           around_zero.mm(directions.t()), 1e-3, 1e-4));
  EXPECT_NEAR(found["directions"].metric("explained_variance").value,
              (variance.slice(0, 0, k).sum() / variance.sum()).item<double>(), tolerance);
}

TEST(Pca, ExactEqualsTheSingularValueDecomposition) {
  const at::Tensor data = rows(200, 12);
  expect_equals_svd(data, run(data, R"({"components": 4, "method": "exact"})"), 1e-6);
}

TEST(Pca, ExactWithMoreFeaturesThanRows) {
  const at::Tensor data = rows(15, 60);
  expect_equals_svd(data, run(data, R"({"components": 4, "method": "exact"})"), 1e-6);
}

TEST(Pca, RandomisedFindsTheSame) {
  const at::Tensor data = rows(300, 80);
  expect_equals_svd(data, run(data, R"({"components": 4, "method": "randomised"})"), 1e-4);
}

TEST(Pca, PositionsAreRows) {
  const at::Tensor data = rows(120, 6);
  auto flat = run(data, R"({"components": 3, "method": "exact"})");
  auto placed = run(data.view({30, 4, 6}), R"({"components": 3, "method": "exact"})");
  EXPECT_TRUE(at::allclose(flat["directions"].tensors.at("directions"),
                           placed["directions"].tensors.at("directions"), 1e-4, 1e-5));
  EXPECT_EQ(placed["projection"].tensors.at("projection").sizes(), (at::IntArrayRef{30, 4, 3}));
}

TEST(Pca, RefusesWhatItCannotDo) {
  EXPECT_THROW(run(rows(3, 6), R"({"components": 4})"), Error);
  EXPECT_THROW(run(rows(30, 6), R"({"components": 7})"), Error);
  EXPECT_THROW(run(at::zeros({4, 3, 2, 2}), R"({"components": 1})"), Error);
}

}  // namespace
}  // namespace microtome::testing
