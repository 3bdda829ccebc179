// What the plugins write, recomputed here from other outputs of theirs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "microtome/value.h"
#include "tests/support/program.h"
#include "tests/support/safetensors_reader.h"
#include "tests/support/small_world.h"

namespace microtome::testing {
namespace {

namespace fs = std::filesystem;

class Plugins : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    world = std::make_unique<SmallWorld>(25);
    const std::string inputs = ", inputs: {model: net, data: test}, with: {layers: [conv], ";
    const auto file = world->write_pipeline(
        "  none: {uses: activations" + inputs + "pool: none}}\n" + "  mean: {uses: activations" +
        inputs + "pool: mean}}\n" + "  max: {uses: activations" + inputs + "pool: max}}\n" +
        "  flat: {uses: activations" + inputs + "pool: flatten}}\n" +
        "  random: {uses: activations" + inputs + "positions: \"random:5\"}}\n" +
        "  grid: {uses: activations" + inputs + "positions: \"grid:2\"}}\n" +
        "  part: {uses: activations, inputs: {model: net, data: test}, with: {layers: "
        "[\"conv[c=2]\", input, pixels, head]}}\n" +
        "  accuracy: {uses: evaluate, inputs: {model: net, data: test}}\n");
    const auto run = run_program({"run", file.string(), "-q"}, world->path());
    ASSERT_EQ(run.status, 0) << run.errors;
  }
  static void TearDownTestSuite() { world.reset(); }

  static at::Tensor tensor(const std::string& stage, const std::string& name,
                           const std::string& port = "activations") {
    const fs::path folder = world->path() / "runs/small/latest/stages" / stage / port;
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (entry.path().extension() != ".safetensors") continue;
      auto tensors = read_safetensors(entry.path());
      if (tensors.contains(name)) return tensors[name];
    }
    throw Error("no tensor " + name + " in " + folder.string());
  }

  static std::unique_ptr<SmallWorld> world;
};
std::unique_ptr<SmallWorld> Plugins::world;

TEST_F(Plugins, ActivationsPool) {
  const at::Tensor all = tensor("none", "conv");
  ASSERT_EQ(all.sizes().vec(), (std::vector<std::int64_t>{50, 4, 8, 8}));
  EXPECT_TRUE(at::allclose(tensor("mean", "conv"), all.mean({2, 3}), 1e-5, 1e-6));
  EXPECT_TRUE(tensor("max", "conv").equal(all.amax({2, 3})));
  EXPECT_TRUE(tensor("flat", "conv").equal(all.flatten(1)));
  EXPECT_TRUE(tensor("part", "conv[c=2]").equal(all.select(1, 2)));
  // Pixels are the images in 0..1, the input is what the model was trained on.
  EXPECT_TRUE(at::allclose(tensor("part", "input"), (tensor("part", "pixels") - 0.5) / 0.25));
}

TEST_F(Plugins, ActivationsAtPositionsAreThoseOfThePlaces) {
  const at::Tensor all = tensor("none", "conv");
  for (const auto& [stage, count] :
       {std::pair<std::string, std::int64_t>{"random", 5}, {"grid", 4}}) {
    const at::Tensor values = tensor(stage, "conv"), places = tensor(stage, "conv.yx");
    ASSERT_EQ(values.sizes().vec(), (std::vector<std::int64_t>{50, count, 4}));
    for (std::int64_t i = 0; i < 50; ++i) {
      for (std::int64_t k = 0; k < count; ++k) {
        const std::int64_t y = places[i][k][0].item<std::int64_t>(),
                           x = places[i][k][1].item<std::int64_t>();
        ASSERT_TRUE(values[i][k].equal(all[i].select(2, x).select(1, y)));
      }
    }
  }
  EXPECT_TRUE(tensor("grid", "conv.yx")[0].equal(
      at::tensor({2, 2, 2, 6, 6, 2, 6, 6}, at::kLong).view({4, 2})));
  // Places differ between samples and do not repeat within one.
  const at::Tensor places =
      tensor("random", "conv.yx").select(2, 0) * 8 + tensor("random", "conv.yx").select(2, 1);
  EXPECT_FALSE(places[0].equal(places[1]));
  EXPECT_TRUE((places.slice(1, 1, 5) > places.slice(1, 0, 4)).all().item<bool>());
}

TEST_F(Plugins, AccuracyIsTheShareOfRightAnswers) {
  const at::Tensor scores = tensor("part", "head");
  const at::Tensor labels = at::cat({at::zeros({25}, at::kLong), at::ones({25}, at::kLong)});
  const at::Tensor predicted = tensor("accuracy", "predicted", "metrics");
  EXPECT_TRUE(predicted.equal(scores.argmax(1)));
  const double share = (predicted == labels).to(at::kDouble).mean().item<double>();
  const Value artifact = from_json(
      read_file(world->path() / "runs/small/latest/stages/accuracy/metrics/artifact.json"));
  const Value& top1 = artifact.at("metrics").as_list().at(0);
  EXPECT_DOUBLE_EQ(top1.at("value").as_number(), share);
  EXPECT_EQ(top1.at("chance"), Value(0.5));
  const at::Tensor confusion = tensor("accuracy", "confusion", "metrics");
  EXPECT_EQ(confusion.sum().item<std::int64_t>(), 50);
  EXPECT_EQ(confusion.diagonal().sum().item<std::int64_t>(),
            static_cast<std::int64_t>(std::llround(share * 50)));
}

}  // namespace
}  // namespace microtome::testing
