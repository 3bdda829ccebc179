// Each broken pipeline must be refused with the right words at the right place, and quickly.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/pipeline/checker.h"
#include "host/pipeline/yaml_reader.h"
#include "tests/host/pipeline/broken_pipelines.h"
#include "tests/support/array_files.h"
#include "tests/support/small_world.h"
#include "tests/support/temporary_folder.h"

namespace microtome::testing {
namespace {

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos;
       at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

class BrokenPipelines : public ::testing::TestWithParam<BrokenPipeline> {
 protected:
  // Links of fixed length, so that columns do not depend on where a temporary folder is.
  static void SetUpTestSuite() {
    world = std::make_unique<SmallWorld>();
    const at::Tensor rows = at::rand({4, 3, 8, 8}, at::kDouble);
    world->write("rows.npy", npy_file("'<f8'", "(4, 3, 8, 8)", bytes_of(rows)));
    world->write("counts.npy", npy_file("'<i8'", "(4, 3, 8, 8)", bytes_of(rows.to(at::kLong))));
    world->write("objects.npy", npy_file("'|O'", "(4,)", std::string(32, '.')));
  }
  static void TearDownTestSuite() { world.reset(); }
  static std::unique_ptr<SmallWorld> world;
};
std::unique_ptr<SmallWorld> BrokenPipelines::world;

std::string all_of(const Problems& problems) {
  std::string text;
  for (const Problem& problem : problems.list()) {
    text += std::to_string(problem.location.line) + ":" + std::to_string(problem.location.column) +
            ": " + problem.message + "\n";
  }
  return text;
}

TEST_P(BrokenPipelines, IsRefusedWithTheMessageAndThePlace) {
  const BrokenPipeline& broken = GetParam();
  const std::string text = replaced(replaced(broken.text, "$MODEL", world->model().string()),
                                    "$DATA", world->images().string());
  Problems problems;
  host::Pipeline pipeline =
      host::read_pipeline_text(text, world->path() / "broken.yaml", broken.overrides, problems);
  host::Catalog catalog(host::SearchPath{{MICROTOME_PLUGIN_FOLDER}});
  host::check_pipeline(std::move(pipeline), catalog, at::kCPU, problems);
  bool said = false, placed = false;
  for (const Problem& problem : problems.list()) {
    if (problem.message.find(broken.message) == std::string::npos) continue;
    said = true;
    const bool line = problem.location.line == broken.line;
    // Where a path stands before the place, its column depends on the temporary folder's name.
    const bool column = broken.column == 0 || problem.location.column == broken.column;
    placed = placed || (line && column);
  }
  EXPECT_TRUE(said) << "expected: " << broken.message << "\nfound:\n" << all_of(problems);
  EXPECT_TRUE(placed) << "expected at " << broken.line << ":" << broken.column << "\nfound:\n"
                      << all_of(problems);
}

INSTANTIATE_TEST_SUITE_P(All, BrokenPipelines, ::testing::ValuesIn(broken_pipelines()),
                         [](const auto& info) { return info.param.name; });

TEST(Pipelines, CyclesAreSaidWithTheirPath) {
  const SmallWorld world;
  Problems problems;
  const std::string text = world.pipeline(
      "  a: {uses: pixel_sum_0000, inputs: {data: test, after: c}}\n"
      "  b: {uses: pixel_sum_0000, inputs: {data: test, after: a}}\n"
      "  c: {uses: pixel_sum_0000, inputs: {data: test, after: b}}\n");
  host::Catalog catalog(
      host::SearchPath{{std::string(MICROTOME_FIXTURE_FOLDER) + "/well_behaved"}});
  auto pipeline = host::read_pipeline_text(text, world.path() / "p.yaml", {}, problems);
  host::check_pipeline(std::move(pipeline), catalog, at::kCPU, problems);
  ASSERT_EQ(problems.size(), 1U) << all_of(problems);
  EXPECT_EQ(problems.list()[0].message, "the stages need each other in a circle: a -> c -> b -> a");
  EXPECT_EQ(problems.list()[0].location.line, 10);
}

TEST(Pipelines, AllMistakesAreSaidAtOnce) {
  const SmallWorld world;
  Problems problems;
  const std::string text = world.pipeline(
      "  a: {uses: evaluate, inputs: {model: net, data: test}, with: {lable: label}}\n"
      "  b: {uses: activations, inputs: {model: net, data: test}, with: {layers: [nope, conv], "
      "pool: big}}\n");
  host::Catalog catalog(host::SearchPath{{MICROTOME_PLUGIN_FOLDER}});
  auto pipeline = host::read_pipeline_text(text, world.path() / "p.yaml", {"vars.x=["}, problems);
  host::check_pipeline(std::move(pipeline), catalog, at::kCPU, problems);
  EXPECT_EQ(problems.size(), 3U) << all_of(problems);
}

TEST(Pipelines, MatrixMembersChainElementByElement) {
  const SmallWorld world;
  Problems problems;
  const std::string text = world.pipeline(
      "  ig:\n    uses: integrated_gradients\n    inputs: {model: net, data: test}\n"
      "    matrix: {steps: [4, 8], baseline: [zeros, blur], exclude: [{steps: 8, baseline: blur}], "
      "include: [{steps: 2, rule: left}]}\n");
  const auto pipeline = host::read_pipeline_text(text, world.path() / "p.yaml", {}, problems);
  ASSERT_TRUE(problems.empty()) << all_of(problems);
  std::vector<std::string> ids;
  for (const auto& stage : pipeline.stages) ids.push_back(stage.id);
  EXPECT_THAT(ids, ::testing::ElementsAre("ig[steps=4,baseline=zeros]", "ig[steps=4,baseline=blur]",
                                          "ig[steps=8,baseline=zeros]", "ig[steps=2,rule=left]"));
  EXPECT_EQ(pipeline.stages[1].folder().generic_string(), "ig/steps=4,baseline=blur");
}

TEST(Pipelines, VariablesKeepTheirType) {
  Problems problems;
  const auto pipeline = host::read_pipeline_text(
      "microtome: 1\nname: a\nvars: {n: 3, list: [1, 2], s: \"07\"}\nstages: {a: {uses: x, with: "
      "{a: \"${n}\", b: \"${list}\", c: \"n=${n}\", d: \"${s}\"}}}\n",
      "p.yaml", {"vars.n=5"}, problems);
  ASSERT_TRUE(problems.empty());
  const Value& with = pipeline.stages[0].with;
  EXPECT_EQ(with.at("a"), Value(5));
  EXPECT_EQ(with.at("b").as_list().size(), 2U);
  EXPECT_EQ(with.at("c"), Value("n=5"));
  EXPECT_EQ(with.at("d"), Value("07"));
}

}  // namespace
}  // namespace microtome::testing
