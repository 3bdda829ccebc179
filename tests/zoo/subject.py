"""What Microtome makes of a network: pipelines for the real binary, and its results read back."""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "docs" / "python"))

from export_model import write_safetensors  # noqa: E402
from microtome_run import Run  # noqa: E402

CHUNK = 2  # samples that stages take at once


class Refused(Exception):
    """The program says that it can't: exit status and what it said."""

    def __init__(self, status, said):
        super().__init__(said)
        self.status = status


class HookPoint:
    def __init__(self, name, operation, shape):
        self.name, self.operation, self.shape = name, operation, shape
        parsed = re.fullmatch(r"(?P<module>.*?)(?:@(?P<call>\d+))?(?::(?P<side>in|out)(?:\[(?P<index>\d+)\])?)?", name)
        self.is_operator = "/" in name
        self.module, self.call = parsed["module"], int(parsed["call"] or 1)
        self.side = "inputs" if parsed["side"] == "in" else "outputs"
        self.index = int(parsed["index"]) if parsed["index"] else None


class Subject:
    """A model file in a folder of its own."""

    def __init__(self, program, folder, seconds):
        self.program, self.folder, self.seconds = list(program), pathlib.Path(folder), seconds

    def _start(self, *arguments):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*self.program, *arguments],
            cwd=self.folder,
            env=environment,
            timeout=self.seconds,
            text=True,
            errors="replace",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if done.returncode != 0:
            raise Refused(done.returncode, (done.stderr.strip() or done.stdout.strip()))
        return done.stdout

    def write_samples(self, inputs):
        write_safetensors(self.folder / "samples.safetensors", inputs)
        self.fields = {name: f"samples.safetensors#{name}" for name in inputs}

    def layers(self):
        """Hook points, after the outputs were compared with the example's and LibTorch's."""
        listing = self._start("layers", "net.pt", "--example", "net.example.safetensors", "--verify")
        found = []
        for line in listing.splitlines():
            parts = re.split(r"  +", line.strip())
            if len(parts) >= 2 and not line.startswith(("verify:", "inputs:")):
                found.append(HookPoint(parts[0], parts[1], parts[2] if len(parts) > 2 else ""))
        return found

    def run(self, stages):
        """Runs stages {name: (type, parameters)} over the samples; results by name, a Refused where one failed."""
        try:
            self._run(stages)
        except Refused as refusal:
            if refusal.status == 1:
                return self._results(stages)
            if len(stages) == 1:
                return {next(iter(stages)): refusal}
            # One mistake spoils the whole pipeline.
            results = {}
            for name, stage in stages.items():
                results.update(self.run({name: stage}))
            return results
        return self._results(stages)

    def _results(self, stages):
        run = Run((self.folder / "runs" / "zoo" / "latest").resolve())  # the next run moves `latest`
        results = {}
        for name in stages:
            record = run.manifest["stages"][name]
            done = record["status"] == "done"
            results[name] = run[name] if done else Refused(1, record.get("error", record["status"]))
        return results

    def _run(self, stages):
        pipeline = {
            "microtome": 1,
            "name": "zoo",
            "models": {"net": {"source": "torchscript", "path": "net.pt"}},
            "datasets": {"samples": {"source": "tensors", "fields": self.fields}},
            # Chunks of two and of one: what a network does must not depend on how many samples there are.
            "runtime": {"chunk": CHUNK},
            "stages": {
                name: {"uses": kind, "inputs": {"model": "net", "data": "samples"}, "with": parameters}
                for name, (kind, parameters) in stages.items()
            },
        }
        (self.folder / "zoo.yaml").write_text(json.dumps(pipeline, indent=1))
        self._start("run", "zoo.yaml", "--runs", "runs", "--store", "store", "--jobs", "1", "-q")


def tensor(stage, name):
    return numpy.array(stage[name])
