// What plans change of the way back only: the values stay the same bits.
#include <gtest/gtest.h>
#include <malloc.h>

#include "host/model/torchscript/loader.h"
#include "tests/host/model/scripted.h"
#include "tests/support/test_data.h"

namespace microtome::testing {
namespace {

using host::PlanSettings;
using host::ProgramModel;

/// What a run gives, with gradients of a weighted sum of the output by the input.
struct Derived {
  at::Tensor output, gradient;
  at::Tensor curvature;  ///< of the output's squares, along the input itself
};

Derived derived(const ProgramModel& model, const at::Tensor& x) {
  Pass pass;
  pass.differentiate = {parse_hook_point("input")};
  const Recording run = model.run(named_inputs(model, {x}), pass);
  const at::Tensor output = run.output();
  const at::Tensor weights = at::arange(output.numel(), output.options()).view_as(output).sin();
  const at::Tensor gradient = run.gradients((output * weights).sum(), /*keep=*/true)[0];
  const at::AutoGradMode mode(true);
  const at::Tensor slope = run.gradients(output.square().sum(), true, /*create_graph=*/true)[0];
  return {output.detach(), gradient, run.gradients((slope * x).sum())[0]};
}

void expect_same_values(const Derived& found, const Derived& expected, double tolerance) {
  EXPECT_TRUE(found.output.equal(expected.output));
  const auto expect_close = [&](const at::Tensor& a, const at::Tensor& b, const char* what) {
    ASSERT_EQ(a.sizes(), b.sizes());
    ASSERT_GT(b.abs().max().item<double>(), 0) << what;
    EXPECT_LE((a - b).abs().max().item<double>(), tolerance * b.abs().max().item<double>()) << what;
  };
  expect_close(found.gradient, expected.gradient, "gradient");
  expect_close(found.curvature, expected.curvature, "curvature");
}

TEST(PlanGradients, MaxPoolingAloneWithChannelsLastIsTheSameBits) {
  at::manual_seed(12);
  const auto whole = shared_model(scripted(
      "def forward(self, x):\n  a = torch.max_pool2d(self.conv.forward(x), [3, 3], [2, 2], "
      "[1, 1])\n  return torch.max_pool2d(a, 2, 2, 0, 1, True)\n",
      {{"conv", convolution(3, 10, true)}}));
  const auto planned = whole->planned({}, only(&PlanSettings::pool_channels_last));
  EXPECT_EQ(planned->plan_report().pooled_channels_last, 2);
  // Windows with equal values among others: the first one is meant, in whatever order they lie.
  at::Tensor x = at::randn({4, 3, 9, 11});
  x[0].fill_(0.3);
  x[1].round_();
  expect_same_values(derived(*planned, x), derived(*whole, x), 0);
  const at::Tensor plain = planned->run(named_inputs(*planned, {x}), {}).output();
  EXPECT_TRUE(plain.equal(whole->run(named_inputs(*whole, {x}), {}).output()));
  EXPECT_TRUE(plain.is_contiguous());
  // Where the whole network has its channels last, so has this already.
  PlanSettings both = only(&PlanSettings::pool_channels_last);
  both.channels_last = true;
  EXPECT_EQ(whole->planned({}, both)->plan_report().pooled_channels_last, 0);
}

TEST(PlanGradients, BatchNormsThatStayGoBackByOneProduct) {
  at::manual_seed(13);
  const auto whole = shared_model(scripted(
      "def forward(self, x):\n  a = torch.tanh(self.bn1.forward(self.conv1.forward(x)))\n  return "
      "self.bn2.forward(self.conv2.forward(a) + a)\n",
      {{"conv1", convolution(3, 6, false)},
       {"bn1", norm(6)},
       {"conv2", convolution(6, 6, true)},
       {"bn2", norm(6)}}));
  const auto planned = whole->planned({}, only(&PlanSettings::batch_norm_gradients));
  EXPECT_EQ(planned->plan_report().batch_norm_gradients, 2);
  const at::Tensor x = at::randn({3, 3, 6, 5});
  expect_same_values(derived(*planned, x), derived(*whole, x), 2e-6);
  // Those that are folded away have none.
  PlanSettings both = only(&PlanSettings::batch_norm_gradients);
  both.fold_batch_norm = true;
  EXPECT_EQ(whole->planned({}, both)->plan_report().batch_norm_gradients, 1);
}

TEST(PlanGradients, WideConvolutionsGoBackByWinogradsFiltering) {
  at::manual_seed(14);
  const auto whole = shared_model(
      scripted("def forward(self, x):\n  a = torch.tanh(self.conv1.forward(x))\n  return "
               "self.conv3.forward(torch.tanh(self.conv2.forward(a)))\n",
               {{"conv1", convolution(3, 64, false)},
                {"conv2", convolution(64, 80, true)},
                {"conv3", convolution(80, 64, true)}}));
  const auto planned = whole->planned({}, only(&PlanSettings::winograd_gradients));
  EXPECT_EQ(planned->plan_report().winograd_gradients, 2);
  const at::Tensor x = at::randn({3, 3, 14, 11});
  expect_same_values(derived(*planned, x), derived(*whole, x), 1e-5);
  // Few tiles would not be worth the filters, nor would tiles that are mostly edge: the same bits.
  for (const auto& size : std::vector<std::vector<std::int64_t>>{{1, 3, 8, 8}, {9, 3, 5, 5}}) {
    const at::Tensor small = at::randn(size);
    expect_same_values(derived(*planned, small), derived(*whole, small), 0);
  }
  // Beside folded batch norms, and with the channels last.
  PlanSettings all;
  all.in_place = false;
  const auto fast = whole->planned({}, all);
  EXPECT_TRUE(fast->plan_report().channels_last);
  EXPECT_EQ(fast->plan_report().winograd_gradients, 2);
  const Derived found = derived(*fast, x), expected = derived(*whole, x);
  EXPECT_LE((found.gradient - expected.gradient).abs().max().item<double>(),
            2e-5 * expected.gradient.abs().max().item<double>());
}

TEST(PlanGradients, AThousandByTheDefaultPlanLeaveMemoryFlat) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the address sanitizer's allocator does not say what is in use";
#endif
  const auto bytes_in_use = [] {
    const auto now = mallinfo2();
    return now.uordblks + now.hblkhd;
  };
  const auto planned =
      shared_model(scripted("def forward(self, x):\n  a = torch.relu(self.bn.forward("
                            "self.conv1.forward(x)))\n  return self.conv2.forward("
                            "torch.max_pool2d(a, [2, 2]))\n",
                            {{"conv1", convolution(3, 64, false)},
                             {"bn", norm(64)},
                             {"conv2", convolution(64, 64, true)}}))
          ->planned({}, PlanSettings{});
  ASSERT_EQ(planned->plan_report().winograd_gradients, 1);
  const NamedTensors inputs = named_inputs(*planned, {at::rand({2, 3, 24, 24})});
  Pass pass;
  pass.differentiate = {parse_hook_point("input")};
  std::size_t early = 0;
  for (int i = 0; i < 1000; ++i) {
    const Recording run = planned->run(inputs, pass);
    static_cast<void>(run.gradients(run.output()));
    if (i == 50) early = bytes_in_use();
  }
  EXPECT_LE(bytes_in_use(), early + 65536);
}

TEST(PlanGradients, OtherConvolutionsGoBackAsTheyDo) {
  at::manual_seed(15);
  const auto conv = [](std::vector<std::int64_t> size, const std::string& arguments) {
    return scripted(
        "def forward(self, x):\n  return torch.conv2d(x, self.weight, None, " + arguments + ")\n",
        {}, {{"weight", at::randn(size)}});
  };
  const auto whole = shared_model(scripted(
      "def forward(self, x):\n  return self.same.forward(self.far.forward(self.wide.forward("
      "self.odd.forward(self.groups.forward(self.steps.forward(x))))))\n",
      {{"steps", conv({64, 64, 3, 3}, "[2, 2], [1, 1]")},
       {"groups", conv({64, 32, 3, 3}, "[1, 1], [1, 1], [1, 1], 2")},
       {"odd", conv({72, 64, 3, 3}, "[1, 1], [1, 1]")},
       {"wide", conv({64, 72, 5, 5}, "[1, 1], [2, 2]")},
       {"far", conv({64, 64, 3, 3}, "[1, 1], [2, 2], [2, 2]")},
       {"same", conv({64, 64, 3, 3}, "1, \"same\"")}}));
  EXPECT_EQ(
      whole->planned({}, only(&PlanSettings::winograd_gradients))->plan_report().winograd_gradients,
      0);
}

TEST(PlanGradients, RealNetworksDecideAsTheyDoWithoutAPlan) {
  for (const auto& [name, size] : std::vector<std::pair<std::string, std::vector<std::int64_t>>>{
           {"cifar10-resnet20.pt", {4, 3, 32, 32}},
           {"imagenet-squeezenet1_0.pt", {1, 3, 227, 227}}}) {
    MICROTOME_TEST_DATA_OR_SKIP(file, "models/" + name);
    const auto whole = std::make_shared<ProgramModel>("net", host::torchscript::load(file),
                                                      ModelInput{}, at::kCPU);
    // As for stages that take gradients.
    PlanSettings settings, filtering;
    settings.fold_batch_norm = settings.channels_last = false;
    filtering = settings;
    settings.winograd_gradients = false;
    const auto planned = whole->planned({}, settings), filtered = whole->planned({}, filtering);
    at::manual_seed(2);
    const at::Tensor x = at::randn(size);
    Pass pass;
    pass.differentiate = {parse_hook_point("input")};
    const Recording a = planned->run(named_inputs(*planned, {x}), pass);
    const Recording b = whole->run(named_inputs(*whole, {x}), pass);
    EXPECT_TRUE(a.output().equal(b.output())) << name;
    const at::Tensor found = a.gradients(a.output().select(1, 3))[0];
    const at::Tensor expected = b.gradients(b.output().select(1, 3))[0];
    EXPECT_LE((found - expected).abs().max().item<double>(),
              2e-6 * expected.abs().max().item<double>())
        << name;
    const Recording c = filtered->run(named_inputs(*filtered, {x}), pass);
    EXPECT_TRUE(c.output().equal(b.output())) << name;
    EXPECT_LE((c.gradients(c.output().select(1, 3))[0] - expected).abs().max().item<double>(),
              1e-5 * expected.abs().max().item<double>())
        << name;
  }
}

}  // namespace
}  // namespace microtome::testing
