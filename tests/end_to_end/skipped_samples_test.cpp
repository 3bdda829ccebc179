// Every stage over a folder with damaged images: the same bytes as without them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "microtome/value.h"
#include "tests/support/program.h"
#include "tests/support/small_world.h"

namespace microtome::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

/// Stages that read the model over the images themselves, with what they need.
const std::vector<std::pair<std::string, std::string>>& stages_over_images() {
  static const std::vector<std::pair<std::string, std::string>> stages = {
      {"activations", "layers: [act], pool: mean"},
      {"evaluate", ""},
      {"ablate", "at: [conv], each: c, with: mean"},
      {"top_activations", "layer: act, units: [0, 1], count: 2, crop_size: 8"},
      {"activation_maximization", "targets: [\"unit(conv[c=1])\"], images: 1, steps: 2"},
      {"saliency", ""},
      {"input_x_gradient", ""},
      {"guided_backprop", ""},
      {"deconvolution", ""},
      {"grad_cam", "at: act"},
      {"grad_cam_plus_plus", "at: act"},
      {"score_cam", "at: act"},
      {"guided_grad_cam", "layer: act"},
      {"smooth_grad", "method: {uses: saliency}, draws: 2"},
      {"integrated_gradients", "steps: 4, baseline: [mean_image, noise]"},
      {"expected_gradients", "draws: 3, background: 3"},
      {"gradient_shap", "draws: 3, background: 3"},
      {"deep_lift", "baseline: mean_colour"},
      {"deep_lift_shap", "background: 3"},
      {"lrp", ""},
      {"path_integrated_gradients", "steps: 4"},
      {"integrated_hessians", "steps: 3, features: \"grid:4\""},
      {"internal_influence", "at: act, steps: 4"},
      {"conductance", "at: act, steps: 4"},
      {"neuron_conductance", "neuron: \"act[c=1]\", steps: 4"},
      {"occlusion", "window: 4, stride: 4"},
      {"feature_ablation", "features: \"grid:4\""},
      {"shapley_sampling", "features: \"grid:4\", orders: 2"},
      {"kernel_shap", "features: \"grid:4\", coalitions: 16"},
      {"lime", "features: \"grid:4\", coalitions: 16"},
      {"rise", "masks: 8"},
      {"extremal_perturbation", "areas: [0.2], steps: 3"},
      {"max_sensitivity", "method: {uses: saliency}, draws: 2"},
      {"parameter_randomisation", "method: {uses: saliency}, seeds: 1, depths: 1"},
  };
  return stages;
}

std::string all_stages() {
  std::string text;
  for (const auto& [type, with] : stages_over_images())
    text += "  " + type + ": {uses: " + type + ", inputs: {model: net, data: test}, with: {" +
            with + "}}\n";
  return text +
         "  places: {uses: activations, inputs: {model: net, data: test}, with: {layers: [act], "
         "positions: \"random:3\"}}\n"
         "  donated: {uses: ablate, inputs: {model: net, data: test}, with: {at: [conv], with: "
         "resample}}\n"
         "  shift: {uses: score_shift, inputs: {model: net, data: test, changed: test}}\n"
         "  trained: {uses: train_classifier, inputs: {data: test, held_out: test}, with: {epochs: "
         "1, batch: 4, layers: [conv channels=4, relu]}}\n"
         "  probe: {uses: linear_probe, inputs: {activations: activations, labels: test.label}, "
         "with: {folds: 2, inner_folds: 2, permutations: 1}}\n"
         "  pca: {uses: pca, inputs: {activations: activations, labels: test.label}, with: "
         "{components: 2}}\n"
         "  insertion: {uses: insertion_deletion, inputs: {model: net, data: test, attributions: "
         "[saliency, lrp]}, with: {steps: 4, random_orders: 2}}\n"
         "  infidelity: {uses: infidelity, inputs: {model: net, data: test, attributions: "
         "[saliency, lrp]}, with: {draws: 4, side: 2}}\n"
         "  agreement: {uses: agreement, inputs: {attributions: [saliency, lrp]}}\n"
         "  complexity: {uses: complexity, inputs: {attributions: [saliency, lrp]}}\n"
         "  maps: {uses: side_by_side, inputs: {data: test, attributions: [saliency, lrp]}}\n";
}

/// Every file below a run's `stages`, by name.
std::map<std::string, std::string> results(const fs::path& folder) {
  std::map<std::string, std::string> files;
  const fs::path stages = folder / "runs" / "small" / "latest" / "stages";
  for (const auto& entry : fs::recursive_directory_iterator(stages)) {
    if (entry.is_regular_file())
      files[fs::relative(entry.path(), stages).generic_string()] = read_file(entry.path());
  }
  return files;
}

class SkippedSamplesOfStages : public ::testing::TestWithParam<int> {};

TEST_P(SkippedSamplesOfStages, ChangeNothingAndAreInTheManifest) {
  const SmallWorld world(4);
  const std::string chunk = "runtime.chunk=" + std::to_string(GetParam());
  const auto file = world.write_pipeline(all_stages());
  const std::vector<std::string> arguments{
      "run", file.string(), "-q", "--set", "datasets.test.on_bad_sample=skip", "--set", chunk};
  const auto without = run_program(arguments, world.path() / "without");
  ASSERT_EQ(without.status, 0) << without.errors;
  // At the beginning, a whole chunk of three or fewer in the middle, and at the end.
  const std::vector<std::string> damaged{"green/0999.png",  "green/1001a.png", "green/1001b.png",
                                         "green/1001c.png", "green/1001d.png", "red/9999.png"};
  const std::string whole = read_file(world.images() / "red" / "1000.png");
  for (const std::string& name : damaged)
    std::ofstream(world.images() / name, std::ios::binary) << whole.substr(0, whole.size() / 2);
  const auto with = run_program(arguments, world.path() / "with");
  ASSERT_EQ(with.status, 0) << with.errors;

  const auto expected = results(world.path() / "without"), found = results(world.path() / "with");
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [name, content] : expected) {
    ASSERT_TRUE(found.contains(name)) << name;
    EXPECT_TRUE(found.at(name) == content) << name << " differs";
  }
  const Value manifest =
      from_json(read_file(world.path() / "with/runs/small/latest/manifest.json"));
  for (const auto& stage : manifest.at("stages").as_map()) {
    const Value* skipped = stage.value.find("skipped_samples");
    ASSERT_NE(skipped, nullptr) << stage.key;
    ASSERT_EQ(skipped->as_map().size(), damaged.size()) << stage.key;
    for (std::size_t i = 0; i < damaged.size(); ++i)
      EXPECT_EQ(skipped->as_map()[i].key, damaged[i]) << stage.key;
  }
}

INSTANTIATE_TEST_SUITE_P(OfChunks, SkippedSamplesOfStages, ::testing::Values(1, 3, 8));

TEST(SkippedSamplesOfPairs, LeaveOutThePair) {
  const SmallWorld world(4);
  const auto file = world.write_pipeline(
      "  shift: {uses: score_shift, inputs: {model: net, data: test, changed: other}}\n", "");
  std::string text = read_file(file);
  text.replace(text.find("stages:"), 7,
               "  other: {source: image_folder, path: images, on_bad_sample: skip, shuffle: 3, "
               "transform: {resize: [8, 8]}}\nstages:");
  std::ofstream(file) << text;
  fs::copy(world.images(), world.path() / "copies", fs::copy_options::recursive);
  std::ofstream(world.path() / "copies" / "red" / "1001.png") << "damaged";
  const auto run = run_program({"run", file.string(), "-q", "--set", "datasets.other.path=copies"},
                               world.path());
  ASSERT_EQ(run.status, 0) << run.errors;
  const fs::path shift = world.path() / "runs/small/latest/stages/shift/metrics";
  const Value metrics = from_json(read_file(shift / "artifact.json")).at("metrics");
  // The same images in another order, one of them missing: no score moves, and seven are counted.
  EXPECT_EQ(metrics.as_list().at(0).at("value").as_number(), 0);
  EXPECT_EQ(metrics.as_list().at(0).at("n").as_integer(), 7);
}

TEST(SkippedSamplesOfAll, AreAnErrorBeforeAnythingRuns) {
  const SmallWorld world(2);
  for (const auto& entry : fs::recursive_directory_iterator(world.images())) {
    if (entry.is_regular_file()) std::ofstream(entry.path()) << "damaged";
  }
  const auto file =
      world.write_pipeline("  accuracy: {uses: evaluate, inputs: {model: net, data: test}}\n");
  const auto run = run_program({"run", file.string(), "--set", "datasets.test.on_bad_sample=skip"},
                               world.path());
  EXPECT_EQ(run.status, 2);
  EXPECT_THAT(run.errors, HasSubstr("none of the 4 images"));
}

}  // namespace
}  // namespace microtome::testing
