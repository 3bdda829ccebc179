// What Python users are given, run as they would run it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>

#include "host/store/safetensors.h"
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

TEST(Python, ReadsEveryTypeThatIsWritten) {
  const std::string python = python_with("numpy");
  if (python.empty()) GTEST_SKIP() << "needs Python with numpy";
  const TemporaryFolder folder;
  // Halves are exact in every floating type; 1.00390625 is so in bfloat16 only when rounded.
  const at::Tensor values = at::tensor({-3.5, 0.0, 1.0, 127.0});
  const at::Tensor odd = at::tensor({1.00390625F, 3.0e38F, -INFINITY, 1e-40F});
  const auto write = [&](const std::string& name, const at::Tensor& value) {
    host::TensorFileWriter writer(folder.path() / (name + ".safetensors"), name);
    writer.write_whole(value);
    writer.finish();
  };
  for (const auto& [name, type] : {std::pair{"float64", at::kDouble},
                                   {"float32", at::kFloat},
                                   {"float16", at::kHalf},
                                   {"bfloat16", at::kBFloat16},
                                   {"int64", at::kLong},
                                   {"int32", at::kInt},
                                   {"int16", at::kShort},
                                   {"int8", at::kChar},
                                   {"bool", at::kBool}})
    write(name, values.to(type).view({2, 2}));
  write("uint8", values.abs().to(at::kByte).view({2, 2}));
  write("odd", odd.to(at::kBFloat16));
  write("odd_expected", odd.to(at::kBFloat16).to(at::kFloat));
  write("empty", at::empty({0, 3}, at::kBFloat16));
  write("scalar", at::scalar_tensor(2.5, at::kBFloat16));
  EXPECT_EQ(run_python(python, folder.path(), R"py(
import numpy
from microtome_run import read_safetensors
read = lambda name: read_safetensors(name + ".safetensors")[name]
expected = numpy.array([[-3.5, 0.0], [1.0, 127.0]])
for name in ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "bool"]:
    array = read(name)
    assert array.dtype == numpy.dtype(name), (name, array.dtype)
    assert (array == expected.astype(name)).all(), (name, array)
assert (read("uint8") == numpy.abs(expected).astype("uint8")).all()
assert read("bfloat16").dtype == numpy.float32 and (read("bfloat16") == expected).all()
assert (read("odd").view("u4") == read("odd_expected").view("u4")).all(), read("odd")
assert read("empty").shape == (0, 3)
assert read("scalar").shape == () and read("scalar") == 2.5
)py"),
            0);
}

TEST(Python, IdsThatAreNotUtf8NameTheirFiles) {
  const std::string python = python_with("numpy");
  if (python.empty()) GTEST_SKIP() << "needs Python with numpy";
  const SmallWorld world(6);
  std::filesystem::rename(world.images() / "red", world.images() / "caf\xE9");
  std::filesystem::rename(world.images() / "green/1001.png",
                          world.images() / "green/\xFF'\"\n<b>.png");
  const auto file = world.write_pipeline(
      "  ig: {uses: saliency, inputs: {model: net, data: test}}\n"
      "  accuracy: {uses: evaluate, inputs: {model: net, data: test}}\n");
  ASSERT_EQ(run_program({"run", file.string(), "-q"}, world.path()).status, 0);
  EXPECT_EQ(run_python(python, world.path(), R"py(
import os
from microtome_run import Run
run = Run("runs/small/latest")
ids = run["ig"].ids
assert len(set(ids)) == 12
for id in ids:
    assert os.path.isfile(os.path.join("images", id)), ascii(id)
assert os.fsdecode(b"caf\xe9/1000.png") in ids, ascii(ids)
text = (run.folder / "stages/accuracy/metrics/artifact.json").read_text()
import json
rows = json.loads(text)["views"][0]["options"]["rows"]
assert [row[1] for row in rows] == [os.fsdecode(b"caf\xe9"), "green"], ascii(rows)
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

/// What the exporter's tests need; skips by name where it is absent.
class Exporter : public ::testing::Test {
 protected:
  void SetUp() override {
    python_ = python_with("numpy, torch");
    if (python_.empty()) GTEST_SKIP() << "needs Python with numpy and torch";
  }
  bool runs(const std::string& code) const {
    return run_python(python_, folder_.path(), "import torch\nfrom torch import nn\n" + code) == 0;
  }
  ProgramResult program(const std::vector<std::string>& arguments) const {
    return run_program(arguments, folder_.path());
  }
  std::string text(const char* file) const { return read_file(folder_.path() / file); }

  TemporaryFolder folder_;
  std::string python_;
};

TEST_F(Exporter, ATransformerKeepsItsModulesAndItsGradients) {
  ASSERT_TRUE(runs(R"py(
import numpy
from export_model import export_model
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder, self.f = nn.TransformerEncoder(layer, 1), nn.Linear(8, 3)
    def forward(self, x):
        return self.f(self.encoder(x).mean(1))
torch.manual_seed(0)
net = Net()
net.f.requires_grad_(False)
before = [value.requires_grad for value in net.parameters()]
# Parameters that want no gradient would let PyTorch fuse the layer, as no_grad does.
with torch.no_grad():
    report = export_model(net, torch.rand(2, 5, 8), "net")
assert report.lost == ["encoder.layers.0.self_attn.out_proj"] and report.batches == [2, 3], report
assert report.outputs < 1e-5 and report.gradients < 1e-5, report
assert net.training and net.encoder.training and "forward" not in vars(net)
assert [value.requires_grad for value in net.parameters()] == before
net.eval()
x = torch.randn(4, 5, 8).requires_grad_()
numpy.save("x.npy", x.detach().numpy())
net(x)[:, 1].sum().backward()
numpy.save("expected.npy", x.grad.numpy())
)py"));
  const auto layers =
      program({"layers", "net.pt", "--example", "net.example.safetensors", "--verify"});
  ASSERT_EQ(layers.status, 0) << layers.errors;
  EXPECT_THAT(layers.output, ::testing::HasSubstr("\nencoder.layers.0.self_attn "));
  EXPECT_THAT(layers.output, ::testing::HasSubstr("\nencoder.layers.0.linear1 "));
  std::ofstream(folder_.path() / "p.yaml")
      << "microtome: 1\nname: p\n"
      << text("net.yaml")
      << "datasets: {d: {source: tensors, fields: {x: x.npy}}}\nstages:\n  gradient:\n    uses: "
         "saliency\n    inputs: {model: net, data: d}\n    with: {target: class(1), absolute: "
         "false}\n";
  const auto run = program({"run", "p.yaml", "-q"});
  ASSERT_EQ(run.status, 0) << run.errors;
  EXPECT_TRUE(runs(R"py(
import numpy
from microtome_run import Run
found, expected = Run("runs/p/latest")["gradient"]["attributions"], numpy.load("expected.npy")
assert abs(found - expected).max() < 1e-4 * abs(expected).max(), abs(found - expected).max()
)py"));
}

TEST_F(Exporter, TakesArgumentsByNameAndGivesEveryTensorThatComesOut) {
  ASSERT_TRUE(runs(R"py(
import collections
from export_model import export_model
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.f = nn.Embedding(20, 4), nn.Linear(4, 3)
    def forward(self, tokens, image=None, mask=None, *, doubled=False):
        h = self.e(tokens) * mask.unsqueeze(-1)
        if image is not None:
            h = h + image.mean((1, 2, 3)).view(-1, 1, 1)
        logits = self.f(h.mean(1)) * (2 if doubled else 1)
        return collections.OrderedDict(loss=None, logits=logits, hidden=(h, [h + 1]), steps=3)
net = Net()
example = {"mask": torch.rand(2, 6) < 0.5, "tokens": torch.randint(0, 20, (2, 6)), "doubled": True}
report = export_model(net, example, "text")
assert report.notes == ["outputs that are not tensors are left out: steps (int)", "constant in the file: doubled=True"], report
given = torch.jit.load("text.pt")(tokens=example["tokens"], mask=example["mask"])
assert list(given) == ["logits", "hidden.0", "hidden.1.0"], list(given)
assert torch.equal(given["logits"], net.eval()(**example)["logits"])
example["image"] = torch.rand(2, 3, 4, 4)
export_model(net, example, "both.net", mean=[0.5] * 3, std=[0.25] * 3)
)py"));
  EXPECT_EQ(
      text("text.yaml"),
      "models:\n  text:\n    source: torchscript\n    path: text.pt\n    inputs:\n      tokens: "
      "{size: [6], type: int64}\n      mask: {size: [6], type: bool}\n");
  EXPECT_THAT(
      text("both.net.yaml"),
      ::testing::HasSubstr("      image: {size: [3, 4, 4], mean: [0.5, 0.5, 0.5], std: [0.25, "
                           "0.25, 0.25]}\n"));
  EXPECT_EQ(
      program({"layers", "text.pt", "--example", "text.example.safetensors", "--verify"}).status,
      0);
}

TEST_F(Exporter, KeepsDoubleAndBfloat16AndNamesTheTypeInTheDeclaration) {
  ASSERT_TRUE(runs(R"py(
from export_model import export_model
net = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2))
for kind in (torch.float64, torch.bfloat16):
    report = export_model(net.to(kind), torch.rand(2, 6).to(kind), str(kind).split(".")[1])
    assert report.batches == [2, 3], report
)py"));
  EXPECT_THAT(text("float64.yaml"), ::testing::HasSubstr("input: {size: [6], type: float64}"));
  EXPECT_THAT(text("bfloat16.yaml"), ::testing::HasSubstr("input: {size: [6], type: bfloat16}"));
}

TEST_F(Exporter, AFileThatIsNotTheNetworkIsRefusedWithTheReason) {
  EXPECT_TRUE(runs(R"py(
import pathlib
from typing import Optional
from export_model import export_model

def refused(net, example, *words, **more):
    try:
        export_model(net, example, "wrong", **more)
    except ValueError as error:
        assert all(word in str(error) for word in words), error
        assert not list(pathlib.Path(".").glob("wrong*")), "files were left"
        return
    raise SystemExit(f"{net} was not refused")

class OneBatch(nn.Module):
    def forward(self, x):
        return x + torch.zeros(len(x), 1)
refused(OneBatch(), torch.rand(2, 4), "on 3 samples", "take them from x.shape")
export_model(OneBatch(), torch.rand(2, 4), "scripted", form="script")

class Branch(nn.Module):
    def forward(self, x):
        return x * 2 if x.shape[0] == 2 else -x
refused(Branch(), torch.rand(2, 4), "on 3 samples", "a branch")

class Block(nn.Module):
    def forward(self, x):
        with torch.no_grad():
            gate = torch.sigmoid(x)
        return x * gate
refused(Block(), torch.rand(2, 4), "gradients are off by", "torch.no_grad()")

class Sizes(nn.Module):
    def forward(self, x):
        return nn.functional.avg_pool1d(x, x.shape[-1])
refused(Sizes(), torch.rand(2, 4, 6), "can't be traced", "int(x.shape[-1])")

class Random(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.5)
refused(Random(), torch.ones(2, 100), "called twice")

class Reversal(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.view_as(x)
    @staticmethod
    def backward(context, gradient):
        return -gradient
class Reversed(nn.Module):
    def forward(self, x):
        return Reversal.apply(x)
refused(Reversed(), torch.rand(2, 4), "Reversal", "no file can hold")

class Several(nn.Module):
    def forward(self, images):
        return images[0] + images[1]
refused(Several(), {"images": [torch.rand(2, 4), torch.rand(2, 4)]}, "'images' is a list of tensors", "wrap the network")
class Flag(nn.Module):
    def forward(self, x, doubled: bool = False, mask: Optional[torch.Tensor] = None):
        return x * 2 if doubled else x
refused(Flag(), {"x": torch.rand(2, 4), "doubled": True}, "keeps its argument 'doubled'", form="script")
export_model(Flag(), {"x": torch.rand(2, 4), "doubled": False, "mask": None}, "flag", form="script")
export_model(torch.jit.load("flag.pt"), torch.rand(2, 4), "again")
refused(nn.Linear(4, 3), torch.rand(2, 5), "the network itself fails on the example")
refused(nn.Linear(4, 3), {"y": torch.rand(2, 4)}, "no argument 'y'; it has input")
refused(nn.Linear(4, 3), torch.rand(2, 4), "go together", mean=[0.5])
)py"));
}

TEST_F(Exporter, IsNotMisledByPyTorchsOwnWrongGradientBehindAGelu) {
  EXPECT_TRUE(runs(R"py(
from export_model import GradientLayout, export_model
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.g, self.n, self.f = nn.Conv1d(4, 8, 3), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 3)
    def forward(self, x):
        return self.f(self.n(self.g(self.c(x)).transpose(1, 2)).mean(1))
torch.manual_seed(0)
net = Net()
x = torch.randn(3, 4, 41)
report = export_model(net, x, "net")
assert report.batches == [3, 4] and report.outputs < 1e-5, report
def gradient(kind):
    y = x.to(kind).requires_grad_()
    return torch.autograd.grad(net.to(kind)(y).square().sum(), y)[0]
right = gradient(torch.float64)
with GradientLayout():
    assert (gradient(torch.float32) - right).abs().max() < 1e-4 * right.abs().max()
)py"));
}

TEST_F(Exporter, SaysWhatATraceTookFromTheExample) {
  EXPECT_TRUE(runs(R"py(
from export_model import export_model
class Branches(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            x = x * 2
        return x[:, : int(x.shape[1]) - 1]
notes = export_model(Branches(), torch.rand(3, 4), "net").notes
assert any("script.py:9" in note and "script" in note for note in notes), notes
assert any("script.py:11" in note and "numbers" in note for note in notes), notes
class SameName(nn.Module):
    def forward(self, x):
        return {"a.b": x, "a": {"b": x + 1}}
try:
    export_model(SameName(), torch.rand(3, 4), "same")
    raise SystemExit(1)
except ValueError as error:
    assert "two outputs are called 'a.b'" in str(error), error
)py"));
}

TEST_F(Exporter, NamesTheModulesThatHaveNoHookPoint) {
  EXPECT_TRUE(runs(R"py(
from export_model import export_model
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.read, self.unused, self.twice = nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)
        self.again, self.parts = self.twice, nn.ModuleList([nn.Tanh()])
    def forward(self, x):
        x = self.parts[0](nn.functional.linear(x, self.read.weight))
        return self.again(self.twice(x))
report = export_model(Net(), torch.rand(2, 4), "net")
assert report.lost == ["read", "unused"], report
assert report.notes == ["no hook point, as the network does not call them here: read, unused"], report
)py"));
}

TEST_F(Exporter, WritesEveryTypeOfSafetensors) {
  EXPECT_TRUE(runs(R"py(
import json, struct
from export_model import write_safetensors
kinds = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
         "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool, "C64": torch.complex64}
rows = torch.tensor([[0, 1, 2], [3, 4, 100]])
tensors = {name: rows.to(kind) for name, kind in kinds.items()}
tensors.update(one=torch.tensor(7.5), none=torch.zeros(0, 3), turned=rows.t())
write_safetensors("all.safetensors", tensors)
content = open("all.safetensors", "rb").read()
(length,) = struct.unpack("<Q", content[:8])
header = json.loads(content[8:8 + length])
assert {name: header[name]["dtype"] for name in kinds} == dict(zip(kinds, kinds))
size = {"F64": 8, "I64": 8, "C64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}
for name, about in header.items():
    begin, end = about["data_offsets"]
    assert begin % size.get(about["dtype"], 1) == 0, (name, about)
# By hand: bfloat16 is the upper half of a float32.
begin, end = header["BF16"]["data_offsets"]
upper = [struct.unpack("<f", bytes(2) + content[8 + length + i:8 + length + i + 2])[0] for i in range(begin, end, 2)]
assert upper == [0, 1, 2, 3, 4, 100], upper
begin, end = header["C64"]["data_offsets"]
assert struct.unpack("<12f", content[8 + length + begin:8 + length + end])[-2:] == (100, 0)
begin, end = header["turned"]["data_offsets"]
assert struct.unpack("<6q", content[8 + length + begin:8 + length + end]) == (0, 3, 1, 4, 2, 100)
)py"));
}

}  // namespace
}  // namespace microtome::testing
