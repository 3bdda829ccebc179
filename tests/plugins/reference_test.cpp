// The plugins against values computed by other software, through the real program.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "microtome/value.h"
#include "tests/support/program.h"
#include "tests/support/safetensors_reader.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_data.h"

namespace microtome::testing {
namespace {

namespace fs = std::filesystem;

struct Reference {
  const char* network;
  const char* model;
  const char* method;
  const char* parameters;
  // SqueezeNet pools over ties, which the last bit decides: the reference's bits are those of two
  // threads.
  const char* threads = "1";
};

class IntegratedGradientsReference : public ::testing::TestWithParam<Reference> {};

TEST_P(IntegratedGradientsReference, EqualsTo1e4OfEachSamplesLargestValue) {
  MICROTOME_TEST_DATA_OR_SKIP(shared, "reference");
  const Reference& reference = GetParam();
  const TemporaryFolder folder;
  const fs::path values = shared / "attribution" / reference.network;
  const auto file = folder.write(
      "p.yaml",
      "microtome: 1\nname: reference\nruntime: {threads: " + std::string(reference.threads) +
          "}\nmodels:\n  net: {source: torchscript, path: \"" +
          (shared.parent_path() / "models" / reference.model).string() +
          "\"}\ndatasets:\n  data:\n    source: tensors\n    fields: {inputs: \"" +
          (values / "inputs.safetensors").string() + "#inputs\", answer: \"" +
          (values / "inputs.safetensors").string() +
          "#target\"}\nstages:\n  ig: {uses: integrated_gradients, inputs: {model: net, data: "
          "data}, with: {target: class(answer), " +
          reference.parameters + "}}\n");
  const auto run = run_program({"run", file.string(), "-q"}, folder.path());
  ASSERT_EQ(run.status, 0) << run.errors;
  const fs::path output = folder.path() / "runs/reference/latest/stages/ig/attributions";
  const at::Tensor mine = read_safetensors(output / "attributions.safetensors").at("attributions");
  const at::Tensor theirs =
      read_safetensors(values / (std::string(reference.method) + ".safetensors"))
          .at("attributions");
  ASSERT_EQ(mine.sizes(), theirs.sizes());
  const at::Tensor largest = theirs.abs().flatten(1).amax(1);
  const at::Tensor difference = (mine - theirs).abs().flatten(1).amax(1) / largest;
  std::printf("largest difference of %s on %s: %.3g\n", reference.method, reference.network,
              difference.max().item<double>());
  EXPECT_LE(difference.max().item<double>(), 1e-4);
  // The delta says what it should: the sum of attributions against the difference of scores.
  const at::Tensor delta =
      read_safetensors(output / "completeness_delta.safetensors").at("completeness_delta");
  const at::Tensor logits = read_safetensors(values / "inputs.safetensors").at("logits");
  const at::Tensor score = read_safetensors(output / "score.safetensors").at("score");
  const at::Tensor target = read_safetensors(values / "inputs.safetensors").at("target");
  EXPECT_TRUE(at::allclose(score, logits.gather(1, target.unsqueeze(1)).squeeze(1), 1e-4, 1e-4));
  // Gauss nodes leave up to 7 % on these networks; 17 of the trapezoid rule leave more.
  const double most =
      std::string(reference.method) == "integrated_gradients_trapezoid" ? 0.25 : 0.15;
  EXPECT_LE(delta.abs().max().item<double>(), most * score.abs().max().item<double>());
}

INSTANTIATE_TEST_SUITE_P(
    All, IntegratedGradientsReference,
    ::testing::Values(
        Reference{"cifar10-resnet20", "cifar10-resnet20.pt", "integrated_gradients", "steps: 32"},
        Reference{"cifar10-resnet20", "cifar10-resnet20.pt", "integrated_gradients_trapezoid",
                  "steps: 16, rule: trapezoid"},
        Reference{"cifar10-resnet20", "cifar10-resnet20.pt", "layer_integrated_gradients",
                  "steps: 32, at: layer2"},
        Reference{"imagenet-squeezenet1_0", "imagenet-squeezenet1_0.pt", "integrated_gradients",
                  "steps: 32", "2"},
        Reference{"imagenet-squeezenet1_0", "imagenet-squeezenet1_0.pt",
                  "integrated_gradients_trapezoid", "steps: 16, rule: trapezoid", "2"}),
    [](const auto& info) {
      std::string name = std::string(info.param.network) + "_" + info.param.method;
      for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
      return name;
    });

TEST(EvaluateReference, ResNet20OnCifarHasItsKnownAccuracy) {
  MICROTOME_TEST_DATA_OR_SKIP(shared, "data/cifar10/test");
  const TemporaryFolder folder;
  const fs::path root = shared.parent_path().parent_path().parent_path();
  const auto run =
      run_program({"run", std::string(MICROTOME_SOURCE_FOLDER) + "/pipelines/cifar10-audit.yaml",
                   "--set", "vars.models=" + (root / "models").string(), "--set",
                   "vars.data=" + (root / "data").string(), "--only", "accuracy", "-q"},
                  folder.path());
  ASSERT_EQ(run.status, 0) << run.errors;
  const Value artifact = from_json(
      read_file(folder.path() / "runs/cifar10-audit/latest/stages/accuracy/metrics/artifact.json"));
  for (const Value& metric : artifact.at("metrics").as_list()) {
    EXPECT_NEAR(metric.at("value").as_number(), metric.at("name") == Value("top1") ? 0.804 : 0.990,
                0.005);
  }
}

}  // namespace
}  // namespace microtome::testing
