#include "plugins/ablate/ablate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/model/program_model.h"
#include "host/model/torchscript/loader.h"
#include "microtome/testing/harness.h"
#include "tests/support/test_data.h"

namespace microtome::testing {
namespace {

using ::ablate::Ablate;

/// x [N, 4] -> double = 2 x -> scores = (sum of the first three, the fourth is not read).
std::shared_ptr<const StepModel> linear() {
  return std::make_shared<StepModel>(
      at::zeros({1, 4}),
      std::vector<StepModel::Step>{
          {"double", [](const at::Tensor& x) { return x * 2; }},
          {"scores", [](const at::Tensor& x) {
             return at::stack({x.slice(1, 0, 3).sum(1), at::zeros({x.size(0)})}, 1);
           }}});
}

std::shared_ptr<const MemoryDataset> data(const at::Tensor& x) {
  std::vector<std::string> ids;
  for (std::int64_t i = 0; i < x.size(0); ++i) ids.push_back("s" + std::to_string(i));
  return std::make_shared<MemoryDataset>(ids, NamedTensors{{"input", x}});
}

Output run(const at::Tensor& x, const std::string& parameters) {
  Harness harness;
  harness.model("model", linear()).dataset("data", data(x)).chunk_size(3);
  return harness.run(*make<Ablate>(parameters)).at("effects");
}

TEST(Ablate, EachUnitIsWorthWhatItAdds) {
  at::manual_seed(1);
  const at::Tensor x = at::randn({7, 4});
  const Output found = run(x, R"json({"at": "double", "each": "unit", "target": "class(0)"})json");
  const at::Tensor& effect = found.tensors.at("effect");
  ASSERT_EQ(effect.sizes(), (at::IntArrayRef{7, 4}));
  EXPECT_TRUE(at::allclose(effect.slice(1, 0, 3), -2 * x.slice(1, 0, 3), 1e-5, 1e-6));
  // What nobody reads has exactly no effect.
  EXPECT_TRUE(effect.select(1, 3).equal(at::zeros({7})));
  EXPECT_EQ(found.ids.size(), 7U);
  // The interval is Student's: mean and deviation by hand, t(0.975, 6) = 2.446912.
  const at::Tensor column = effect.select(1, 0).to(at::kDouble);
  const double half = 2.446912 * column.std().item<double>() / std::sqrt(7.0);
  EXPECT_NEAR(found.metrics[0].value, column.mean().item<double>(), 1e-6);
  EXPECT_NEAR(found.metrics[0].interval->high - found.metrics[0].value, half, 1e-5);
}

TEST(Ablate, ItsPlanSaysWhatIsKeptOfEachSample) {
  // What runs go on from, and what donors give: [4] at `double`, [2] at `scores`, each value once.
  const auto kept = [](const std::string& parameters) {
    Harness harness;
    harness.model("model", linear()).dataset("data", data(at::zeros({3, 4})));
    return harness.plan(*make<Ablate>(parameters)).bytes_per_sample;
  };
  EXPECT_EQ(kept(R"json({"at": "double", "target": "class(0)"})json"), 16);
  EXPECT_EQ(kept(R"json({"at": ["double[unit=1]", "double[unit=2]", "scores"],
                         "target": "class(0)"})json"),
            24);
  EXPECT_EQ(kept(R"json({"at": "double", "with": "resample", "target": "class(0)"})json"), 32);
  const std::string together = R"json({"at": ["double", "scores"], "together": true, )json";
  EXPECT_EQ(kept(together + R"json("target": "class(0)"})json"), 0);
  EXPECT_EQ(kept(together + R"json("with": "mean", "target": "class(0)"})json"), 24);
}

TEST(Ablate, AValueReplacedByItselfHasExactlyNoEffect) {
  const at::Tensor x = at::rand({1, 4}).repeat({5, 1});
  for (const char* with : {"mean", "resample"}) {
    const Output found = run(x, std::string("{\"at\": \"double\", \"target\": \"class(0)\", "
                                            "\"with\": \"") +
                                    with + "\"}");
    const at::Tensor size = found.tensors.at("effect").abs().max();
    // A mean of equal values may round.
    EXPECT_LE(size.item<float>(), std::string(with) == "mean" ? 1e-6F : 0.0F);
  }
}

TEST(Ablate, MeanAndResampleTakeWhatOtherSamplesHave) {
  at::manual_seed(2);
  const at::Tensor x = at::randn({8, 4});
  const at::Tensor score = 2 * x.slice(1, 0, 3).sum(1);
  const Output mean = run(x, R"json({"at": "double", "target": "class(0)", "with": "mean"})json");
  EXPECT_TRUE(
      at::allclose(mean.tensors.at("effect").select(1, 0), score.mean() - score, 1e-4, 1e-5));
  // Donors are the samples themselves, each once, none its own.
  const Output other =
      run(x, R"json({"at": "double", "target": "class(0)", "with": "resample"})json");
  const at::Tensor donated = other.tensors.at("effect").select(1, 0) + score;
  EXPECT_TRUE(at::allclose(std::get<0>(donated.sort()), std::get<0>(score.sort()), 1e-4, 1e-5));
  EXPECT_TRUE((donated - score).abs().min().item<float>() > 1e-4);
}

TEST(Ablate, TogetherReplacesAllAtOnce) {
  const at::Tensor x = at::rand({4, 4});
  const Output found = run(
      x,
      R"json({"at": ["double[unit=0]", "double[unit=1]"], "together": true, "target": "class(0)"})json");
  EXPECT_TRUE(at::allclose(found.tensors.at("effect").select(1, 0), -2 * x.slice(1, 0, 2).sum(1),
                           1e-5, 1e-6));
}

TEST(Ablate, AScoreBeforeThePlaceIsExactlyUnchanged) {
  at::manual_seed(3);
  const Output found =
      run(at::randn({5, 4}), R"json({"at": "scores", "target": "unit(double[unit=1])"})json");
  EXPECT_TRUE(found.tensors.at("effect").equal(at::zeros({5, 1})));
}

TEST(Ablate, MistakesAreFoundInThePlan) {
  Harness harness;
  harness.model("model", linear()).dataset("data", data(at::rand({4, 4})));
  using ::testing::ElementsAre;
  using ::testing::HasSubstr;
  EXPECT_THAT(harness.plan_problems(*make<Ablate>(R"json({"at": "duoble"})json")),
              ElementsAre(HasSubstr("double")));
  EXPECT_THAT(harness.plan_problems(
                  *make<Ablate>(R"json({"at": "double", "target": "kl(reference)"})json")),
              ElementsAre(HasSubstr("no second one")));
  EXPECT_THAT(harness.plan_problems(
                  *make<Ablate>(R"json({"at": "double", "each": "c", "together": true})json")),
              ElementsAre(HasSubstr("exclude each other")));
}

TEST(Ablate, OnResNet20EqualsWholeRunsWithTheValueReplaced) {
  MICROTOME_TEST_DATA_OR_SKIP(file, "models/cifar10-resnet20.pt");
  const auto model = std::make_shared<host::ProgramModel>("net", host::torchscript::load(file),
                                                          ModelInput{}, at::kCPU);
  at::manual_seed(4);
  const at::Tensor x = at::randn({6, 3, 32, 32});
  const std::string input = model->inputs()[0].name;
  // By the default plan, which computes what is the same for all samples on one row.
  std::vector<HookPoint> hooks;
  const std::vector<std::string> places{"conv1", "layer1.1.conv2", "layer3.0.conv1[c=5]"};
  for (const std::string& place : places) hooks.push_back(parse_hook_point(place));
  Harness harness;
  std::vector<std::string> ids{"a", "b", "c", "d", "e", "f"};
  harness.model("model", model->planned(hooks, host::PlanSettings{}))
      .dataset("data", std::make_shared<MemoryDataset>(ids, NamedTensors{{input, x}}))
      .chunk_size(4);
  const auto found = harness
                         .run(*make<Ablate>(R"json({"at": ["conv1", "layer1.1.conv2",
                              "layer3.0.conv1[c=5]"], "target": "class(3)", "outputs": true})json"))
                         .at("effects");
  const at::Tensor clean = model->run({{input, x}}, {}).output();
  for (std::size_t i = 0; i < places.size(); ++i) {
    Pass pass;
    pass.edits = {{parse_hook_point(places[i]),
                   [](const at::Tensor& value) { return at::zeros_like(value); }}};
    const at::Tensor expected = model->run({{input, x}}, pass).output() - clean;
    const auto column = static_cast<std::int64_t>(i);
    EXPECT_TRUE(at::allclose(found.tensors.at("effect").select(1, column), expected.select(1, 3),
                             1e-4, 1e-4));
    EXPECT_TRUE(at::allclose(found.tensors.at("outputs").select(1, column), expected, 1e-4, 1e-4));
  }
}

}  // namespace
}  // namespace microtome::testing
