// What repeated attributions leave behind.
#include <gtest/gtest.h>

#include "paths/integrated_gradients.h"
#include "perturbation/ablation.h"
#include "rules/deep_lift.h"
#include "tests/plugins/attribution/on_network.h"
#include "tests/support/resident_memory.h"

namespace microtome::testing {
namespace {

/// One attribution after another of the same batch, without the harness's own work.
template <class S>
void expect_flat(const char* parameters) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the address sanitizer holds freed memory back";
#endif
  at::manual_seed(4);
  const auto module = scripted(
      "def forward(self, x):\n  a = torch.relu(self.conv1.forward(x))\n  return "
      "torch.mean(torch.relu(self.conv2.forward(a)), [2, 3])\n",
      {{"conv1", convolution(3, 8, true)}, {"conv2", convolution(8, 4, true)}});
  const at::Tensor x = at::randn({8, 3, 24, 24});
  const auto once = [&] { attribute<S>(module, parameters, x); };
  for (int i = 0; i < 50; ++i) once();
  const double before = resident_bytes();
  for (int i = 0; i < 1000; ++i) once();
  // One pass forward and back holds 0.6 MB; a thousand that stayed would be 600 MB.
  EXPECT_LT(resident_bytes() - before, 20e6);
}

TEST(Memory, AThousandIntegratedGradientsLeaveItFlat) {
  expect_flat<attribution::IntegratedGradients>(R"j({"target": "class(0)", "steps": 2})j");
}

TEST(Memory, AThousandDeepLiftsLeaveItFlat) {
  expect_flat<attribution::DeepLift>(R"j({"target": "class(0)"})j");
}

TEST(Memory, AThousandAblationsLeaveItFlat) {
  expect_flat<attribution::FeatureAblation>(R"j({"target": "class(0)", "features": "grid:12"})j");
}

}  // namespace
}  // namespace microtome::testing
