// Parameters that name what other stages made, and models that stages made.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "microtome/value.h"
#include "tests/support/program.h"
#include "tests/support/safetensors_reader.h"
#include "tests/support/small_world.h"
#include "tests/support/temporary_folder.h"

namespace microtome::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

const char* const pca_first =
    "  acts: {uses: activations, inputs: {model: net, data: test}, with: {layers: [act], pool: "
    "mean}}\n"
    "  pca: {uses: pca, inputs: {activations: acts}, with: {components: 2, method: exact}}\n";

TEST(References, ADirectionIsAnInput) {
  const SmallWorld world(6);
  const std::string stages =
      std::string(
          "  ig: {uses: integrated_gradients, inputs: {model: net, data: test}, with: {at: act, "
          "steps: 4, target: \"direction(act, pca.directions[1])\"}}\n"
          "  along: {uses: activations, inputs: {model: net, data: test}, with: {layers: "
          "[\"act[dir=pca.directions[1]]\"]}}\n") +
      pca_first;
  const auto run = run_program({"run", world.write_pipeline(stages).string(), "-q"}, world.path());
  ASSERT_EQ(run.status, 0) << run.errors;
  const fs::path results = world.path() / "runs/small/latest/stages";
  const at::Tensor direction =
      read_safetensors(results / "pca/directions/directions.safetensors").at("directions")[1];
  // The score is linear in the layer: attributions are the value times the direction.
  const at::Tensor attributions =
      read_safetensors(results / "ig/attributions/attributions.safetensors").at("attributions");
  const at::Tensor score =
      read_safetensors(results / "ig/attributions/score.safetensors").at("score");
  const Value about = from_json(read_file(results / "along/activations/artifact.json"));
  const std::string file =
      about.at("files").at("act[dir=pca.directions[1]]").at("file").as_string();
  const at::Tensor along =
      read_safetensors(results / "along/activations" / file).at("act[dir=pca.directions[1]]");
  EXPECT_TRUE(at::allclose(attributions.sum(1), along, 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(score, along.flatten(1).sum(1), 1e-4, 1e-4));
  EXPECT_EQ(direction.numel(), 4);
}

TEST(References, MistakesHaveTheirPlace) {
  const SmallWorld world(2);
  const std::string stages =
      std::string(
          "  first: {uses: integrated_gradients, inputs: {model: net, data: test}, with: {target: "
          "\"direction(act, pac.directions[0])\"}}\n"
          "  second: {uses: integrated_gradients, inputs: {model: net, data: test}, with: {target: "
          "\"direction(act, pca.projection[0])\"}}\n"
          "  third: {uses: integrated_gradients, inputs: {model: net, data: test}, with: {target: "
          "kl(reference)}}\n") +
      pca_first;
  const auto check = run_program({"check", world.write_pipeline(stages).string()}, world.path());
  EXPECT_EQ(check.status, 2);
  EXPECT_THAT(check.errors,
              AllOf(HasSubstr("no model, dataset or stage \"pac\"; did you mean \"pca\""),
                    HasSubstr("this place takes directions, but \"pca.projection\" is projection"),
                    HasSubstr("kl(reference) needs a model at the input \"reference\"")));
  EXPECT_THAT(check.errors, HasSubstr("pipeline.yaml:10:"));
}

TEST(References, TheDivergenceFromItselfIsZeroAndHasNoGradient) {
  const SmallWorld world(4);
  const auto run = run_program(
      {"run",
       world
           .write_pipeline(
               "  ig: {uses: integrated_gradients, inputs: {model: net, data: test, reference: "
               "net}, with: {steps: 8, target: kl(reference)}}\n")
           .string(),
       "-q"},
      world.path());
  ASSERT_EQ(run.status, 0) << run.errors;
  const fs::path results = world.path() / "runs/small/latest/stages/ig/attributions";
  EXPECT_TRUE(at::allclose(read_safetensors(results / "score.safetensors").at("score"),
                           at::zeros({8}), 0, 1e-6));
  // At the baseline it is not zero, so the attributions are what takes it away.
  const at::Tensor sums =
      read_safetensors(results / "attributions.safetensors").at("attributions").flatten(1).sum(1);
  EXPECT_LT(sums.max().item<float>(), 0);
}

TEST(References, ATrainedModelIsUsedLikeADeclaredOne) {
  const SmallWorld world(20);
  const auto file = world.write_pipeline(
      "  trained: {uses: train_classifier, inputs: {data: test}, with: {layers: [conv channels=4, "
      "relu], epochs: 4, batch: 8, learning_rate: 0.02}}\n"
      "  accuracy: {uses: evaluate, inputs: {model: trained.model, data: test}}\n"
      "  acts: {uses: activations, inputs: {model: trained.model, data: test}, with: {layers: "
      "[relu1]}}\n");
  const auto run = run_program({"run", file.string(), "-q"}, world.path());
  ASSERT_EQ(run.status, 0) << run.errors;
  const fs::path results = world.path() / "runs/small/latest/stages";
  const Value metrics = from_json(read_file(results / "accuracy/metrics/artifact.json"));
  EXPECT_GE(metrics.at("metrics").as_list()[0].at("value").as_number(), 0.95);
  EXPECT_EQ(run_program({"layers", (results / "trained/model/model.pt").string(), "--input",
                         "x=1x3x8x8", "--verify"},
                        world.path())
                .status,
            0);
  // A layer that the network will not have is found before it is trained.
  const auto wrong =
      run_program({"check", file.string(), "--set", "stages.acts.with.layers=relu7"}, world.path());
  EXPECT_EQ(wrong.status, 2);
  EXPECT_THAT(wrong.errors, AllOf(HasSubstr("relu7"), HasSubstr("relu1")));
}

TEST(References, ASourceOfSamplesIsNoStage) {
  const SmallWorld world(2);
  const auto file = world.write_pipeline("  s: {uses: shapes}\n");
  const auto check = run_program({"check", file.string()}, world.path());
  EXPECT_EQ(check.status, 2);
  EXPECT_THAT(check.errors, HasSubstr("name it under datasets"));
}

}  // namespace
}  // namespace microtome::testing
