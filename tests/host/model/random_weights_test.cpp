// A network as it could have been before training.
#include "host/model/random_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/serialization/import.h>

#include "tests/host/model/scripted.h"

namespace microtome::testing {
namespace {

using host::torchscript::Lowering;
using torch::jit::Module;

Module net(bool with_parameters = true) {
  at::manual_seed(3);
  Module conv =
      scripted("def forward(self, x):\n  return torch.conv2d(x, self.weight, self.bias)\n", {},
               {{"weight", at::rand({64, 16, 3, 3})}, {"bias", at::rand({64})}});
  Module norm("__torch__.Norm");
  norm.register_parameter("weight", at::rand({64}), false);
  norm.register_parameter("bias", at::rand({64}), false);
  norm.register_buffer("running_mean", at::rand({64}));
  norm.register_buffer("running_var", at::rand({64}));
  norm.register_buffer("mask", at::rand({64, 1, 1}));
  norm.define(
      "def forward(self, x):\n  return torch.batch_norm(x, self.weight, self.bias, "
      "self.running_mean, self.running_var, False, 0.1, 1e-05, True) * self.mask\n");
  norm.eval();
  if (!with_parameters) return scripted("def forward(self, x):\n  return x * 2\n");
  return scripted("def forward(self, x):\n  return self.norm.forward(self.conv.forward(x))\n",
                  {{"conv", conv}, {"norm", norm}});
}

host::Program randomised(std::uint64_t seed) {
  host::Program program = Lowering(net()).run();
  host::randomise_weights(program, seed);
  return program;
}

at::Tensor value_of(const host::Program& program, const std::string& name) {
  for (const host::ProgramParameter& parameter : program.parameters) {
    if (parameter.name == name) return program.constant(parameter.constant).toTensor();
  }
  throw std::runtime_error(name);
}

TEST(RandomWeights, AreHeNormalAndLeaveNormsTheIdentity) {
  const host::Program program = randomised(1);
  const at::Tensor weight = value_of(program, "conv.weight");
  // 9216 draws: the deviation's own standard error is 0.7 %.
  EXPECT_NEAR(weight.std().item<double>(), std::sqrt(2.0 / (16 * 9)), 0.004);
  EXPECT_NEAR(weight.mean().item<double>(), 0, 0.004);
  EXPECT_TRUE(value_of(program, "conv.bias").equal(at::zeros({64})));
  EXPECT_TRUE(value_of(program, "norm.weight").equal(at::ones({64})));
  EXPECT_TRUE(value_of(program, "norm.bias").equal(at::zeros({64})));
  EXPECT_TRUE(value_of(program, "norm.running_mean").equal(at::zeros({64})));
  EXPECT_TRUE(value_of(program, "norm.running_var").equal(at::ones({64})));
  const host::Program trained = Lowering(net()).run();
  EXPECT_TRUE(value_of(program, "norm.mask").equal(value_of(trained, "norm.mask")));
  EXPECT_FALSE(value_of(trained, "conv.weight").equal(weight));
}

TEST(RandomWeights, DependOnTheSeedAlone) {
  EXPECT_TRUE(value_of(randomised(1), "conv.weight").equal(value_of(randomised(1), "conv.weight")));
  EXPECT_FALSE(
      value_of(randomised(1), "conv.weight").equal(value_of(randomised(2), "conv.weight")));
}

TEST(RandomWeights, AreWhatTheRunUses) {
  const host::ProgramModel model("m", randomised(4), {}, at::kCPU);
  const at::Tensor x = at::rand({2, 16, 5, 5});
  const at::Tensor expected = at::conv2d(x, value_of(model.program(), "conv.weight")) /
                              std::sqrt(1 + 1e-5) * value_of(model.program(), "norm.mask");
  EXPECT_TRUE(at::allclose(model.run(named_inputs(model, {x}), {}).output(), expected, 1e-4, 1e-5));
}

TEST(RandomWeights, ANetworkWithoutParametersIsRefused) {
  host::Program program = Lowering(net(false)).run();
  EXPECT_THROW(host::randomise_weights(program, 1), Error);
}

}  // namespace
}  // namespace microtome::testing
