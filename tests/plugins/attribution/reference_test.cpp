// The plugins against values computed by other software, through the real program.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/serialization/import.h>

#include <cmath>
#include <cstdio>

#include "microtome/value.h"
#include "tests/plugins/attribution/plain_loops.h"
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
  int threads = 1;
};

/// The same integral by a plain loop.
at::Tensor plain_integrated_gradients(const Reference& reference, const std::string& path,
                                      const at::Tensor& inputs, const at::Tensor& target) {
  const int before = at::get_num_threads();
  at::set_num_threads(reference.threads);
  torch::jit::Module net = torch::jit::load(path);
  net.eval();
  const bool at_layer = std::string(reference.method).starts_with("layer");
  const auto call = [&net](const char* name, const at::Tensor& x) {
    return net.attr(name).toModule().forward({x}).toTensor();
  };
  const auto before_layer = [&](const at::Tensor& x) {
    if (!at_layer) return x;
    const at::NoGradGuard no_gradients;
    return call("layer2", call("layer1", call("bn1", call("conv1", x)).relu()));
  };
  const auto score = [&](const at::Tensor& z) {
    const at::Tensor logits =
        at_layer ? call("linear", call("layer3", z).mean({2, 3})) : net.forward({z}).toTensor();
    return logits.gather(1, target.unsqueeze(1)).sum();
  };
  std::vector<double> nodes, weights;
  if (std::string(reference.method).ends_with("trapezoid")) {
    for (int k = 0; k <= 16; ++k) {
      nodes.push_back(k / 16.0);
      weights.push_back(k == 0 || k == 16 ? 1 / 32.0 : 1 / 16.0);
    }
  } else {
    const PlainQuadrature rule = plain_gauss_legendre(32);
    nodes = rule.nodes;
    weights = rule.weights;
  }
  const at::Tensor from = before_layer(at::zeros_like(inputs)), to = before_layer(inputs);
  at::Tensor total = at::zeros_like(to, at::kDouble);
  for (std::size_t k = 0; k < nodes.size(); ++k) {
    at::Tensor z = from + nodes[k] * (to - from);
    if (nodes[k] == 1) z = to.clone();
    z.requires_grad_();
    score(z).backward();
    total += z.grad().to(at::kDouble) * weights[k];
  }
  at::set_num_threads(before);
  return (total * (to - from)).to(at::kFloat);
}

class IntegratedGradientsReference : public ::testing::TestWithParam<Reference> {};

TEST_P(IntegratedGradientsReference, EqualsWhereRoundingDecidesNoRelu) {
  MICROTOME_TEST_DATA_OR_SKIP(shared, "reference");
  const Reference& reference = GetParam();
  const TemporaryFolder folder;
  const fs::path values = shared / "attribution" / reference.network;
  const auto file = folder.write(
      "p.yaml",
      "microtome: 1\nname: reference\nruntime: {threads: " + std::to_string(reference.threads) +
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
  const at::Tensor inputs = read_safetensors(values / "inputs.safetensors").at("inputs");
  const at::Tensor target = read_safetensors(values / "inputs.safetensors").at("target");
  const at::Tensor plain = plain_integrated_gradients(
      reference, shared.parent_path() / "models" / reference.model, inputs, target);
  const auto difference = [&theirs](const at::Tensor& a, const at::Tensor& b) {
    return (a - b).abs().flatten(1).amax(1) / theirs.abs().flatten(1).amax(1);
  };
  const at::Tensor off = difference(mine, theirs), loop_off = difference(plain, theirs);
  const at::Tensor undecided = loop_off > 1e-4;
  std::printf("largest difference of %s on %s: %.3g; from the plain loop: %.3g\n", reference.method,
              reference.network, off.max().item<double>(),
              difference(mine, plain).max().item<double>());
  EXPECT_LE(difference(mine, plain).max().item<double>(), 1e-5);
  EXPECT_LE(off.masked_fill(undecided, 0).max().item<double>(), 1e-4);
  EXPECT_LE(off.max().item<double>(), 0.01);
  // With the channels last, rounding decides elsewhere, here and there.
  const TemporaryFolder by_plan;
  ASSERT_EQ(run_program({"run", file.string(), "-q", "--set", "runtime.channels_last=true"},
                        by_plan.path())
                .status,
            0);
  const at::Tensor planned =
      read_safetensors(by_plan.path() /
                       "runs/reference/latest/stages/ig/attributions/attributions.safetensors")
          .at("attributions");
  const at::Tensor plan_off = difference(planned, mine);
  std::printf("with channels last: %.3g\n", plan_off.max().item<double>());
  const at::Tensor middle = plan_off.numel() > 1 ? plan_off.median() : at::zeros({});
  EXPECT_LE(middle.item<double>(), 1e-4);
  EXPECT_LE(plan_off.max().item<double>(), 0.01);
  // The delta says what it should: the sum of attributions against the difference of scores.
  const at::Tensor delta =
      read_safetensors(output / "completeness_delta.safetensors").at("completeness_delta");
  const at::Tensor logits = read_safetensors(values / "inputs.safetensors").at("logits");
  const at::Tensor score = read_safetensors(output / "score.safetensors").at("score");
  EXPECT_TRUE(at::allclose(score, logits.gather(1, target.unsqueeze(1)).squeeze(1), 1e-4, 1e-4));
  // Gauss nodes leave up to 7 % on these networks; 17 of the trapezoid rule leave more.
  const double most =
      std::string(reference.method) == "integrated_gradients_trapezoid" ? 0.25 : 0.15;
  EXPECT_LE(delta.abs().max().item<double>(), most * score.abs().max().item<double>());
}

INSTANTIATE_TEST_SUITE_P(
    All, IntegratedGradientsReference,
    ::testing::Values(Reference{"cifar10-resnet20", "cifar10-resnet20.pt", "integrated_gradients",
                                "steps: 32"},
                      Reference{"cifar10-resnet20", "cifar10-resnet20.pt",
                                "integrated_gradients_trapezoid", "steps: 16, rule: trapezoid"},
                      Reference{"cifar10-resnet20", "cifar10-resnet20.pt",
                                "layer_integrated_gradients", "steps: 32, at: layer2"},
                      Reference{"imagenet-squeezenet1_0", "imagenet-squeezenet1_0.pt",
                                "integrated_gradients", "steps: 32", 2},
                      Reference{"imagenet-squeezenet1_0", "imagenet-squeezenet1_0.pt",
                                "integrated_gradients_trapezoid", "steps: 16, rule: trapezoid", 2}),
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
