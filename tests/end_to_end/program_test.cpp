// The real program, as a user runs it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include <map>
#include <set>
#include <thread>

#include "microtome/value.h"
#include "tests/support/program.h"
#include "tests/support/safetensors_reader.h"
#include "tests/support/small_world.h"

namespace microtome::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

const std::string fixtures = std::string(MICROTOME_FIXTURE_FOLDER) + "/well_behaved";

const char* const three_stages =
    "  acts:\n    uses: activations\n    inputs: {model: net, data: test}\n    with: {layers: "
    "[conv, act], positions: \"random:3\"}\n"
    "  accuracy: {uses: evaluate, inputs: {model: net, data: test}}\n"
    "  ig:\n    uses: integrated_gradients\n    inputs: {model: net, data: test}\n    matrix: "
    "{baseline: [zeros, noise]}\n    with: {steps: 8}\n";

/// Every file below a run's `stages`, by name.
std::map<std::string, std::string> results(const fs::path& folder,
                                           const std::string& name = "small") {
  std::map<std::string, std::string> files;
  const fs::path stages = folder / "runs" / name / "latest" / "stages";
  for (const auto& entry : fs::recursive_directory_iterator(stages)) {
    if (entry.is_regular_file())
      files[fs::relative(entry.path(), stages).generic_string()] = read_file(entry.path());
  }
  return files;
}

Value manifest(const fs::path& folder) {
  return from_json(read_file(folder / "runs" / "small" / "latest" / "manifest.json"));
}

TEST(Program, RunsAPipelineAndLeavesAReadableFolder) {
  const SmallWorld world(20);
  const auto file = world.write_pipeline(three_stages);
  const auto run = run_program({"run", file.string(), "--jobs", "2"}, world.path());
  ASSERT_EQ(run.status, 0) << run.errors;
  const auto said = manifest(world.path());
  EXPECT_EQ(said.at("status"), Value("done"));
  EXPECT_EQ(said.at("stages").as_map().size(), 4U);
  const fs::path stages = world.path() / "runs/small/latest/stages";
  const auto tensors =
      read_safetensors(stages / "ig/baseline=zeros/attributions/attributions.safetensors");
  EXPECT_EQ(tensors.at("attributions").sizes().vec(), (std::vector<std::int64_t>{40, 3, 8, 8}));
  const auto offsets =
      read_safetensors(stages / "accuracy/metrics/ids.offsets.safetensors").at("ids.offsets");
  EXPECT_EQ(offsets.numel(), 41);
  const std::string metrics = read_file(stages / "accuracy/metrics/artifact.json");
  EXPECT_THAT(metrics, AllOf(HasSubstr("\"top1\""), HasSubstr("Wilson")));
  EXPECT_THAT(read_file(world.path() / "runs/small/latest/log.jsonl"),
              HasSubstr("\"event\":\"finished\""));
}

TEST(Program, ResultsDoNotDependOnJobs) {
  const SmallWorld world(50);
  const auto file = world.write_pipeline(three_stages, "runtime: {chunk: 7}\n");
  std::map<std::string, std::string> first;
  for (const char* jobs : {"1", "2", "8"}) {
    const fs::path folder = world.path() / ("jobs" + std::string(jobs));
    const auto run = run_program({"run", file.string(), "--jobs", jobs, "-q"}, folder);
    ASSERT_EQ(run.status, 0) << run.errors;
    auto found = results(folder);
    EXPECT_GT(found.size(), 20U);
    if (first.empty()) first = found;
    EXPECT_TRUE(found == first) << jobs;
  }
}

TEST(Program, AStageAloneOrBesideOthersOrHalfCachedGivesTheSameBytes) {
  const SmallWorld world(30);
  const auto file = world.write_pipeline(three_stages);
  ASSERT_EQ(run_program({"run", file.string(), "-q"}, world.path() / "all").status, 0);
  const auto all = results(world.path() / "all");
  // One pass served them; what it is served by changes no stage's bytes.
  const Value passes = manifest(world.path() / "all").at("shared_passes");
  const Value::List forwards{Value("acts"), Value("accuracy")};
  EXPECT_TRUE(std::any_of(passes.as_list().begin(), passes.as_list().end(), [&](const Value& set) {
    return std::is_permutation(set.as_list().begin(), set.as_list().end(), forwards.begin(),
                               forwards.end());
  })) << to_json(passes);
  ASSERT_EQ(run_program({"run", file.string(), "-q", "--only", "ig[baseline=noise]"},
                        world.path() / "alone")
                .status,
            0);
  const auto alone = results(world.path() / "alone");
  EXPECT_EQ(alone.size(), 9U);
  for (const auto& [name, content] : alone) EXPECT_TRUE(all.at(name) == content) << name;
  ASSERT_EQ(run_program({"run", file.string(), "-q"}, world.path() / "alone").status, 0);
  EXPECT_TRUE(results(world.path() / "alone") == all);
  const auto said = manifest(world.path() / "alone");
  EXPECT_EQ(said.at("stages").at("ig[baseline=noise]").at("cached"), Value(true));
  EXPECT_EQ(said.at("stages").at("accuracy").at("cached"), Value(false));
}

TEST(Program, AModelThatNeedsMoreMemoryThanTheRunAllowsGoesInParts) {
  const SmallWorld world(300);
  const auto file = world.write_pipeline(three_stages);
  ASSERT_EQ(run_program({"run", file.string(), "-q"}, world.path() / "whole").status, 0);
  // A sample's values are some kilobytes: 1 MiB holds less than the 600 samples.
  const auto little = run_program(
      {"check", file.string(), "--set", "runtime.memory=1", "--set", "runtime.chunk=4096"},
      world.path());
  EXPECT_EQ(little.status, 0) << little.errors;
  EXPECT_THAT(little.output, HasSubstr("512 samples at a time, about 1 MiB for each of --jobs and "
                                       "1 MiB once"));
  // Nobody parts what integrated gradients run themselves, and the chunk was said.
  EXPECT_THAT(little.output,
              AllOf(HasSubstr("net, 600 samples at a time"),
                    HasSubstr("for each of --jobs (runtime: {memory: 1} allows less)")));
  ASSERT_EQ(run_program({"run", file.string(), "-q", "--set", "runtime.memory=1", "--set",
                         "runtime.chunk=4096"},
                        world.path() / "parts")
                .status,
            0);
  const fs::path acts = "runs/small/latest/stages/acts/activations";
  const auto whole = read_safetensors(world.path() / "whole" / acts / "conv.safetensors");
  const auto parts = read_safetensors(world.path() / "parts" / acts / "conv.safetensors");
  EXPECT_TRUE(at::allclose(whole.at("conv"), parts.at("conv"), 1e-5, 1e-6));
}

/// Whether this LibTorch has the convolution on the CPU.
bool has_convolution(at::ScalarType type) {
  try {
    const at::Tensor x = at::zeros({1, 1, 4, 4}, type);
    static_cast<void>(at::conv2d(x, at::zeros({1, 1, 3, 3}, type)));
    return true;
  } catch (const c10::Error&) {
    return false;
  }
}

TEST(Program, APrecisionThatTheModelCannotBeComputedInIsFoundByTheCheck) {
  const SmallWorld world(10);
  const auto file = world.write_pipeline(three_stages);
  for (const auto& [name, type] :
       std::map<std::string, at::ScalarType>{{"bfloat16", at::kBFloat16}, {"float16", at::kHalf}}) {
    const auto check =
        run_program({"check", file.string(), "--set", "runtime.precision=" + name}, world.path());
    if (has_convolution(type)) {
      EXPECT_EQ(check.status, 0) << check.errors;
      continue;
    }
    // By the two stages that tolerate it, not by the one with gradients.
    EXPECT_EQ(check.status, 2);
    EXPECT_THAT(check.errors, AllOf(HasSubstr("precision: " + name), HasSubstr("conv"),
                                    HasSubstr("float32"), HasSubstr("2 mistakes")));
  }
}

TEST(Program, TellsWhereTheTimeGoes) {
  const SmallWorld world(10);
  const auto file = world.write_pipeline(three_stages);
  const auto run = run_program({"run", file.string(), "--profile", "-q"}, world.path());
  ASSERT_EQ(run.status, 0) << run.errors;
  const fs::path folder = world.path() / "runs/small/latest";
  const Value trace = from_json(read_file(folder / "profile.json"));
  std::map<std::string, int> categories;
  bool conv_backward = false;
  for (const Value& event : trace.at("traceEvents").as_list()) {
    const std::string category = event.at("cat").as_string();
    ++categories[category];
    EXPECT_GE(event.at("dur").as_number(), 0);
    // The backward pass of an operator is known by its module.
    conv_backward =
        conv_backward || (category == "backward" && event.at("name") == Value("aten::conv2d") &&
                          event.at("args").at("module") == Value("conv"));
  }
  for (const char* category : {"stage", "chunk", "slice", "operator", "backward"})
    EXPECT_GT(categories[category], 0) << category;
  EXPECT_TRUE(conv_backward);
  EXPECT_THAT(read_file(folder / "profile.txt"),
              AllOf(HasSubstr("peak memory"), HasSubstr("aten::conv2d"), HasSubstr("backward s")));
}

TEST(Program, AFailedStageFailsAlone) {
  const SmallWorld world(4);
  const std::string stages =
      "  bad: {uses: pixel_sum_0000, inputs: {data: test}, with: {fault: throw_error}}\n"
      "  after: {uses: pixel_sum_0000, inputs: {data: test, after: bad}}\n"
      "  number: {uses: pixel_sum_0000, inputs: {data: test}, with: {fault: throw_number}}\n"
      "  nan: {uses: pixel_sum_0000, inputs: {data: test}, with: {fault: nan}}\n"
      "  random: {uses: pixel_sum_0000, inputs: {data: test}, with: {fault: "
      "random_without_saying}}\n"
      "  rows: {uses: pixel_sum_0000, inputs: {data: test}, with: {fault: wrong_rows}}\n"
      "  good: {uses: pixel_sum_0000, inputs: {data: test}}\n";
  const auto run = run_program({"--plugin-path", fixtures, "run",
                                world.write_pipeline(stages, "runtime: {chunk: 8}\n").string()},
                               world.path());
  EXPECT_EQ(run.status, 1) << run.errors;
  const Value said = manifest(world.path()).at("stages");
  EXPECT_EQ(said.at("good").at("status"), Value("done"));
  EXPECT_EQ(said.at("after").at("status"), Value("not run"));
  EXPECT_THAT(said.at("bad").at("error").as_string(),
              AllOf(HasSubstr("samples 0 to 7"), HasSubstr("told to fail")));
  EXPECT_EQ(said.at("number").at("status"), Value("failed"));
  EXPECT_THAT(said.at("nan").at("error").as_string(), HasSubstr("holds NaN"));
  EXPECT_THAT(said.at("random").at("error").as_string(),
              HasSubstr("does not say that it is random"));
  EXPECT_THAT(said.at("rows").at("error").as_string(), HasSubstr("rows for 8 samples"));
}

TEST(Program, AnOutputIsWhatWasPlanned) {
  const SmallWorld world(8);
  const std::map<std::string, std::string> faults = {
      {"another_type",
       "\"sum\" of the output \"sums\" is planned as Float and was written as Double"},
      {"another_shape",
       "\"sum\" of the output \"sums\" is planned as any and was written as 16 x 2"},
      {"nothing_written", "\"sum\" of the output \"sums\" is planned and was not written"},
      {"half_of_the_chunks", "has rows of 8 samples, and the dataset has 16"}};
  std::string stages;
  for (const auto& [fault, words] : faults)
    stages += "  " + fault +
              ": {uses: pixel_sum_0000, inputs: {data: test}, with: {fault: " + fault + "}}\n";
  const auto run = run_program({"--plugin-path", fixtures, "run",
                                world.write_pipeline(stages, "runtime: {chunk: 4}\n").string()},
                               world.path());
  EXPECT_EQ(run.status, 1) << run.errors;
  const Value said = manifest(world.path()).at("stages");
  for (const auto& [fault, words] : faults)
    EXPECT_THAT(said.at(fault).at("error").as_string(),
                AllOf(HasSubstr("the plugin \"well-behaved\" is wrong"), HasSubstr(words)));
}

TEST(Program, APlanIsWhatItsTypeDeclares) {
  const SmallWorld world(2);
  const std::map<std::string, std::string> faults = {
      {"another_kind",
       "plans the output \"sums\" as activations, and its type declares it as metrics"},
      {"another_port", "plans the output \"totals\", which its type does not declare"},
      {"absent_input",
       "plans to read \"images\", which its type does not declare as an input of a dataset"}};
  for (const auto& [fault, words] : faults) {
    const auto check = run_program(
        {"--plugin-path", fixtures, "check",
         world
             .write_pipeline("  a: {uses: pixel_sum_0000, inputs: {data: test}, with: {fault: " +
                             fault + "}}\n")
             .string()},
        world.path());
    EXPECT_EQ(check.status, 2) << fault;
    EXPECT_THAT(check.errors,
                AllOf(HasSubstr("pipeline.yaml:"),
                      HasSubstr("the plugin \"well-behaved\" is wrong"), HasSubstr(words)));
  }
}

TEST(Program, WhoWritesInPlaceFailsAlone) {
  const SmallWorld world(8);
  const auto sums = [&](const std::string& stage) {
    return read_file(world.path() / "runs/small/latest/stages" / stage / "sums/sum.safetensors");
  };
  const std::string stage = ": {uses: pixel_sum_0000, inputs: {data: test}";
  const auto alone = run_program(
      {"--plugin-path", fixtures, "run", world.write_pipeline("  alone" + stage + "}\n").string()},
      world.path());
  ASSERT_EQ(alone.status, 0) << alone.errors;
  const std::string expected = sums("alone");
  // Of three in one pass; parameters that differ keep them apart in the store.
  const auto run =
      run_program({"--plugin-path", fixtures, "run", "--fresh",
                   world
                       .write_pipeline("  first" + stage + ", with: {seconds: 0.001}}\n  bad" +
                                           stage + ", with: {fault: in_place}}\n  last" + stage +
                                           ", with: {seconds: 0.002}}\n",
                                       "runtime: {chunk: 4}\n")
                       .string()},
                  world.path());
  EXPECT_EQ(run.status, 1) << run.errors;
  const Value said = manifest(world.path()).at("stages");
  EXPECT_THAT(said.at("bad").at("error").as_string(),
              AllOf(HasSubstr("samples 0 to 3"), HasSubstr("the plugin \"well-behaved\" is wrong"),
                    HasSubstr("writes in place")));
  for (const char* name : {"first", "last"}) {
    EXPECT_EQ(said.at(name).at("status"), Value("done")) << name;
    EXPECT_EQ(sums(name), expected) << name;
  }
}

TEST(Program, AStageTakesAWholeMatrix) {
  const SmallWorld world(4);
  const auto file = world.write_pipeline(
      "  each: {uses: pixel_sum_0000, inputs: {data: test}, matrix: {seconds: [0, 0.01]}}\n"
      "  all: {uses: pixel_sum_0000, inputs: {data: test, members: each}}\n");
  const auto run =
      run_program({"--plugin-path", fixtures, "run", file.string(), "-q"}, world.path());
  ASSERT_EQ(run.status, 0) << run.errors;
  const Value artifact =
      from_json(read_file(world.path() / "runs/small/latest/stages/all/sums/artifact.json"));
  EXPECT_EQ(artifact.at("metadata").at("members").at("seconds=0"), Value(8));
  EXPECT_EQ(artifact.at("metadata").at("members").at("seconds=0.01"), Value(8));
}

TEST(Program, AKilledRunGoesOnAndGivesTheSameBytes) {
  const SmallWorld world(40);
  std::string stages;
  for (const char* name : {"a", "b", "c", "d"}) {
    stages += "  " + std::string(name) +
              ": {uses: pixel_sum_0000, inputs: {data: test}, with: {seconds: 0.05, fault: " +
              (name[0] == 'a' ? "none" : "slow") + "}}\n";
  }
  stages += three_stages;
  const auto file = world.write_pipeline(stages, "runtime: {chunk: 8}\n");
  const std::vector<std::string> command = {"--plugin-path", fixtures, "run",
                                            file.string(),   "--jobs", "2"};
  ASSERT_EQ(run_program(command, world.path() / "whole").status, 0);
  const auto whole = results(world.path() / "whole");
  // 20 moments or more, most of them after a stage has begun; each is followed by the same command.
  // How fast this machine is shows as it goes: a run that ended before its signal makes the window
  // shorter.
  constexpr int anywhere = 5, wanted_inside = 10;
  int inside = 0;
  double window = 0.9;
  at::Generator generator = at::detail::createCPUGenerator(11);
  for (int moment = 0; moment < 20 || (inside < wanted_inside && moment < 60); ++moment) {
    const fs::path folder = world.path() / ("killed" + std::to_string(moment));
    const double part = at::rand({}, generator).item<double>();
    const auto killed = moment < anywhere
                            ? run_and_signal(command, folder, "", 0.4 * part, 9)
                            : run_and_signal(command, folder, "started", window * part, 9);
    if (killed.status != -9) {
      window *= 0.8;
    } else if (killed.errors.find("started") != std::string::npos) {
      ++inside;
    }
    const auto again = run_program(command, folder);
    ASSERT_EQ(again.status, 0) << again.errors;
    EXPECT_TRUE(results(folder) == whole) << "moment " << moment;
  }
  EXPECT_GE(inside, wanted_inside) << "too few were killed inside of a stage";
}

TEST(Program, InterruptWritesTheManifestAndLeaves) {
  const SmallWorld world(40);
  const auto file = world.write_pipeline(
      "  slow: {uses: pixel_sum_0000, inputs: {data: test}, with: {seconds: 2}}\n",
      "runtime: {chunk: 2}\n");
  const auto run = run_and_signal({"--plugin-path", fixtures, "run", file.string(), "--jobs", "1"},
                                  world.path(), "started", 0.3, 2);
  EXPECT_EQ(run.status, 130) << run.errors;
  EXPECT_EQ(manifest(world.path()).at("status"), Value("interrupted"));
  // A chunk that takes longer than the 1.5 s is left where it is.
  EXPECT_THAT(manifest(world.path()).at("stages").at("slow").at("status").as_string(),
              ::testing::AnyOf("running", "cancelled"));
  EXPECT_THAT(run.errors, HasSubstr("run the same command again"));
}

TEST(Program, SkippedSamplesAreInTheManifest) {
  const SmallWorld world(3);
  std::ofstream(world.images() / "red" / "1001.png") << "damaged";
  const auto file =
      world.write_pipeline("  accuracy: {uses: evaluate, inputs: {model: net, data: test}}\n");
  const auto strict = run_program({"run", file.string()}, world.path() / "strict");
  EXPECT_EQ(strict.status, 1);
  EXPECT_THAT(strict.errors, HasSubstr("1001.png"));
  const auto lenient =
      run_program({"run", file.string(), "--set", "datasets.test.on_bad_sample=skip"},
                  world.path() / "lenient");
  EXPECT_EQ(lenient.status, 0) << lenient.errors;
  EXPECT_EQ(manifest(world.path() / "lenient")
                .at("stages")
                .at("accuracy")
                .at("skipped_samples")
                .as_map()
                .at(0)
                .key,
            "red/1001.png");
}

TEST(Program, ADamagedStoreIsComputedAgain) {
  const SmallWorld world(4);
  const auto file =
      world.write_pipeline("  accuracy: {uses: evaluate, inputs: {model: net, data: test}}\n");
  ASSERT_EQ(run_program({"run", file.string()}, world.path()).status, 0);
  const auto before = results(world.path());
  for (const auto& entry : fs::recursive_directory_iterator(world.path() / "cache")) {
    if (entry.path().filename() == "predicted.safetensors") {
      fs::permissions(entry.path(), fs::perms::owner_write, fs::perm_options::add);
      std::ofstream(entry.path(), std::ios::app) << "x";
    }
  }
  const auto again = run_program({"run", file.string()}, world.path());
  ASSERT_EQ(again.status, 0) << again.errors;
  EXPECT_EQ(manifest(world.path()).at("stages").at("accuracy").at("cached"), Value(false));
  EXPECT_TRUE(results(world.path()) == before);
}

TEST(Program, ExitStatusesAndMessages) {
  const SmallWorld world(2);
  const auto file = world.write_pipeline(
      "  accuracy: {uses: evaluate, inputs: {model: net, data: test}, with: {lable: x}}\n");
  const auto wrong = run_program({"run", file.string()}, world.path());
  EXPECT_EQ(wrong.status, 2);
  EXPECT_THAT(wrong.errors,
              AllOf(HasSubstr("pipeline.yaml:"),
                    HasSubstr(": error: unknown parameter \"lable\"; did you mean \"label\"?")));
  EXPECT_FALSE(fs::exists(world.path() / "runs"));
  EXPECT_EQ(run_program({"run"}, world.path()).status, 2);
  EXPECT_EQ(run_program({"run", "absent.yaml"}, world.path()).status, 2);
  EXPECT_EQ(run_program({"frobnicate"}, world.path()).status, 2);
  const auto refused = run_program(
      {"--plugin-path", std::string(MICROTOME_FIXTURE_FOLDER) + "/newer_major", "check",
       world.write_pipeline("  a: {uses: pixel_sum_0000, inputs: {data: test}}\n").string()},
      world.path());
  EXPECT_EQ(refused.status, 3) << refused.errors;
  EXPECT_THAT(refused.errors, HasSubstr("built with SDK 1."));
  EXPECT_EQ(run_program({"--help"}, world.path()).status, 0);
}

TEST(Program, CheckPluginsSchemaLayersAndDoctor) {
  const SmallWorld world(2);
  const auto check =
      run_program({"check", world.write_pipeline(three_stages).string()}, world.path());
  EXPECT_EQ(check.status, 0) << check.errors;
  EXPECT_THAT(check.output,
              AllOf(HasSubstr("ig[baseline=noise] (integrated_gradients), gradients, random"),
                    HasSubstr("attributions  Float  N x 3 x 8 x 8")));
  const auto plugin = run_program({"plugins", "integrated_gradients"}, world.path());
  EXPECT_THAT(plugin.output,
              AllOf(HasSubstr("1703.01365"),
                    HasSubstr("steps  integer or auto, default 32, from 1 to 65536")));
  const auto schema = run_program({"schema"}, world.path());
  std::set<std::string> uses;
  const Value read = from_json(schema.output);
  const Value& stages = read.at("properties").at("stages").at("additionalProperties");
  for (const Value& stage : stages.at("anyOf").as_list())
    uses.insert(stage.at("properties").at("uses").at("const").as_string());
  // All stage types but the source of samples, which is none.
  EXPECT_THAT(uses, AllOf(::testing::IsSupersetOf({"ablate", "activations", "evaluate",
                                                   "integrated_gradients", "lime", "pca"}),
                          ::testing::Not(::testing::Contains("shapes"))));
  const auto layers = run_program(
      {"layers", world.model().string(), "--input", "x=1x3x8x8", "--verify"}, world.path());
  EXPECT_EQ(layers.status, 0) << layers.errors;
  EXPECT_THAT(layers.output, AllOf(HasSubstr("conv/conv2d"), HasSubstr("N x 4 x 8 x 8"),
                                   HasSubstr("verify: largest difference")));
  const auto doctor = run_program({"doctor"}, world.path());
  EXPECT_EQ(doctor.status, 0) << doctor.output;
  EXPECT_THAT(doctor.output, AllOf(HasSubstr("openblas-openmp"), HasSubstr("all well")));
}

}  // namespace
}  // namespace microtome::testing
