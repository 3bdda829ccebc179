// A network whose rectifiers are smooth.
#include "host/model/smooth_rectifiers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/host/model/scripted.h"

namespace microtome::testing {
namespace {

using host::torchscript::Lowering;

std::shared_ptr<host::ProgramModel> smooth(const char* code, double beta) {
  host::Program program = Lowering(scripted(code)).run();
  host::smooth_rectifiers(program, beta);
  return std::make_shared<host::ProgramModel>("smooth", std::move(program), ModelInput{}, at::kCPU);
}

constexpr const char* relu = "def forward(self, x):\n  return torch.relu(x) * 2\n";
constexpr const char* relu6 = "def forward(self, x):\n  return torch.relu6(x)\n";
constexpr const char* clipped = "def forward(self, x):\n  return torch.hardtanh(x, -2., 3.)\n";

at::Tensor run(const host::ProgramModel& model, const at::Tensor& x) {
  return model.run(named_inputs(model, {x}), {}).output();
}

TEST(SmoothRectifiers, AreSoftplusAndTendToTheOriginal) {
  const at::Tensor x = at::linspace(-10, 10, 401).view({1, -1});
  EXPECT_TRUE(at::allclose(run(*smooth(relu, 3), x), 2 * at::log1p((3 * x).exp()) / 3, 1e-5, 1e-6));
  const std::pair<const char*, at::Tensor> originals[] = {
      {relu, 2 * x.clamp_min(0)}, {relu6, x.clamp(0, 6)}, {clipped, x.clamp(-2, 3)}};
  for (const auto& [code, original] : originals) {
    double before = 1e9;
    for (const double beta : {1.0, 10.0, 100.0}) {
      // Furthest at a kink, by log(2) / beta.
      const double apart = (run(*smooth(code, beta), x) - original).abs().max().item<double>();
      EXPECT_LE(apart, 2 * std::log(2.0) / beta + 1e-5) << code;
      EXPECT_LT(apart, before) << code;
      before = apart;
    }
  }
}

TEST(SmoothRectifiers, HaveSecondDerivatives) {
  const auto model = smooth(relu, 2);
  const at::Tensor x = at::linspace(-2, 2, 9).view({1, -1});
  Pass pass;
  pass.differentiate = {parse_hook_point("input")};
  const Recording recording = model->run(named_inputs(*model, {x}), pass);
  const at::AutoGradMode mode(true);
  const at::Tensor first = recording.gradients(recording.output().sum(), true, true)[0];
  const at::Tensor second = recording.gradients(first.sum(), false, false)[0];
  const at::Tensor s = (2 * x).sigmoid();
  EXPECT_TRUE(at::allclose(first, 2 * s, 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(second, 4 * s * (1 - s), 1e-5, 1e-6));
}

TEST(SmoothRectifiers, ANetworkWithoutAnyIsRefused) {
  EXPECT_THROW(smooth("def forward(self, x):\n  return x * 2\n", 1), Error);
}

}  // namespace
}  // namespace microtome::testing
