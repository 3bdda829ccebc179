"""Reads a run's folder with numpy alone.

    from microtome_run import Run
    run = Run("runs/cifar10-audit/latest")
    run["ig"]["attributions"]          # array, rows in the order of run["ig"].ids
    run["ig"].metrics                  # {name: {"value": ..., "interval": {...}, ...}}
    run["probe[layer=layer1]"]["confusion"]

Arrays have the types that the program wrote; bfloat16, which numpy lacks, is read as float32, without loss. An id that is
not UTF-8 is what `os.fsdecode` makes of its bytes, so `open(os.path.join(folder, id))` finds the file.
"""

import json
import pathlib
import struct

import numpy

_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}


def read_safetensors(file):
    """All tensors of a file, by name."""
    with open(file, "rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
        start = 8 + length
    tensors = {}
    for name, about in header.items():
        if name == "__metadata__":
            continue
        begin, end = about["data_offsets"]
        if about["dtype"] not in _TYPES:
            raise TypeError(f"{file}: {name!r} has the type {about['dtype']}, which numpy does not know")
        kind = numpy.dtype(_TYPES[about["dtype"]])
        values = numpy.fromfile(file, kind, (end - begin) // kind.itemsize, offset=start + begin)
        if about["dtype"] == "BF16":  # the upper half of a float32
            values = (values.astype("<u4") << 16).view("<f4")
        tensors[name] = values.reshape(about["shape"])
    return tensors


class Artifact:
    """One output of a stage: tensors by name, `ids`, `metrics`, `metadata`."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self._about = json.loads((self.folder / "artifact.json").read_text(encoding="utf-8"))
        self.kind = self._about["kind"]
        self.metadata = self._about["metadata"]
        self.metrics = {metric["name"]: metric for metric in self._about["metrics"]}

    def keys(self):
        return [name for name in self._about["tensors"] if not name.startswith("ids.")]

    def __contains__(self, name):
        return name in self.keys()

    def __getitem__(self, name):
        if name not in self._about["tensors"]:
            raise KeyError(f"{name!r}: there are {', '.join(self.keys())}")
        file = self.folder / self._about["files"][name]["file"]
        return next(iter(read_safetensors(file).values()))

    @property
    def ids(self):
        """Ids of the samples that rows belong to; empty when rows belong to none."""
        if "ids.offsets" not in self._about["tensors"]:
            return []
        offsets, text = self["ids.offsets"], self["ids.bytes"].tobytes()
        return [text[a:b].decode("utf-8", "surrogateescape") for a, b in zip(offsets[:-1], offsets[1:])]


class Stage:
    """A stage's outputs. What only one of them has can be asked of the stage itself."""

    def __init__(self, folder):
        self.outputs = {
            file.parent.name: Artifact(file.parent) for file in sorted(pathlib.Path(folder).glob("*/artifact.json"))
        }

    def __getitem__(self, name):
        holders = [artifact for artifact in self.outputs.values() if name in artifact]
        if len(holders) != 1:
            raise KeyError(f"{name!r} is in {len(holders)} of the outputs {', '.join(self.outputs)}")
        return holders[0][name]

    @property
    def ids(self):
        for artifact in self.outputs.values():
            if artifact.ids:
                return artifact.ids
        return []

    @property
    def metrics(self):
        return {name: metric for artifact in self.outputs.values() for name, metric in artifact.metrics.items()}


class Run:
    """A run's folder: stages by name, those of a matrix as `name[key=value]`."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.manifest = json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))

    def keys(self):
        return list(self.manifest["stages"])

    def __getitem__(self, stage):
        if stage not in self.manifest["stages"]:
            raise KeyError(f"{stage!r}: there are {', '.join(self.keys())}")
        return Stage(self.folder / "stages" / self.manifest["stages"][stage]["folder"])
