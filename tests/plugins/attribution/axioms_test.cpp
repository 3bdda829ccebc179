// Which axioms hold for which method, as docs/attribution.md has it: what holds is a property that
// is tested on a smooth network, what fails is shown by a counterexample.
#include <gtest/gtest.h>

#include "gradient/grad_cam.h"
#include "gradient/plain_gradient.h"
#include "gradient/rectifier_rules.h"
#include "paths/integrated_gradients.h"
#include "paths/path_integrated_gradients.h"
#include "perturbation/ablation.h"
#include "perturbation/extremal_perturbation.h"
#include "perturbation/rise.h"
#include "perturbation/shapley.h"
#include "rules/deep_lift.h"
#include "rules/lrp.h"
#include "tests/plugins/attribution/on_network.h"

namespace microtome::testing {
namespace {

/// A method as a function of a network and a batch.
struct Method {
  std::string name;
  std::function<Output(const torch::jit::Module&, const at::Tensor&)> attribute;
  bool complete = false, invariant = true, linear = true, sensitive = true, symmetric = true;
};

template <class S>
Output run(const torch::jit::Module& module, const std::string& parameters, const at::Tensor& x) {
  return attribute<S>(module, R"j({"target": "class(0)")j" + parameters + "}", x);
}

template <class S>
Method method(std::string name, std::string parameters = {}) {
  return {std::move(name), [parameters](const torch::jit::Module& module, const at::Tensor& x) {
            return run<S>(module, parameters, x);
          }};
}

std::vector<Method> methods() {
  std::vector<Method> all;
  const auto add = [&](Method made) -> Method& { return all.emplace_back(std::move(made)); };
  const char* units = R"j(, "features": "unit")j";
  Method& saliency = add(method<attribution::Saliency>("saliency", R"j(, "absolute": false)j"));
  saliency.sensitive = false;
  Method& product = add(method<attribution::InputXGradient>("input_x_gradient"));
  product.sensitive = false;
  add(method<attribution::IntegratedGradients>("integrated_gradients", R"j(, "steps": 256)j"))
      .complete = true;
  add(method<attribution::PathIntegratedGradients>("path_integrated_gradients",
                                                   R"j(, "steps": 512)j"))
      .complete = true;
  Method& lifted = add(method<attribution::DeepLift>("deep_lift"));
  lifted.complete = true;
  lifted.invariant = false;
  lifted.symmetric = false;
  add(method<attribution::FeatureAblation>("feature_ablation", units));
  add(method<attribution::ShapleySampling>("shapley_sampling",
                                           R"j(, "features": "unit", "orders": 600)j"))
      .complete = true;
  add(method<attribution::KernelShap>("kernel_shap", units)).complete = true;
  add(method<attribution::Lime>("lime", R"j(, "features": "unit", "coalitions": 2000)j"));
  return all;
}

at::Tensor values(const Output& output) { return output.tensors.at("attributions"); }

/// A smooth function of three features: products, a square, a tangent.
torch::jit::Module smooth(double scale = 1, double more = 0) {
  return scripted(
      "def forward(self, x):\n"
      "  a = x[:, 0:1]\n  b = x[:, 1:2]\n  c = x[:, 2:3]\n"
      "  return (a * b + torch.tanh(c)) * " +
      std::to_string(scale) + " + (c * c + a) * " + std::to_string(more) + "\n");
}

TEST(Axioms, Completeness) {
  at::manual_seed(1);
  const at::Tensor x = at::randn({4, 3});
  const auto network = shared_model(smooth(1, 1));
  const auto score = [&](const at::Tensor& at) {
    return network->run({{network->inputs()[0].name, at}}, {}).output().squeeze(1);
  };
  const at::Tensor difference = score(x) - score(at::zeros_like(x));
  for (const Method& method : methods()) {
    const at::Tensor sum = values(method.attribute(smooth(1, 1), x)).sum(1);
    const double off = (sum - difference).abs().max().item<double>();
    if (method.complete) {
      EXPECT_LE(off, 1e-3 * difference.abs().max().item<double>()) << method.name;
    } else {
      EXPECT_GE(off, 0.05) << method.name << ": no counterexample any more";
    }
  }
}

TEST(Axioms, Linearity) {
  at::manual_seed(2);
  const at::Tensor x = at::randn({3, 3});
  for (const Method& method : methods()) {
    if (!method.linear) continue;
    const at::Tensor sum = values(method.attribute(smooth(2, -3), x));
    const at::Tensor parts = 2 * values(method.attribute(smooth(1, 0), x)) -
                             3 * values(method.attribute(smooth(0, 1), x));
    EXPECT_LE((sum - parts).abs().max().item<double>(), 2e-3) << method.name;
  }
}

TEST(Axioms, SymmetricFeaturesOfEqualValueGetTheSame) {
  const auto network = scripted(
      "def forward(self, x):\n  a = x[:, 0:1]\n  b = x[:, 1:2]\n  c = x[:, 2:3]\n"
      "  return torch.tanh(a * b) + a + b + c * a * b\n");
  const at::Tensor x = at::tensor({0.7F, 0.7F, -1.2F}).view({1, 3});
  for (const Method& method : methods()) {
    const at::Tensor found = values(method.attribute(network, x))[0];
    // What is drawn is symmetric on average.
    const bool is_drawn = method.name == "shapley_sampling" || method.name == "lime";
    const double tolerance = is_drawn ? 0.1 : 1e-4;
    const double off = (found[0] - found[1]).abs().item<double>();
    if (method.symmetric) {
      EXPECT_LE(off, tolerance) << method.name;
    } else {
      EXPECT_GE(off, 0.05) << method.name << ": no counterexample any more";
    }
  }
  // A path that is not symmetric breaks it.
  const at::Tensor bent = values(run<attribution::PathIntegratedGradients>(
      network, R"j(, "path": "power", "exponents": [1, 4, 1])j", x))[0];
  EXPECT_GT((bent[0] - bent[1]).abs().item<double>(), 0.01);
}

TEST(Axioms, SensitivityWhereTheGradientIsFlat) {
  // 1 - relu(1 - x) rises from 0 to 1 and is flat at x = 2 (Sundararajan et al. 2017, section 2.1).
  const auto network =
      scripted("def forward(self, x):\n  return 1 - torch.relu(1 - x[:, 0:1]) + 0 * x[:, 1:2]\n");
  const at::Tensor x = at::tensor({2.0F, 1.0F}).view({1, 2});
  for (const Method& method : methods()) {
    const at::Tensor found = values(method.attribute(network, x))[0];
    if (method.sensitive) {
      EXPECT_GT(found[0].item<double>(), 0.5) << method.name;
    } else {
      EXPECT_EQ(found[0].item<double>(), 0) << method.name;
    }
    // What the function does not depend on gets nothing; in a regression, nearly so.
    const double tolerance = method.name == "lime" ? 0.01 : 1e-6;
    EXPECT_NEAR(found[1].item<double>(), 0, tolerance) << method.name;
  }
}

TEST(Axioms, ImplementationInvariance) {
  // The same function twice: with its batch norm folded, and with its factors in another order.
  at::manual_seed(3);
  const auto one = convolution(2, 4, true);
  const auto normed = norm(4);
  const at::Tensor scale =
      normed.attr("weight").toTensor() / (normed.attr("running_var").toTensor() + 1e-5).sqrt();
  const auto folded = scripted(
      "def forward(self, x):\n"
      "  y = torch.conv2d(x, self.w, self.b, [1, 1], [1, 1])\n"
      "  return torch.relu(y).mean([2, 3])\n",
      {},
      {{"w", one.attr("weight").toTensor() * scale.view({-1, 1, 1, 1})},
       {"b", (one.attr("bias").toTensor() - normed.attr("running_mean").toTensor()) * scale +
                 normed.attr("bias").toTensor()}});
  const auto unfolded = scripted(
      "def forward(self, x):\n"
      "  return torch.relu(self.norm.forward(self.one.forward(x))).mean([2, 3])\n",
      {{"one", one}, {"norm", normed}});
  const at::Tensor images = at::randn({2, 2, 4, 4});
  // (a b) c and a (b c): rules by operator see another order.
  const auto left = scripted(
      "def forward(self, x):\n  a = x[:, 0:1]\n  b = x[:, 1:2]\n  c = x[:, 2:3]\n"
      "  return (a * b) * c\n");
  const auto right = scripted(
      "def forward(self, x):\n  a = x[:, 0:1]\n  b = x[:, 1:2]\n  c = x[:, 2:3]\n"
      "  return a * (b * c)\n");
  const at::Tensor triple = at::tensor({1.0F, 3.0F, -2.0F}).view({1, 3});
  for (const Method& method : methods()) {
    const at::Tensor a = values(method.attribute(folded, images));
    const at::Tensor b = values(method.attribute(unfolded, images));
    const double largest = a.abs().max().item<double>();
    EXPECT_LE((a - b).abs().max().item<double>(), 1e-3 * largest) << method.name;
    const double off =
        (values(method.attribute(left, triple)) - values(method.attribute(right, triple)))
            .abs()
            .max()
            .item<double>();
    if (method.invariant) {
      EXPECT_LE(off, 1e-3) << method.name;
    } else {
      EXPECT_GE(off, 0.5) << method.name << ": no counterexample any more";
    }
  }
}

TEST(Axioms, OfMethodsThatMakeMaps) {
  at::manual_seed(9);
  const auto conv = convolution(2, 3, true);
  const auto network = [&](double scale) {
    return scripted(
        "def forward(self, x):\n  y = torch.relu(self.conv.forward(x)).mean([2, 3])\n"
        "  return (y[:, 0:1] - y[:, 1:2] * y[:, 2:3]) * " +
            std::to_string(scale) + "\n",
        {{"conv", conv}});
  };
  const at::Tensor x = at::randn({2, 2, 8, 8});
  const auto plain = shared_model(network(1));
  const auto score = [&](const at::Tensor& at) {
    return plain->run({{plain->inputs()[0].name, at}}, {}).output().squeeze(1);
  };
  const at::Tensor difference = score(x) - score(at::zeros_like(x));
  Method cam = method<attribution::GradCam>("grad_cam", R"j(, "at": "conv")j");
  cam.linear = false;
  Method plus = method<attribution::GradCamPlusPlus>("grad_cam_plus_plus", R"j(, "at": "conv")j");
  plus.linear = false;
  Method by_score = method<attribution::ScoreCam>("score_cam", R"j(, "at": "conv")j");
  by_score.linear = false;
  Method mask = method<attribution::ExtremalPerturbation>("extremal_perturbation",
                                                          R"j(, "steps": 20, "sigma": 2)j");
  mask.linear = false;
  for (const Method& method :
       {cam, plus, by_score, mask,
        method<attribution::Occlusion>("occlusion", R"j(, "window": 4, "stride": 2)j"),
        method<attribution::Rise>("rise", R"j(, "masks": 50, "cells": 4)j")}) {
    const at::Tensor found = values(method.attribute(network(1), x));
    const double off = (found.flatten(1).sum(1) - difference).abs().max().item<double>();
    EXPECT_GE(off, 0.05) << method.name << ": complete after all";
    const at::Tensor negative = values(method.attribute(network(-1), x));
    const double size = found.abs().max().item<double>();
    const double apart = (negative + found).abs().max().item<double>();
    if (method.linear) {
      EXPECT_LE(apart, 1e-4 * size) << method.name;
    } else {
      EXPECT_GE(apart, 0.1 * size) << method.name << ": no counterexample any more";
    }
  }
}

TEST(Axioms, GuidedBackpropagationFailsThem) {
  const auto guided = [](const std::string& code, const at::Tensor& x) {
    return values(run<attribution::GuidedBackprop>(
        scripted("def forward(self, x):\n  return " + code + "\n"), "", x));
  };
  const at::Tensor x = at::tensor({2.0F, -1.0F}).view({1, 2});
  // Of -f it is not less that of f.
  EXPECT_TRUE(guided("torch.relu(x).sum(1, True)", x).equal(at::tensor({1.0F, 0.0F}).view({1, 2})));
  EXPECT_TRUE(guided("torch.relu(x).sum(1, True) * -1", x).equal(at::zeros({1, 2})));
  // x is relu(x) - relu(-x); below 0 nothing positive arrives at the second ReLU.
  EXPECT_TRUE(guided("(x + 0 * torch.relu(x)).sum(1, True)", x).equal(at::ones({1, 2})));
  EXPECT_TRUE(guided("(torch.relu(x) - torch.relu(-x)).sum(1, True)", x)
                  .equal(at::tensor({1.0F, 0.0F}).view({1, 2})));
  EXPECT_EQ(guided("1 - torch.relu(1 - x[:, 0:1])", x)[0][0].item<float>(), 0);
}

TEST(Axioms, RelevancePropagationDependsOnHowAFunctionIsWritten) {
  const auto relevance = [](const std::vector<std::vector<float>>& weights, const at::Tensor& x) {
    // Linear layers one after the other, without biases.
    std::string code = "x";
    std::vector<std::pair<std::string, at::Tensor>> parameters;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const std::string name = "w" + std::to_string(i);
      const std::int64_t into = i == 0 ? x.size(1) : parameters.back().second.size(0);
      parameters.emplace_back(name, at::tensor(weights[i]).view({-1, into}));
      code = "torch.linear(" + code + ", self." + name + ", None)";
    }
    return values(run<attribution::Lrp>(
        scripted("def forward(self, x):\n  return " + code + "\n", {}, parameters),
        R"j(, "first": "z_plus", "dense": "epsilon", "epsilon": 1e-9)j", x));
  };
  const auto row = [](std::vector<float> numbers) { return at::tensor(numbers).view({1, -1}); };
  // Of f and -f: positive contributions are other ones.
  const at::Tensor pair = row({1, 1});
  EXPECT_TRUE(at::allclose(relevance({{2, -1}}, pair), row({1, 0})));
  EXPECT_TRUE(at::allclose(relevance({{-2, 1}}, pair), row({0, -1})));
  // x, and 2x - x.
  const at::Tensor one = row({3});
  EXPECT_TRUE(at::allclose(relevance({{1}}, one), row({3})));
  EXPECT_TRUE(at::allclose(relevance({{2, -1}, {1, 1}}, one), row({6})));
  // Where a function is flat everything is in its bias.
  const at::Tensor flat = values(run<attribution::Lrp>(
      scripted("def forward(self, x):\n  return 1 - torch.relu(1 - x)\n"), "", row({2})));
  EXPECT_EQ(flat.item<float>(), 0);
}

}  // namespace
}  // namespace microtome::testing
