// What Python users are given, run as they would run it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "tests/support/program.h"
#include "tests/support/small_world.h"
#include "tests/support/temporary_folder.h"

namespace microtome::testing {
namespace {

/// A Python that has these modules; empty where there is none.
std::string python_with(const std::string& modules) {
  for (const char* python : {"python3", "/usr/bin/python3"}) {
    const std::string command =
        std::string(python) + " -c 'import " + modules + "' >/dev/null 2>&1";
    if (std::system(command.c_str()) == 0) return python;
  }
  return "";
}

int run_python(const std::string& python, const std::filesystem::path& folder,
               const std::string& code) {
  const auto file = folder / "script.py";
  std::ofstream(file) << "import sys\nsys.path.insert(0, '" << MICROTOME_SOURCE_FOLDER
                      << "/docs/python')\n"
                      << code;
  return std::system(("cd '" + folder.string() + "' && " + python + " script.py").c_str());
}

TEST(Python, ReadsARunsFolder) {
  const std::string python = python_with("numpy");
  if (python.empty()) GTEST_SKIP() << "needs Python with numpy";
  const SmallWorld world(6);
  const auto file = world.write_pipeline(
      "  ig:\n    uses: integrated_gradients\n    inputs: {model: net, data: test}\n    matrix: "
      "{steps: [4, 8]}\n"
      "  accuracy: {uses: evaluate, inputs: {model: net, data: test}}\n");
  ASSERT_EQ(run_program({"run", file.string(), "-q"}, world.path()).status, 0);
  EXPECT_EQ(run_python(python, world.path(), R"py(
import numpy
from microtome_run import Run
run = Run("runs/small/latest")
assert set(run.keys()) == {"ig[steps=4]", "ig[steps=8]", "accuracy"}
ig = run["ig[steps=8]"]
assert ig["attributions"].shape == (12, 3, 8, 8)
assert ig.ids[0] == "green/1000.png" and len(ig.ids) == 12, ig.ids
gap = ig["attributions"].reshape(12, -1).sum(1)
assert numpy.isfinite(gap).all()
assert run["accuracy"]["confusion"].sum() == 12
assert run["accuracy"].metrics["top1"]["n"] == 12
try:
    run["nothing"]
    raise SystemExit(1)
except KeyError as error:
    assert "accuracy" in str(error)
)py"),
            0);
}

TEST(Python, AnExportedModelIsTheSameHere) {
  const std::string python = python_with("numpy, torch");
  if (python.empty()) GTEST_SKIP() << "needs Python with numpy and torch";
  const TemporaryFolder folder;
  ASSERT_EQ(run_python(python, folder.path(), R"py(
import torch
from export_model import export_model
net = torch.nn.Sequential(
    torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(inplace=True), torch.nn.Flatten(),
    torch.nn.Linear(4 * 36, 5))
export_model(net, torch.rand(2, 3, 8, 8), "net", mean=[0.5] * 3, std=[0.2] * 3)
)py"),
            0);
  const std::string model = (folder.path() / "net.pt").string();
  const std::string example = (folder.path() / "net.example.safetensors").string();
  const auto same = run_program({"layers", model, "--example", example, "--verify"}, folder.path());
  EXPECT_EQ(same.status, 0) << same.errors;
  EXPECT_THAT(same.output, ::testing::HasSubstr("difference from the example"));
  // Another network's outputs are noticed.
  std::string bytes = read_file(example);
  bytes[bytes.size() - 1] = static_cast<char>(bytes[bytes.size() - 1] ^ 0x40);
  std::ofstream(example, std::ios::binary) << bytes;
  EXPECT_EQ(run_program({"layers", model, "--example", example, "--verify"}, folder.path()).status,
            1);
}

}  // namespace
}  // namespace microtome::testing
