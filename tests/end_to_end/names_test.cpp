// Names of modules, files and samples as people have them, from the folder to the report.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "microtome/hook_point.h"
#include "microtome/utf8.h"
#include "tests/host/model/scripted.h"
#include "tests/support/program.h"
#include "tests/support/small_world.h"
#include "tests/support/temporary_folder.h"

namespace microtome::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const std::vector<std::string> nasty_names = {"a b", "x[0]", "it's",    "c,d(e)",
                                              "f@2", "g:in", "h/add|i", "0"};

/// A network of a row of linear layers with these names.
torch::jit::Module network(const std::vector<std::string>& names) {
  std::vector<std::pair<std::string, torch::jit::Module>> parts;
  std::string source = "def forward(self, x):\n";
  for (const std::string& name : names) {
    parts.emplace_back(name, scripted("def forward(self, x):\n  return torch.mm(x, self.weight)\n",
                                      {}, {{"weight", at::randn({4, 4}) / 2}}));
    source += "  x = getattr(self, \"" + name + "\").forward(x)\n";
  }
  return scripted(source + "  return x\n", parts);
}

TEST(Names, ModulesOfAnyNameAreListedAndCaptured) {
  const TemporaryFolder folder;
  at::manual_seed(1);
  const torch::jit::Module net = network(nasty_names);
  const at::Tensor x = at::rand({5, 4});
  std::vector<at::Tensor> expected;
  at::Tensor value = x;
  for (const std::string& name : nasty_names) {
    value = at::mm(value, net.attr(name).toModule().attr("weight").toTensor());
    expected.push_back(value);
  }
  const host::ProgramModel model = model_of(net);
  std::vector<std::string> listed;
  for (const HookPointInfo& info : model.hook_points()) listed.push_back(info.name);
  Pass pass;
  for (const std::string& name : nasty_names) {
    HookPoint hook;
    hook.module = name;
    EXPECT_THAT(listed, ::testing::Contains(hook.text()));
    pass.capture.push_back(parse_hook_point(hook.text()));
  }
  const Recording recording = model.run(named_inputs(model, {x}), pass);
  for (std::size_t i = 0; i < nasty_names.size(); ++i)
    EXPECT_TRUE(recording.captured[i].equal(expected[i])) << nasty_names[i];
  // Without quotes, where the grammar gives the text no other meaning in this network.
  pass.capture = {parse_hook_point("f@2")};
  EXPECT_TRUE(model.run(named_inputs(model, {x}), pass).captured[0].equal(expected[4]));
}

TEST(Names, ModulesWithQuotesRunThroughAPipeline) {
  const TemporaryFolder folder;
  at::manual_seed(1);
  const std::vector<std::string> names = {"a b", "x[0]", "it's"};
  network(names).save((folder.path() / "net.pt").string());
  const auto layers = run_program({"layers", "net.pt", "--input", "x=1x4"}, folder.path());
  EXPECT_EQ(layers.status, 0) << layers.errors;
  EXPECT_THAT(layers.output,
              AllOf(HasSubstr("\n'a b' "), HasSubstr("\n'x[0]' "), HasSubstr("\n'it''s' ")));
  folder.write("x.npy", [] {
    std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (40, 4), }";
    header.resize(117, ' ');
    const at::Tensor x = at::rand({40, 4});
    return std::string("\x93NUMPY\x01\x00\x76\x00", 10) + header + "\n" +
           std::string(static_cast<const char*>(x.data_ptr()), 640);
  }());
  folder.write("y.npy", [] {
    std::string header = "{'descr': '<i8', 'fortran_order': False, 'shape': (40, 1), }";
    header.resize(117, ' ');
    const at::Tensor y = at::arange(40).remainder(2);
    return std::string("\x93NUMPY\x01\x00\x76\x00", 10) + header + "\n" +
           std::string(static_cast<const char*>(y.data_ptr()), 320);
  }());
  const auto file = folder.write("p.yaml", R"yaml(microtome: 1
name: names
models:
  net: {source: torchscript, path: net.pt, input: {size: [4]}}
datasets:
  d: {source: tensors, fields: {x: x.npy, label: y.npy}}
stages:
  acts:
    uses: activations
    inputs: {model: net, data: d}
    with: {layers: ["'a b'", "'x[0]'", "'it''s'", "'a b'[unit=1]"]}
  probe:
    uses: linear_probe
    inputs: {activations: acts, labels: d.label}
    matrix: {layer: ["'a b'", "'x[0]'"]}
    with: {folds: 2, inner_folds: 2, permutations: 0}
  along:
    uses: saliency
    inputs: {model: net, data: d}
    with: {target: "direction('x[0]', probe[layer='x[0]'].directions[0])"}
  unit:
    uses: saliency
    inputs: {model: net, data: d}
    with: {target: "unit('it''s'[unit=2])", at: "'a b':in"}
)yaml");
  const auto result = run_program({"run", file.string(), "-q"}, folder.path());
  ASSERT_EQ(result.status, 0) << result.errors;
  const fs::path run = folder.path() / "runs/names/latest";
  EXPECT_TRUE(fs::exists(run / "stages/acts/activations/%27x%5b0%5d%27.safetensors"));
  EXPECT_TRUE(fs::exists(run / "stages/probe/layer=%27x%5b0%5d%27"));
  EXPECT_THAT(read_file(run / "report.html"), HasSubstr("&#39;x[0]&#39;"));
}

TEST(Names, SamplesThatAreNotUtf8ReachTheReport) {
  const SmallWorld world(6);
  fs::rename(world.images() / "red", world.images() / "caf\xE9");
  const std::string odd = "<script>alert(1)<script>'\"\n\xFF.png";
  fs::rename(world.images() / "green/1001.png", world.images() / "green" / odd);
  std::ofstream(world.images() / "green/1002.png") << "damaged";
  const auto file = world.write_pipeline(
      "  accuracy: {uses: evaluate, inputs: {model: net, data: test}}\n"
      "  ig: {uses: saliency, inputs: {model: net, data: test}}\n");
  std::string text = read_file(file);
  text.replace(text.find("path: images}"), 13, "path: images, on_bad_sample: skip}");
  world.write_pipeline("");
  std::ofstream(file) << text;
  const auto result = run_program({"run", file.string(), "-q"}, world.path());
  ASSERT_EQ(result.status, 0) << result.errors;
  const fs::path run = world.path() / "runs/small/latest";
  const std::string page = read_file(run / "report.html");
  EXPECT_EQ(find_invalid_utf8(page), std::string::npos);
  EXPECT_THAT(page, AllOf(Not(HasSubstr("<script")), HasSubstr("caf\\xE9/1000.png"),
                          HasSubstr("\\n\\xFF.png")));
  for (const char* json : {"manifest.json", "stages/accuracy/metrics/artifact.json", "log.jsonl"})
    EXPECT_EQ(find_invalid_utf8(read_file(run / json)), std::string::npos) << json;
  EXPECT_THAT(read_file(run / "stages/accuracy/metrics/artifact.json"),
              HasSubstr("\"caf\\udce9\""));
  EXPECT_THAT(read_file(run / "manifest.json"), HasSubstr("green/1002.png"));
}

TEST(Files, WhatIsLeftOutIsSaidByCheckAndRun) {
  const SmallWorld world(6);
  std::ofstream(world.images() / "red/notes.txt") << "?";
  std::ofstream(world.images() / "red/.DS_Store") << "?";
  fs::create_directories(world.images() / "white");
  const auto file =
      world.write_pipeline("  accuracy: {uses: evaluate, inputs: {model: net, data: test}}\n");
  const auto check = run_program({"check", file.string()}, world.path());
  EXPECT_EQ(check.status, 0) << check.errors;
  const auto said =
      AllOf(HasSubstr("dataset test: 2 of 14 files are left out: 1 is not JPEG or PNG "
                      "(.txt), 1 is hidden (red/.DS_Store)"),
            HasSubstr("1 of 3 classes has no image and keeps its number (white)"));
  EXPECT_THAT(check.output, said);
  const auto run = run_program({"run", file.string()}, world.path());
  EXPECT_EQ(run.status, 0) << run.errors;
  EXPECT_THAT(run.errors, said);
  const fs::path folder = world.path() / "runs/small/latest";
  EXPECT_THAT(read_file(folder / "manifest.json"), HasSubstr("2 of 14 files are left out"));
  EXPECT_THAT(read_file(folder / "report.html"), HasSubstr("2 of 14 files are left out"));
}

TEST(Files, AGreyNetworkIsToldItsTransform) {
  const TemporaryFolder folder;
  at::manual_seed(1);
  scripted("def forward(self, x):\n  return torch.conv2d(x, self.weight).mean([2, 3])\n", {},
           {{"weight", at::randn({2, 1, 3, 3})}})
      .save((folder.path() / "net.pt").string());
  for (int i = 0; i < 4; ++i)
    write_png(folder.path() / "img" / std::to_string(i % 2) / (std::to_string(i) + ".png"),
              at::randint(0, 256, {3, 9, 8}).to(at::kByte));
  const auto pipeline = [&](const std::string& transform) {
    return folder
        .write("p.yaml",
               "microtome: 1\nname: grey\nmodels:\n  net: {source: torchscript, path: "
               "net.pt, input: {size: [1, 8, 8], mean: [0.5], std: [0.5]}}\ndatasets:\n"
               "  d: {source: image_folder, path: img" +
                   transform +
                   "}\nstages:\n"
                   "  a: {uses: evaluate, inputs: {model: net, data: d}}\n")
        .string();
  };
  const auto refused = run_program({"check", pipeline("")}, folder.path());
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.errors,
              HasSubstr("give the dataset transform: {channels: 1, resize: [8, 8]}"));
  const auto taken = run_program(
      {"run", pipeline(", transform: {channels: 1, resize: [8, 8]}"), "-q"}, folder.path());
  EXPECT_EQ(taken.status, 0) << taken.errors;
}

}  // namespace
}  // namespace microtome::testing
