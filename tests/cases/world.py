"""A folder with a network, data and pipelines, and the program that runs them."""

import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "docs" / "python"))

from microtome_run import Run  # noqa: E402

# What LibTorch says to its developers. Where it fails, Microtome says what a user can do.
RAW = ("INTERNAL ASSERT", "frame #", "mat1 and mat2", "Exception raised from", "report a bug", "c10::", "torch/csrc", "std::")


class Failure(Exception):
    pass


def demand(holds, message):
    if not holds:
        raise Failure(message)


class World:
    def __init__(self, folder, program, plugins):
        self.folder = pathlib.Path(folder)
        self._command = [str(program), "--plugin-path", str(plugins)]

    def call(self, *arguments):
        """Runs the program; its output and errors may hold no text that is meant for LibTorch's developers."""
        done = subprocess.run(
            [*self._command, *arguments], cwd=self.folder, capture_output=True, text=True, errors="replace", timeout=300
        )
        for raw in RAW:
            demand(raw not in done.stdout + done.stderr, f"says \"{raw}\" to a user:\n{done.stderr.strip()}")
        demand(done.returncode in (0, 1, 2, 3), f"ends with status {done.returncode}:\n{done.stderr.strip()}")
        return done

    def run(self, replaced=None):
        """The finished run of the pipeline, in which some texts are replaced first."""
        text = (self.folder / "pipeline.yaml").read_text(encoding="utf-8")
        for old, new in (replaced or {}).items():
            demand(old in text, f"the pipeline does not hold {old!r}")
            text = text.replace(old, new)
        (self.folder / "tried.yaml").write_text(text, encoding="utf-8")
        shutil.rmtree(self.folder / "runs", ignore_errors=True)
        done = self.call("run", "tried.yaml", "-q", "--store", "store")
        demand(done.returncode == 0, f"ends with status {done.returncode}: {done.stderr.strip()}")
        return Run(next((self.folder / "runs").iterdir()) / "latest")

    def refuses(self, *words, command="run"):
        """The program refuses the pipeline with an error that holds all words."""
        done = self.call(command, "pipeline.yaml", *(("-q", "--store", "store") if command == "run" else ()))
        demand(done.returncode != 0, "ends with status 0")
        for word in words:
            demand(word in done.stderr, f"does not say \"{word}\" but:\n{done.stderr.strip()}")

    def write(self, text):
        (self.folder / "pipeline.yaml").write_text(text, encoding="utf-8")


def make(folder, script):
    """Runs a script that makes files in the folder; the exporter is there for it."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1] / "docs" / "python"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, script], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    demand(done.returncode == 0, f"{script} fails: {done.stderr[-500:]}")
