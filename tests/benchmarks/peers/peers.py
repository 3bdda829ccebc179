"""The same work in PyTorch with forward hooks and in Microtome, on the same LibTorch, run in turn.

    tests/benchmarks/peers/peers.py --microtome build/release/bin/microtome --data MICROTOME_TEST_DATA

Needs torch and PIL (Debian: python3-torch, python3-pil); compares with Captum too where it is importable. PyTorch's
times leave out its import and its model's loading. Microtome's are given twice: of the stages, as its manifest has them,
and of the whole process with LibTorch's loading, the check, hashes and the report. Each row checks that the numbers agree.
"""

import argparse
import copy
import json
import pathlib
import struct
import subprocess
import tempfile
import time

import numpy
import torch
from PIL import Image

torch.set_num_threads(2)  # of the machine's two cores; the default of Debian's package is 1

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def read_safetensors(file):
    content = pathlib.Path(file).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    (about,) = [value for key, value in header.items() if key != "__metadata__"]
    begin, end = about["data_offsets"]
    return numpy.frombuffer(content[8 + length + begin : 8 + length + end], numpy.float32).reshape(about["shape"])


def write_safetensors(file, name, array):
    array = numpy.ascontiguousarray(array)
    kinds = {"float32": "F32", "int64": "I64"}
    header = {name: {"dtype": kinds[str(array.dtype)], "shape": list(array.shape), "data_offsets": [0, array.nbytes]}}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    pathlib.Path(file).write_bytes(struct.pack("<Q", len(text)) + text + array.tobytes())


class Block(torch.nn.Module):
    def __init__(self, into, out, stride):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(into, out, 3, stride, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(out)
        self.conv2 = torch.nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(out)
        self.relu1, self.relu2 = torch.nn.ReLU(), torch.nn.ReLU()
        self.downsample = None
        if stride != 1 or into != out:
            self.downsample = torch.nn.Sequential(
                torch.nn.Conv2d(into, out, 1, stride, bias=False), torch.nn.BatchNorm2d(out)
            )

    def forward(self, x):
        beside = x if self.downsample is None else self.downsample(x)
        return self.relu2(self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x))))) + beside)


class ResNet18(torch.nn.Module):
    """He et al. 2015, with random weights."""

    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1, self.relu, self.maxpool = torch.nn.BatchNorm2d(64), torch.nn.ReLU(), torch.nn.MaxPool2d(3, 2, 1)
        blocks, into = [], 64
        for out, stride in [(64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)]:
            blocks.append(Block(into, out, stride))
            into = out
        self.blocks = torch.nn.Sequential(*blocks)
        self.fc = torch.nn.Linear(512, 1000)

    def forward(self, x):
        x = self.blocks(self.maxpool(self.relu(self.bn1(self.conv1(x)))))
        return self.fc(x.mean((2, 3)))


class Runs:
    """Runs pipelines with stores of their own, so that nothing is taken from an earlier one."""

    def __init__(self, program, folder, jobs):
        self.program, self.folder, self.jobs, self.count = program, folder, jobs, 0

    def __call__(self, pipeline):
        self.count += 1
        place = self.folder / str(self.count)
        place.mkdir()
        file = place / "p.yaml"
        file.write_text(json.dumps(pipeline))  # JSON is YAML
        start = time.perf_counter()
        done = subprocess.run(
            [self.program, "run", file, "-q", "--jobs", str(self.jobs), "--runs", place / "runs", "--store", place / "store"],
            check=True, capture_output=True, text=True,
        )
        process = time.perf_counter() - start
        run = pathlib.Path(done.stdout.strip())
        manifest = json.loads((run / "manifest.json").read_text())
        stages = sum(stage["wall_seconds"] for stage in manifest["stages"].values())
        return process, stages, run / "stages"


def in_turn(name, theirs, mine, repeats, agrees):
    """Times both in turn; `agrees` gets both results of the first round."""
    times = {"theirs": [], "process": [], "stages": []}
    for i in range(repeats + 1):
        start = time.perf_counter()
        expected = theirs()
        taken = time.perf_counter() - start
        process, in_stages, stages = mine()
        if i == 0:
            print(f"{name}: largest difference {agrees(expected, stages):.2g} of the largest value", flush=True)
            continue  # the first round warms up
        times["theirs"].append(taken)
        times["process"].append(process)
        times["stages"].append(in_stages)
    their, process, in_stages = (numpy.median(times[key]) for key in ("theirs", "process", "stages"))
    print(
        f"| {name} | {their:.2f} s | {in_stages:.2f} s | {process:.2f} s | {their / in_stages:.2f} | {their / process:.2f} |",
        flush=True,
    )


def difference(expected, found):
    expected, found = numpy.asarray(expected), numpy.asarray(found)
    return float(numpy.abs(expected - found).max() / numpy.abs(expected).max())


def integrated_gradients_row(runs, folder, repeats, double):
    torch.manual_seed(3)
    net = ResNet18().eval()
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    images = torch.randn(8, 3, 224, 224)
    torch.jit.trace(net, images[:1]).save(str(folder / "resnet18.pt"))
    write_safetensors(folder / "images.safetensors", "inputs", images.numpy())
    with torch.no_grad():
        target = net(images).argmax(1)
    write_safetensors(folder / "target.safetensors", "target", target.numpy())
    nodes, weights = numpy.polynomial.legendre.leggauss(32)

    def loop(internal_batch, net=net, images=images):
        """Captum's scheme: steps x images are expanded, and go through in batches of so many."""
        scaled = torch.cat([images * float((node + 1) / 2) for node in nodes])
        wanted = target.repeat(32)
        gradients = []
        for at in range(0, len(scaled), internal_batch):
            part = scaled[at : at + internal_batch].requires_grad_()
            scores = net(part).gather(1, wanted[at : at + internal_batch, None]).sum()
            gradients.append(torch.autograd.grad(scores, part)[0])
        stacked = torch.cat(gradients).view(32, *images.shape)
        return (stacked * torch.tensor(weights / 2, dtype=images.dtype).view(-1, 1, 1, 1, 1)).sum(0) * images

    pipeline = {
        "microtome": 1,
        "name": "ig",
        "models": {"net": {"source": "torchscript", "path": str(folder / "resnet18.pt"), "input": {"size": [3, 224, 224]}}},
        "datasets": {
            "data": {
                "source": "tensors",
                "fields": {
                    "inputs": f"{folder}/images.safetensors#inputs",
                    "answer": f"{folder}/target.safetensors#target",
                },
            }
        },
        "stages": {
            "ig": {
                "uses": "integrated_gradients",
                "inputs": {"model": "net", "data": "data"},
                "with": {"steps": 32, "target": "class(answer)"},
            }
        },
    }

    def agrees(expected, stages):
        return difference(expected, read_safetensors(stages / "ig/attributions/attributions.safetensors"))

    folded = {**pipeline, "runtime": {"fold_batch_norm": True, "channels_last": True}}
    for batch in (8, 16, 256):
        in_turn(f"integrated gradients, PyTorch, batch {batch}", lambda: loop(batch), lambda: runs(pipeline), repeats, agrees)
    in_turn("the same, batch 8, folded and channels last", lambda: loop(8), lambda: runs(folded), repeats, agrees)
    if double:
        exact = loop(8, copy.deepcopy(net).double(), images.double())
        print(f"from PyTorch in float64: PyTorch in float32 {difference(exact, loop(8)):.2g} of the largest value, "
              f"Microtome {agrees(exact, runs(pipeline)[2]):.2g}, "
              f"folded and channels last {agrees(exact, runs(folded)[2]):.2g}", flush=True)
    try:
        from captum.attr import IntegratedGradients
    except ImportError:
        print("(Captum is not importable: the loop above is its scheme)")
        return
    captum = IntegratedGradients(net)
    for batch in (8, 16, None):
        in_turn(
            f"integrated gradients, Captum, internal batch {batch}",
            lambda: captum.attribute(images, target=target, n_steps=32, internal_batch_size=batch),
            lambda: runs(pipeline), repeats, agrees,
        )


class Folder(torch.utils.data.Dataset):
    def __init__(self, root):
        self.files = sorted(pathlib.Path(root).glob("*/*.jpg"))

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        pixels = numpy.asarray(Image.open(self.files[i]).convert("RGB"), numpy.float32) / 255
        return torch.from_numpy((pixels - numpy.float32(MEAN)) / numpy.float32(STD)).permute(2, 0, 1)


def cifar_model(data):
    return {
        "source": "torchscript",
        "path": f"{data}/models/cifar10-resnet20.pt",
        "input": {"size": [3, 32, 32], "mean": MEAN, "std": STD},
    }


class Cifar(torch.nn.Module):
    """The network of the file as a module with hooks: scripted modules have none."""

    def __init__(self, file):
        super().__init__()
        state = torch.jit.load(file).state_dict()
        self.conv1, self.bn1 = torch.nn.Conv2d(3, 16, 3, 1, 1, bias=False), torch.nn.BatchNorm2d(16)
        into = 16
        for stage, out in enumerate((16, 32, 64), 1):
            blocks = []
            for k in range(3):
                block = Block(into, out, 2 if stage > 1 and k == 0 else 1)
                block.downsample = None
                blocks.append(block)
                into = out
            setattr(self, f"layer{stage}", torch.nn.Sequential(*blocks))
        self.linear = torch.nn.Linear(64, 10)
        self.load_state_dict(state)
        for block in self.blocks():
            block.forward = lambda x, block=block: self.block(block, x)

    def blocks(self):
        return [block for stage in (self.layer1, self.layer2, self.layer3) for block in stage]

    @staticmethod
    def block(block, x):
        beside = x
        out = block.conv1.out_channels
        if block.conv1.stride != (1, 1):
            pad = out // 4
            beside = torch.nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, pad, pad))
        y = torch.relu(block.bn1(block.conv1(x)))
        return torch.relu(block.bn2(block.conv2(y)) + beside)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def extraction_row(runs, data, folder, repeats):
    layers = ["layer1.0", "layer1.1", "layer2.0"]
    net = Cifar(f"{data}/models/cifar10-resnet20.pt").eval()
    root = f"{data}/data/cifar10/train"

    def hooks():
        kept = {layer: [] for layer in layers}
        modules = dict(net.named_modules())
        handles = [
            modules[layer].register_forward_hook(lambda module, given, out, layer=layer: kept[layer].append(out))
            for layer in layers
        ]
        with torch.no_grad():
            for images in torch.utils.data.DataLoader(Folder(root), batch_size=32, num_workers=2):
                net(images)
        for handle in handles:
            handle.remove()
        result = {layer: torch.cat(values) for layer, values in kept.items()}
        torch.save(result, folder / "activations.pt")
        return result

    pipeline = {
        "microtome": 1,
        "name": "acts",
        "models": {"net": cifar_model(data)},
        "datasets": {"train": {"source": "image_folder", "path": root}},
        "stages": {
            "acts": {"uses": "activations", "inputs": {"model": "net", "data": "train"}, "with": {"layers": layers}}
        },
    }

    def agrees(expected, stages):
        folder = stages / "acts/activations"
        return max(difference(expected[layer], read_safetensors(folder / f"{layer}.safetensors")) for layer in layers)

    in_turn("activations of three layers, 2,000 JPEG images to disk", hooks, lambda: runs(pipeline), repeats, agrees)


def ablation_row(runs, data, repeats):
    net = Cifar(f"{data}/models/cifar10-resnet20.pt").eval()
    root = f"{data}/data/cifar10/train"
    files = Folder(root)
    images = torch.stack([files[i] for i in range(512)])
    places = [name for name, module in net.named_modules() if isinstance(module, torch.nn.Conv2d)]
    modules = dict(net.named_modules())

    def hooks():
        effects = []
        with torch.no_grad():
            clean = torch.cat([net(part) for part in images.split(32)])
            for place in places:
                handle = modules[place].register_forward_hook(lambda module, given, out: torch.zeros_like(out))
                effects.append(torch.cat([net(part) for part in images.split(32)]) - clean)
                handle.remove()
        return torch.stack(effects, 1)

    pipeline = {
        "microtome": 1,
        "name": "ablate",
        "models": {"net": cifar_model(data)},
        "datasets": {"train": {"source": "image_folder", "path": root, "limit": 512}},
        "stages": {
            "effects": {
                "uses": "ablate",
                "inputs": {"model": "net", "data": "train"},
                "with": {"at": places, "outputs": True},
            }
        },
    }

    def agrees(expected, stages):
        return difference(expected, read_safetensors(stages / "effects/effects/outputs.safetensors"))

    in_turn(f"each of {len(places)} convolutions to zero, 512 images", hooks, lambda: runs(pipeline), repeats, agrees)


def together_row(runs, data, repeats):
    """Four stages in one pass against each of them in a run of its own: no peer shares passes."""
    pipeline = {
        "microtome": 1,
        "name": "four",
        "models": {"net": cifar_model(data)},
        "datasets": {"test": {"source": "image_folder", "path": f"{data}/data/cifar10/train"}},
    }
    inputs = {"model": "net", "data": "test"}
    stages = {
        "accuracy": {"uses": "evaluate", "inputs": inputs},
        "pooled": {"uses": "activations", "inputs": inputs, "with": {"layers": ["layer1", "layer3"], "pool": "mean"}},
        "other": {"uses": "activations", "inputs": inputs, "with": {"layers": ["layer1.0", "layer2.0"], "pool": "max"}},
        "features": {"uses": "activations", "inputs": inputs, "with": {"layers": ["layer2"], "pool": "flatten"}},
    }
    times = {"alone": [], "together": []}
    for i in range(repeats + 1):
        alone = [runs({**pipeline, "stages": {name: stage}}) for name, stage in stages.items()]
        process, _, folder = runs({**pipeline, "stages": stages})
        if i == 0:
            for name, (_, _, other) in zip(stages, alone):
                for file in sorted((other / name).rglob("*.safetensors")):
                    same = file.read_bytes() == (folder / file.relative_to(other)).read_bytes()
                    assert same, f"{file.relative_to(other)} differs"
            continue
        times["alone"].append(sum(process for process, _, _ in alone))
        times["together"].append(process)
    alone, together = numpy.median(times["alone"]), numpy.median(times["together"])
    print(f"four stages on 2,000 JPEG images, whole processes: each alone {alone:.2f} s, in one pass {together:.2f} s,"
          f" ratio {alone / together:.2f}; the same bytes", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--microtome", required=True, help="the program")
    parser.add_argument("--data", required=True, help="folder with models/ and data/")
    parser.add_argument("--rows", default="ig,extraction,ablation,together")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--double", action="store_true", help="integrated gradients against float64 too, which takes minutes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        runs = Runs(str(pathlib.Path(arguments.microtome).resolve()), folder, arguments.jobs)
        data = pathlib.Path(arguments.data).resolve()
        print("| work | PyTorch | stages | process | ratio | of the process |\n| --- | --- | --- | --- | --- | --- |")
        rows = arguments.rows.split(",")
        if "ig" in rows:
            integrated_gradients_row(runs, folder, arguments.repeats, arguments.double)
        if "extraction" in rows:
            extraction_row(runs, data, folder, arguments.repeats)
        if "ablation" in rows:
            ablation_row(runs, data, arguments.repeats)
        if "together" in rows:
            together_row(runs, data, arguments.repeats)


if __name__ == "__main__":
    main()
