// Gradients that come back in another order of dimensions than the value has.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/host/model/scripted.h"

namespace microtome::testing {
namespace {

/// Memory of many sizes that is given back with large numbers in it, for others to find.
void leave_large_numbers_behind() {
  std::vector<at::Tensor> pieces;
  for (const std::int64_t size : {100, 420, 840, 936, 1000, 2000, 5000})
    pieces.push_back(at::full({size}, 1e20));
}

/// Phi(x) + x phi(x), in float64.
at::Tensor slope_of_gelu(const at::Tensor& x) {
  const at::Tensor exact = x.to(at::kDouble);
  return 0.5 * (1 + at::erf(exact / std::sqrt(2.0))) +
         exact * at::exp(-exact.square() / 2) / std::sqrt(2 * M_PI);
}

struct Case {
  const char* name;
  const char* source;  ///< y = permute(gelu(x))
  std::vector<std::int64_t> shape, order;
};

class GradientLayout : public ::testing::TestWithParam<Case> {};

TEST_P(GradientLayout, AGradientThatComesBackToAGeluTransposedIsRight) {
  at::manual_seed(21);
  const Case& tried = GetParam();
  const auto model = shared_model(scripted(tried.source));
  const auto planned = model->planned({}, host::PlanSettings::none());
  const at::Tensor x = at::randn(tried.shape);
  const at::Tensor weights = at::randn(tried.shape).permute(tried.order).contiguous();
  std::vector<std::int64_t> back(tried.order.size());
  for (std::size_t i = 0; i < back.size(); ++i)
    back[static_cast<std::size_t>(tried.order[i])] = static_cast<std::int64_t>(i);
  const at::Tensor expected = slope_of_gelu(x) * weights.permute(back);
  // Outputs are handed out with samples first.
  const at::Tensor by_sample = weights.movedim(back[0], 0);
  Pass pass;
  pass.differentiate = {parse_hook_point("input")};
  for (const std::shared_ptr<const host::ProgramModel>& one :
       {std::shared_ptr<const host::ProgramModel>(model), planned}) {
    for (int i = 0; i < 8; ++i) {
      leave_large_numbers_behind();
      const Recording run = one->run(named_inputs(*one, {x}), pass);
      leave_large_numbers_behind();
      const at::Tensor gradient = run.gradients((run.output() * by_sample).sum())[0];
      EXPECT_LE((gradient - expected).abs().max().item<double>(), 1e-5);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Orders, GradientLayout,
    ::testing::Values(
        Case{"rows",
             "def forward(self, x):\n  return torch.gelu(x).transpose(1, 2)\n",
             {3, 8, 39},
             {0, 2, 1}},
        Case{"images",
             "def forward(self, x):\n  return torch.gelu(x).permute([0, 2, 3, 1])\n",
             {3, 8, 5, 7},
             {0, 2, 3, 1}},
        Case{"copied",
             "def forward(self, x):\n  return torch.gelu(x).permute([2, 1, 0]).contiguous()\n",
             {3, 8, 39},
             {2, 1, 0}}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace microtome::testing
