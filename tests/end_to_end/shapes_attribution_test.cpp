// Methods of attribution where the answer is known, by the pipeline that users run.
#include <gtest/gtest.h>

#include "microtome/value.h"
#include "tests/support/program.h"
#include "tests/support/temporary_folder.h"

namespace microtome::testing {
namespace {

namespace fs = std::filesystem;

TEST(ShapesAttribution, MethodsFindTheObjectThatDecidesTheClass) {
  const TemporaryFolder folder;
  const auto run = run_program(
      {"run", std::string(MICROTOME_SOURCE_FOLDER) + "/pipelines/shapes-attribution.yaml", "-q"},
      folder.path());
  ASSERT_EQ(run.status, 0) << run.errors;
  const fs::path stages = folder.path() / "runs/shapes-attribution/latest/stages";
  // The network has learnt the texture, and the background does not matter to it.
  const auto accuracy = [&](const std::string& data) {
    const Value artifact =
        from_json(read_file(stages / "accuracy" / ("data=" + data) / "metrics/artifact.json"));
    return artifact.at("metrics").as_list().at(0).at("value").as_number();
  };
  EXPECT_GE(accuracy("images"), 0.8);
  EXPECT_NEAR(accuracy("images"), accuracy("other_background"), 0.05);
  const auto shift = [&](const std::string& changed, const std::string& name) {
    const Value artifact =
        from_json(read_file(stages / "shift" / ("changed=" + changed) / "metrics/artifact.json"));
    for (const Value& metric : artifact.at("metrics").as_list()) {
      if (metric.at("name").as_string() == name) return metric.at("interval");
    }
    throw Error("no metric " + name);
  };
  // The logit hardly moves with the background, and about as far with the texture as to other
  // images.
  EXPECT_LE(shift("other_background", "share_of_others").at("high").as_number(), 0.3);
  EXPECT_GE(shift("other_texture", "share_of_others").at("low").as_number(), 0.6);

  const Value artifact = from_json(read_file(stages / "localisation/metrics/artifact.json"));
  std::map<std::string, double> lowest;
  for (const Value& metric : artifact.at("metrics").as_list()) {
    if (metric.at("name").as_string() == "relevance_mass_less_random")
      lowest[metric.at("details").at("method").as_string()] =
          metric.at("interval").at("low").as_number();
  }
  ASSERT_EQ(lowest.size(), 10U);
  for (const char* method :
       {"integrated_gradients", "expected_gradients", "deep_lift", "occlusion", "shapley_sampling"})
    EXPECT_GT(lowest.at(method), 0) << method;
}

}  // namespace
}  // namespace microtome::testing
