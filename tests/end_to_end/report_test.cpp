// The report of a run, as a reader gets it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "microtome/value.h"
#include "tests/support/program.h"
#include "tests/support/small_world.h"
#include "tests/support/temporary_folder.h"

namespace microtome::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
namespace fs = std::filesystem;

std::string unescaped(std::string text) {
  for (const auto& [entity, character] :
       {std::pair{"&quot;", "\""}, {"&#39;", "'"}, {"&lt;", "<"}, {"&gt;", ">"}, {"&amp;", "&"}}) {
    for (std::size_t at = 0; (at = text.find(entity, at)) != std::string::npos; ++at)
      text.replace(at, std::string(entity).size(), character);
  }
  return text;
}

const char* const stages =
    "  accuracy: {uses: evaluate, inputs: {model: net, data: test}}\n"
    "  ig:\n    uses: integrated_gradients\n    inputs: {model: net, data: test}\n"
    "    with: {steps: 4}\n    matrix: {target: [predicted, label]}\n"
    "  acts: {uses: activations, inputs: {model: net, data: test}, with: {layers: [act], "
    "pool: mean}}\n"
    "  pca: {uses: pca, inputs: {activations: acts, labels: test.label}, with: {components: 2}}\n";

class Report : public ::testing::Test {
 protected:
  Report() : world_(30) {}
  std::string run(const std::string& more = {}) {
    const auto file = world_.write_pipeline(
        stages,
        "report: {title: \"<script>alert(1)</script>\", question: \"Is 1 < 2 & 3?\"}\n" + more);
    const auto result = run_program({"run", file.string(), "-q"}, world_.path());
    EXPECT_EQ(result.status, 0) << result.errors;
    return read_file(world_.path() / "runs/small/latest/report.html");
  }
  SmallWorld world_;
};

TEST_F(Report, StandsAloneAndTakesNamesAsText) {
  const std::string page = run();
  EXPECT_THAT(page, AllOf(HasSubstr("&lt;script&gt;alert(1)&lt;/script&gt;"),
                          HasSubstr("Is 1 &lt; 2 &amp; 3?"), Not(HasSubstr("<script")),
                          Not(HasSubstr("http://")), Not(HasSubstr("https://"))));
  // A table, a matrix, heat maps over images, a line, a scatter, and a curve over the matrix.
  EXPECT_THAT(page, AllOf(HasSubstr("Accuracy by class"), HasSubstr("class=\"matrix\""),
                          HasSubstr("attribution over the image"), HasSubstr("<polyline"),
                          HasSubstr("First two components"), HasSubstr("target=label")));
  EXPECT_THAT(page, Not(HasSubstr("class=\"failure\"")));
}

TEST_F(Report, IsWrittenAgainFromTheFolderAlone) {
  const std::string page = run();
  const fs::path moved = world_.path() / "moved";
  fs::copy(fs::canonical(world_.path() / "runs/small/latest"), moved, fs::copy_options::recursive);
  fs::remove(moved / "report.html");
  const auto again = run_program({"report", moved.string()}, world_.path());
  EXPECT_EQ(again.status, 0) << again.errors;
  EXPECT_TRUE(read_file(moved / "report.html") == page);
  EXPECT_EQ(run_program({"report", world_.path().string()}, world_.path()).status, 2);
}

TEST_F(Report, HoldsThePipelineToRunAgain) {
  const std::string page = run();
  const std::size_t begin = page.find("<pre>") + 5;
  const std::string yaml = unescaped(page.substr(begin, page.find("</pre>", begin) - begin));
  const fs::path file = world_.path() / "again.yaml";
  std::ofstream(file) << yaml;
  const auto again = run_program({"run", file.string(), "-v"}, world_.path());
  EXPECT_EQ(again.status, 0) << again.errors;
  EXPECT_THAT(again.errors, HasSubstr("pca: from the store"));
}

std::size_t count_of(const std::string& page, const std::string& words) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = page.find(words, at)) != std::string::npos; at += words.size())
    ++count;
  return count;
}

TEST_F(Report, EveryMapHasItsImageWhateverTheChunk) {
  for (const char* chunk : {"1", "5", "16"}) {
    const auto file = world_.write_pipeline(stages);
    const auto result =
        run_program({"run", file.string(), "-q", "--set", std::string("runtime.chunk=") + chunk},
                    world_.path() / chunk);
    ASSERT_EQ(result.status, 0) << result.errors;
    const std::string page = read_file(world_.path() / chunk / "runs/small/latest/report.html");
    // Twelve samples of each of two targets.
    EXPECT_EQ(count_of(page, "attribution over the image"), 24U) << chunk;
    EXPECT_EQ(count_of(page, "<figcaption>"), 24U) << chunk;
  }
}

TEST_F(Report, StandsWhateverNumbersAnEarlierVersionWrote) {
  run();
  const fs::path moved = world_.path() / "moved";
  fs::copy(fs::canonical(world_.path() / "runs/small/latest"), moved, fs::copy_options::recursive);
  const fs::path artifact = moved / "stages/accuracy/metrics/artifact.json";
  Value description = from_json(read_file(artifact));
  Value metrics = Value::list();
  Value metric = Value::map();
  metric.set("name", "loss");
  metric.set("value", std::nan(""));
  metric.set("n", 3);
  metrics.push_back(std::move(metric));
  description.set("metrics", std::move(metrics));
  fs::remove(artifact);
  std::ofstream(artifact) << to_json(description);
  const auto again = run_program({"report", moved.string()}, world_.path());
  EXPECT_EQ(again.status, 0) << again.errors;
  EXPECT_THAT(read_file(moved / "report.html"), AllOf(HasSubstr("loss"), HasSubstr("nan")));
}

TEST_F(Report, SaysWhichSamplesWereLeftOut) {
  std::ofstream(world_.images() / "red" / "1001.png") << "damaged";
  const auto file = world_.write_pipeline(stages);
  const auto result = run_program(
      {"run", file.string(), "--set", "datasets.test.on_bad_sample=skip"}, world_.path());
  ASSERT_EQ(result.status, 0) << result.errors;
  EXPECT_THAT(result.errors, HasSubstr("leaves out 1 sample"));
  const std::string page = read_file(world_.path() / "runs/small/latest/report.html");
  EXPECT_THAT(page, HasSubstr("1 sample is left out, as it can't be read"));
  EXPECT_THAT(page, HasSubstr("red/1001.png"));
}

TEST_F(Report, SaysWhatFailed) {
  const auto file = world_.write_pipeline(
      "  bad: {uses: pixel_sum_0000, inputs: {data: test}, with: {fault: throw_error}}\n");
  const std::string fixtures = std::string(MICROTOME_FIXTURE_FOLDER) + "/well_behaved";
  EXPECT_EQ(
      run_program({"--plugin-path", fixtures, "run", file.string(), "-q"}, world_.path()).status,
      1);
  EXPECT_THAT(read_file(world_.path() / "runs/small/latest/report.html"),
              AllOf(HasSubstr("What failed"), HasSubstr("told to fail")));
}

}  // namespace
}  // namespace microtome::testing
