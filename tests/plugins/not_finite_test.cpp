// Stages that are given a NaN or an infinity say of which sample and what it is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "microtome/testing/harness.h"
#include "plugins/ablate/ablate.h"
#include "plugins/evaluate/evaluate.h"
#include "plugins/evaluate/score_shift.h"
#include "plugins/linear_probe/linear_probe.h"
#include "plugins/pca/pca.h"
#include "plugins/top_activations/top_activations.h"
#include "plugins/train_classifier/train_classifier.h"

namespace microtome::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

std::vector<std::string> names(std::int64_t count) {
  std::vector<std::string> all;
  for (std::int64_t i = 0; i < count; ++i) all.push_back("s" + std::to_string(i));
  return all;
}

/// The input doubled: two classes.
std::shared_ptr<StepModel> doubling() {
  return std::make_shared<StepModel>(
      at::zeros({1, 2}),
      std::vector<StepModel::Step>{{"double", [](const at::Tensor& x) { return x * 2; }}});
}

std::shared_ptr<MemoryDataset> data(const at::Tensor& x) {
  return std::make_shared<MemoryDataset>(
      names(x.size(0)), NamedTensors{{"input", x}, {"label", at::zeros({x.size(0)}, at::kLong)}});
}

template <class S>
std::map<std::string, Output> run(const at::Tensor& x, const std::string& parameters) {
  return Harness()
      .model("model", doubling())
      .dataset("data", data(x))
      .chunk_size(3)
      .run(*make<S>(parameters));
}

/// Of seven samples the fifth has this value.
at::Tensor with_fifth(float value) {
  at::Tensor x = at::arange(14, at::kFloat).view({7, 2});
  x[4][0] = value;
  return x;
}

TEST(NotFinite, AccuracyDoesNotCountIt) {
  EXPECT_THAT([&] { run<evaluate::Evaluate>(with_fifth(nan_value), "{}"); },
              ThrowsMessage<Error>(
                  AllOf(HasSubstr("sample \"s4\""), HasSubstr("output"), HasSubstr("NaN at [0]"))));
  // A class that is ruled out has a score all the same.
  const auto found = run<evaluate::Evaluate>(with_fifth(-infinity), "{}");
  EXPECT_EQ(found.at("metrics").tensors.at("predicted")[4].item<std::int64_t>(), 1);
}

TEST(NotFinite, AblationNamesTheScoreAndTheMean) {
  EXPECT_THAT(
      [&] {
        run<ablate::Ablate>(with_fifth(nan_value), R"j({"at": "double", "target": "class(0)"})j");
      },
      ThrowsMessage<Error>(HasSubstr("sample \"s4\": the target's score is NaN")));
  EXPECT_THAT(
      [&] {
        run<ablate::Ablate>(with_fifth(infinity),
                            R"j({"at": "double", "with": "mean", "target": "class(1)"})j");
      },
      ThrowsMessage<Error>(AllOf(HasSubstr("sample \"s4\""), HasSubstr("\"double\""),
                                 HasSubstr("mean"), HasSubstr("Infinity at [0]"))));
}

TEST(NotFinite, AnAblationNamesTheDonor) {
  // The last sample of all gives its value to an earlier one, which is scored first.
  at::Tensor x = at::arange(14, at::kFloat).view({7, 2});
  x[6][0] = nan_value;
  EXPECT_THAT(
      [&] {
        Harness()
            .model("model", doubling())
            .dataset("data", data(x))
            .chunk_size(1)
            .run(*make<ablate::Ablate>(
                R"j({"at": "double", "with": "resample", "target": "class(0)"})j"));
      },
      ThrowsMessage<Error>(
          HasSubstr("sample \"s6\": the value at \"double\", which takes the place "
                    "of another sample's, holds a NaN")));
}

TEST(NotFinite, AShiftNamesTheChangedSample) {
  EXPECT_THAT(
      [&] {
        Harness()
            .model("model", doubling())
            .dataset("data", data(with_fifth(0)))
            .dataset("changed", data(with_fifth(nan_value)))
            .chunk_size(3)
            .run(*make<evaluate::ScoreShift>(R"j({"target": "class(0)"})j"));
      },
      ThrowsMessage<Error>(HasSubstr("sample \"s4\": the target's score on the changed sample")));
}

TEST(NotFinite, TheMostExcitingSampleIsNotOneOfNaN) {
  MemoryDataset images(names(3), {{"input", at::ones({3, 3, 4, 4})}});
  images.mark_image("input");
  const auto model = std::make_shared<StepModel>(
      at::zeros({1, 3, 4, 4}), std::vector<StepModel::Step>{{"odd", [](const at::Tensor& x) {
                                                               at::Tensor y = x.clone();
                                                               if (y.size(0) > 1)
                                                                 y[1][0][2][3] = nan_value;
                                                               return y;
                                                             }}});
  EXPECT_THAT(
      [&] {
        Harness()
            .model("model", model)
            .dataset("data", std::make_shared<MemoryDataset>(images))
            .run(*make<top_activations::TopActivations>(R"j({"layer": "odd", "units": [0]})j"));
      },
      ThrowsMessage<Error>(
          AllOf(HasSubstr("sample \"s1\""), HasSubstr("\"odd\""), HasSubstr("NaN at [0, 2, 3]"))));
}

Output activations(const at::Tensor& rows) {
  Output output;
  output.ids = names(rows.size(0));
  output.tensors["layer"] = rows;
  return output;
}

TEST(NotFinite, ComponentsAndProbesNameTheSample) {
  at::manual_seed(1);
  at::Tensor rows = at::randn({60, 10});
  rows[7][2] = nan_value;
  const auto names_it = ThrowsMessage<Error>(
      AllOf(HasSubstr("sample \"s7\""), HasSubstr("\"layer\""), HasSubstr("NaN at [2]")));
  for (const char* method : {"exact", "randomised"}) {
    EXPECT_THAT(
        [&] {
          Harness()
              .artifact("activations", kind::activations, activations(rows))
              .run(*make<pca::PrincipalComponents>(
                  std::string(R"j({"components": 3, "method": ")j") + method + "\"}"));
        },
        names_it)
        << method;
  }
  EXPECT_THAT(
      [&] {
        Harness()
            .artifact("activations", kind::activations, activations(rows))
            .dataset("labels", std::make_shared<MemoryDataset>(
                                   names(60), NamedTensors{{"labels", at::arange(60) % 2}}))
            .run(*make<linear_probe::LinearProbe>(R"j({"folds": 2, "permutations": 0})j"));
      },
      names_it);
}

TEST(NotFinite, ProductsThatOverflowAreSaidToBe) {
  at::manual_seed(2);
  const at::Tensor rows = at::randn({20, 4}).to(at::kDouble) * 1e200;
  EXPECT_THAT(
      [&] {
        Harness()
            .artifact("activations", kind::activations, activations(rows))
            .run(*make<pca::PrincipalComponents>(R"j({"components": 2})j"));
      },
      ThrowsMessage<Error>(HasSubstr("too large")));
}

TEST(NotFinite, TrainingNamesTheImage) {
  at::Tensor x = at::rand({6, 3, 8, 8});
  x[5][1][2][3] = nan_value;
  MemoryDataset images(names(6), {{"image", x}, {"label", at::arange(6) % 2}});
  images.mark_image("image");
  EXPECT_THAT(
      [&] {
        Harness()
            .dataset("data", std::make_shared<MemoryDataset>(images))
            .run(*make<train_classifier::TrainClassifier>(
                R"j({"layers": ["conv channels=2", "relu"], "epochs": 1, "classes": 2})j"));
      },
      ThrowsMessage<Error>(AllOf(HasSubstr("sample \"s5\""), HasSubstr("NaN at [1, 2, 3]"))));
}

/// Baselines of a probe are paired by id, not by the order they lie in.
TEST(Pairs, ABaselineInAnotherOrderIsTheSameBaseline) {
  at::manual_seed(3);
  const at::Tensor labels = at::arange(40) % 2;
  const at::Tensor rows = at::randn({40, 3}) + labels.unsqueeze(1) * 2;
  const at::Tensor order = at::randperm(40);
  Output turned;
  turned.tensors["layer"] = rows.index_select(0, order);
  for (std::int64_t i = 0; i < 40; ++i)
    turned.ids.push_back("s" + std::to_string(order[i].item<std::int64_t>()));
  const auto accuracy_of = [&](const Output& baseline) {
    return Harness()
        .artifact("activations", kind::activations, activations(rows))
        .artifact("untrained", kind::activations, baseline)
        .dataset("labels",
                 std::make_shared<MemoryDataset>(names(40), NamedTensors{{"labels", labels}}))
        .run(*make<linear_probe::LinearProbe>(R"j({"folds": 4, "permutations": 0})j"))
        .at("metrics")
        .metric("accuracy_of_untrained")
        .value;
  };
  const double expected = accuracy_of(activations(rows));
  EXPECT_GT(expected, 0.8);
  EXPECT_EQ(accuracy_of(turned), expected);
  Output strange = activations(rows);
  strange.ids[3] = "another";
  EXPECT_THAT([&] { accuracy_of(strange); }, ThrowsMessage<Error>(HasSubstr("\"s3\"")));
}

}  // namespace
}  // namespace microtome::testing
