// One function written in several ways, with its samples first and elsewhere inside: every method
// gives the same for all of them, whether there are fewer, as many or more samples than positions.
#include <gtest/gtest.h>

#include "gradient/plain_gradient.h"
#include "gradient/rectifier_rules.h"
#include "gradient/smooth_grad.h"
#include "layers/conductance.h"
#include "paths/discretized_integrated_gradients.h"
#include "paths/expected_gradients.h"
#include "paths/integrated_gradients.h"
#include "paths/integrated_hessians.h"
#include "paths/path_integrated_gradients.h"
#include "perturbation/ablation.h"
#include "perturbation/shapley.h"
#include "rules/deep_lift.h"
#include "rules/lrp.h"
#include "tests/plugins/attribution/on_network.h"

namespace microtome::testing {
namespace {

constexpr std::int64_t positions = 4;

/// Weights that all ways to write the network share.
struct Weights {
  at::Tensor first = at::randn({5, 3}), second = at::randn({6, 5}), bias = at::randn({6}),
             head = at::randn({2, 6});
};

torch::jit::Module network(const Weights& weights, const std::string& activation,
                           const std::string& before, const std::string& after) {
  const auto inner = scripted(
      "def forward(self, x):\n"
      "  h = torch." +
          activation +
          "(torch.linear(x, self.first))\n"
          "  return torch.relu(torch.linear(h, self.second, self.bias))\n",
      {}, {{"first", weights.first}, {"second", weights.second}, {"bias", weights.bias}});
  return scripted("def forward(self, x):\n  n = x.size(0)\n  t = x.size(1)\n  h = " + before +
                      "\n  h = self.inner.forward(h)\n  h = " + after +
                      "\n  return torch.linear(h.mean(1), self.head)\n",
                  {{"inner", inner}}, {{"head", weights.head}});
}

struct Method {
  std::string name;
  std::function<Output(const torch::jit::Module&, const std::string&, const at::Tensor&)> attribute;
  std::string activation = "tanh";
};

template <class S>
Method method(const std::string& name, const std::string& parameters = {},
              const std::string& activation = "tanh") {
  return {
      name,
      [parameters](const torch::jit::Module& module, const std::string& at, const at::Tensor& x) {
        return attribute<S>(
            module, R"j({"target": "class(0)", "at": ")j" + at + "\"" + parameters + "}", x);
      },
      activation};
}

std::vector<Method> methods() {
  using namespace attribution;
  return {method<Saliency>("saliency", R"j(, "absolute": false)j"),
          method<InputXGradient>("input_x_gradient"),
          method<GuidedBackprop>("guided_backprop", "", "relu"),
          method<Deconvolution>("deconvolution", "", "relu"),
          method<IntegratedGradients>("integrated_gradients", R"j(, "steps": 16)j"),
          method<ExpectedGradients>("expected_gradients", R"j(, "draws": 8)j"),
          method<GradientShap>("gradient_shap", R"j(, "draws": 8)j"),
          method<PathIntegratedGradients>("path_integrated_gradients",
                                          R"j(, "steps": 16, "path": "power", "exponents": [2])j"),
          method<IntegratedHessians>("integrated_hessians", R"j(, "steps": 8)j"),
          method<InternalInfluence>("internal_influence", R"j(, "steps": 8)j"),
          method<DeepLift>("deep_lift"),
          method<DeepLift>("deep_lift reveal_cancel", R"j(, "rule": "reveal_cancel")j"),
          method<DeepLiftShap>("deep_lift_shap"),
          method<Lrp>("lrp"),
          method<FeatureAblation>("feature_ablation", R"j(, "features": "unit")j"),
          method<ShapleySampling>("shapley_sampling", R"j(, "features": "unit", "orders": 4)j"),
          method<KernelShap>("kernel_shap", R"j(, "features": "unit", "coalitions": 80)j"),
          method<Lime>("lime", R"j(, "features": "unit", "coalitions": 80)j")};
}

class MethodsInAnyOrder : public ::testing::TestWithParam<std::int64_t> {};

TEST_P(MethodsInAnyOrder, GiveTheSame) {
  at::manual_seed(5);
  const Weights weights;
  const at::Tensor x = at::randn({GetParam(), positions, 3});
  for (const Method& method : methods()) {
    const auto written = [&](const std::string& before, const std::string& after) {
      return network(weights, method.activation, before, after);
    };
    const auto plain = written("x", "h");
    const std::vector<std::pair<std::string, torch::jit::Module>> others = {
        {"positions first", written("x.transpose(0, 1)", "h.transpose(0, 1)")},
        {"samples x positions", written("x.reshape(n * t, -1)", "h.reshape(n, t, -1)")},
        {"positions x samples",
         written("x.transpose(0, 1).reshape(n * t, -1)", "h.reshape(t, n, -1).transpose(0, 1)")}};
    for (const char* at : {"input", "inner"}) {
      at::Tensor expected;
      try {
        expected = method.attribute(plain, at, x).tensors.at("attributions");
      } catch (const std::exception& error) {
        ADD_FAILURE() << method.name << " at " << at << ": " << error.what();
        continue;
      }
      EXPECT_GT(expected.abs().max().item<double>(), 0) << method.name;
      for (const auto& [order, module] : others) {
        try {
          const at::Tensor found = method.attribute(module, at, x).tensors.at("attributions");
          ASSERT_EQ(found.sizes(), expected.sizes())
              << method.name << " at " << at << ", " << order;
          EXPECT_LE((found - expected).abs().max().item<double>(),
                    1e-5 * expected.abs().max().item<double>())
              << method.name << " at " << at << ", " << order;
        } catch (const std::exception& error) {
          ADD_FAILURE() << method.name << " at " << at << ", " << order << ": " << error.what();
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(BesidePositions, MethodsInAnyOrder, ::testing::Values(2, positions, 7));

}  // namespace
}  // namespace microtome::testing
