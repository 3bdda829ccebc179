"""Mistakes that people make: each is refused with a reason in the user's words, never LibTorch's own."""

import io

import numpy
import torch
from torch import nn
from world import demand

PIPELINE = """microtome: 1
name: refusal
models:
  net: {{source: torchscript, path: net.pt{model}}}
datasets:
  d: {{source: tensors, fields: {{{fields}}}}}
stages:
  s: {{uses: {uses}, inputs: {{model: net, data: d}}{bind}{parameters}}}
"""


class Refusal:
    """A network and rows that do not fit, or a use of them that can't be."""

    def __init__(self, name, words, net, rows, model="", uses="saliency", parameters="target: class(0)", bind=""):
        self.name, self.words, self.net, self.rows = name, words, net, rows
        self.model, self.uses, self.parameters, self.bind = model, uses, parameters, bind

    def check(self, world):
        torch.manual_seed(0)
        file = world.folder / "net.pt"
        net = self.net()
        if isinstance(net, torch.jit.ScriptModule):
            net.save(str(file))
        elif isinstance(net, nn.Module):
            torch.jit.script(net.eval()).save(str(file))
        else:
            file.write_bytes(net)
        rows = self.rows if isinstance(self.rows, dict) else {"x": self.rows}
        for field, values in rows.items():
            if isinstance(values, bytes):
                (world.folder / f"{field}.npy").write_bytes(values)
            else:
                numpy.save(world.folder / f"{field}.npy", numpy.asarray(values))
        world.write(
            PIPELINE.format(
                model=self.model,
                fields=", ".join(f"{field}: {field}.npy" for field in rows),
                uses=self.uses,
                bind=self.bind,
                parameters=f", with: {{{self.parameters}}}" if self.parameters else "",
            )
        )
        world.refuses(*self.words)
        world.call("check", "pipeline.yaml")
        shown = world.call("layers", "net.pt")
        demand(shown.returncode in (0, 2), shown.stderr)


class Convolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.d, self.f = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 5), nn.Linear(4 * 4, 2)

    def forward(self, x):
        h = torch.relu(self.d(torch.relu(self.c(x))))
        return self.f(torch.nn.functional.max_pool2d(h, 5).flatten(1))


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.f = nn.Embedding(20, 4), nn.Linear(4, 3)

    def forward(self, tokens):
        return self.f(self.e(tokens).mean(1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.r, self.f = nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 2)

    def forward(self, x):
        return self.f(self.r(x)[0][:, -1])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.f = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 2)

    def forward(self, x):
        return self.f(self.a(x, x, x)[0].mean(1))


class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        self.p, self.f = nn.Parameter(torch.randn(5, 4)), nn.Linear(4, 2)

    def forward(self, x):
        return self.f((x + self.p).mean(1))


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Linear(6, 2)

    def forward(self, a, b):
        return self.f(torch.cat([a, b], 1))


class Linear(nn.Module):
    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.f, self.g = nn.Linear(4, 8, dtype=dtype), nn.Linear(8, 2, dtype=dtype)

    def forward(self, x):
        return self.g(torch.relu(self.f(x)))


class Mismatched(nn.Module):
    """Two layers that never fitted."""

    def __init__(self):
        super().__init__()
        self.f, self.g = nn.Linear(4, 8), nn.Linear(9, 2)

    def forward(self, x):
        return self.g(self.f(x))


class Asserts(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Linear(4, 2)

    def forward(self, x):
        assert x.size(1) == 5, "five features are needed"
        return self.f(x)


class View(nn.Module):
    """A reshape that holds for eight samples alone."""

    def __init__(self):
        super().__init__()
        self.f = nn.Linear(2, 2)

    def forward(self, x):
        return self.f(x.view(16, 2)).view(8, 2, 2).mean(1)


class PositionsFirst(nn.Module):
    """An LSTM that is given samples first and takes them for positions."""

    def __init__(self):
        super().__init__()
        self.r, self.f = nn.LSTM(3, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.f(self.r(x)[0][:, -1])


class Mixes(nn.Module):
    """A sample's output depends on the samples beside it."""

    def __init__(self, mix):
        super().__init__()
        self.f, self.mix = nn.Linear(4, 2), mix

    def forward(self, x):
        return self.f(self.mix(torch.tanh(x)))


def mixed(mix):
    return lambda: torch.jit.trace(Mixes(mix).eval(), torch.rand(3, 4), check_trace=False)


class Four(nn.Module):
    """Traced for four samples."""

    def __init__(self):
        super().__init__()
        self.f, self.g = nn.Linear(6, 8), nn.Linear(16, 2)

    def forward(self, x):
        return self.g(self.f(x).reshape(int(x.shape[0]), 16))


class TwoOutputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.f, self.g = nn.Linear(4, 3), nn.Linear(3, 2)

    def forward(self, x):
        hidden = self.f(x)
        return {"hidden": hidden, "logits": self.g(hidden)}


class Argmax(nn.Module):
    def forward(self, x):
        return x.argmax(1, keepdim=True)


class Unsolvable(nn.Module):
    def forward(self, x):
        return torch.linalg.inv(x).sum(2)


def noise(*shape, dtype="float32"):
    return numpy.random.default_rng(0).normal(size=shape).astype(dtype)


def ids(*shape, below=20):
    return numpy.random.default_rng(0).integers(0, below, shape)


def zipped_weights():
    stream = io.BytesIO()
    torch.save(Linear().state_dict(), stream)
    return stream.getvalue()


def pickled_network():
    stream = io.BytesIO()
    torch.save(nn.Linear(4, 2), stream)
    return stream.getvalue()


def cut_network():
    stream = io.BytesIO()
    torch.jit.save(torch.jit.script(Linear()), stream)
    return stream.getvalue()[:2000]


REFUSALS = [
    # Sizes.
    Refusal("grey-rows", ["c", "channel"], Convolutions, noise(8, 1, 16, 16)),
    Refusal("grey-declared", ["c", "channel"], Convolutions, noise(8, 1, 16, 16), ", input: {size: [1, 16, 16]}"),
    Refusal("too-small-for-the-kernel", ["d"], Convolutions, noise(8, 3, 4, 4)),
    Refusal("too-small-for-the-pooling", ["max_pool2d"], Convolutions, noise(8, 3, 8, 8)),
    Refusal("another-resolution", ["f"], Convolutions, noise(8, 3, 32, 32)),
    Refusal("no-channels", ["c"], Convolutions, noise(8, 3, 16)),
    Refusal("too-few-features", ["f", "4", "3"], Linear, noise(8, 3)),
    Refusal("declared-and-other-rows", ["4", "3"], Linear, noise(8, 3), ", input: {size: [4]}"),
    Refusal("declared-wrong", ["f"], Linear, noise(8, 3), ", input: {size: [3]}"),
    Refusal("layers-that-never-fitted", ["g"], Mismatched, noise(8, 4)),
    Refusal("recurrent-features", ["r"], Recurrent, noise(8, 5, 3)),
    Refusal("attention-features", ["a"], Attention, noise(8, 5, 6)),
    Refusal("more-positions-than-embedded", ["add"], Positions, noise(8, 7, 4)),
    Refusal("a-reshape-for-eight", ["view"], View, noise(12, 4)),
    Refusal("cat-of-another-rank", ["a", "b"], Two, {"a": noise(8, 3), "b": noise(8, 3, 1)}),
    Refusal("traced-for-four", ["traced for 4 samples"], lambda: torch.jit.trace(Four().eval(), torch.rand(4, 2, 6),
            check_trace=False), noise(8, 2, 6)),
    # Samples that depend on each other.
    Refusal("an-lstm-with-positions-first", ["r/aten::lstm", "beside it", "batch_first", "chunk: 1"], PositionsFirst,
            noise(8, 5, 3)),
    Refusal("softmax-over-samples", ["softmax", "beside it"], mixed(lambda x: x.softmax(0)), noise(8, 4)),
    Refusal("mean-over-samples", ["beside it"], mixed(lambda x: x - x.mean(0)), noise(8, 4)),
    Refusal("largest-of-all-samples", ["beside it"], mixed(lambda x: x / x.abs().max()), noise(8, 4)),
    Refusal("sum-so-far", ["cumsum", "beside it"], mixed(lambda x: x.cumsum(0)), noise(8, 4)),
    Refusal("turned-around", ["flip", "beside it"], mixed(lambda x: x * x.flip(0)), noise(8, 4)),
    # Types and tokens.
    Refusal("float-tokens", ["float32", "int64"], Tokens, noise(8, 6)),
    Refusal("token-out-of-the-vocabulary", ["0 to 19"], Tokens, ids(8, 6, below=40)),
    Refusal("negative-token", ["e"], Tokens, ids(8, 6) - 30),
    Refusal("complex-rows", ["complex"], Linear, noise(8, 4).astype("complex64")),
    Refusal("text-rows", ["x.npy"], Linear, numpy.array([["a"] * 4] * 8)),
    Refusal("objects", ["x.npy"], Linear, numpy.array([None, 1, "a"], dtype=object)),
    # Uses.
    Refusal("no-such-class", ["class 7", "0 to 1"], Linear, noise(8, 4), parameters="target: class(7)"),
    Refusal("no-such-unit", ["index 99", "8 entries"], Linear, noise(8, 4), parameters='target: "unit(f[unit=99])"'),
    Refusal("no-such-layer", ["layer9"], Linear, noise(8, 4), uses="activations", parameters="layers: [layer9]"),
    Refusal("integers-as-a-score", ["whole numbers", "gradient"], Argmax, noise(8, 4)),
    Refusal("no-input-fits", ["a", "b"], Two, {"x": noise(8, 3)}),
    Refusal("a-field-that-is-not-there", ["zzz"], Linear, noise(8, 4), bind=", bind: {x: zzz}"),
    Refusal("one-of-two-outputs", ["hidden", "logits", "output:"], lambda: torch.jit.trace(TwoOutputs().eval(),
            torch.rand(3, 4), strict=False), noise(8, 4)),
    Refusal("its-own-assertion", ["five features"], Asserts, noise(8, 4)),
    Refusal("grad-cam-without-a-map", ["f"], Linear, noise(8, 4), uses="grad_cam", parameters="at: f, target: class(0)"),
    Refusal("a-rule-that-is-not-there", ["lstm"], Recurrent, noise(8, 5, 4), uses="lrp"),
    # Numbers.
    Refusal("singular-matrix", ["inv"], Unsolvable, numpy.zeros((8, 3, 3), "float32")),
    Refusal("not-a-number", ['"2"', "NaN"], Linear, numpy.where(numpy.arange(8)[:, None] == 2, numpy.nan, noise(8, 4))
            .astype("float32")),
    # Files.
    Refusal("weights-alone", ["weights"], zipped_weights, noise(8, 4)),
    Refusal("a-pickled-network", ["net.pt"], pickled_network, noise(8, 4)),
    Refusal("a-cut-network", ["net.pt"], cut_network, noise(8, 4)),
    Refusal("no-network-at-all", ["net.pt"], lambda: b"what is this", noise(8, 4)),
    Refusal("an-empty-network", ["net.pt"], lambda: b"", noise(8, 4)),
    Refusal("a-cut-array", ["x.npy"], Linear, {"x": b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'"}),
    Refusal("no-rows", ["no samples"], Linear, noise(0, 4)),
]  # fmt: skip
