#!/usr/bin/env python3
"""Tries networks as people write them: scripted and traced, Microtome's numbers against PyTorch's.

Exit status 1 when a value is wrong or a network failed without a reason. Needs Python with torch and torchvision.
"""

import argparse
import fnmatch
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
EXPORTER = HERE.parents[1] / "docs" / "python"
SKIPPED = 77

sys.dont_write_bytecode = True
sys.path.insert(0, str(EXPORTER))

try:
    import torch  # noqa: F401
    import torchvision  # noqa: F401
except ImportError as missing:
    print(f"the zoo needs Python with torch and torchvision: {missing}")
    sys.exit(1 if os.environ.get("MICROTOME_PYTORCH") == "required" else SKIPPED)

import table  # noqa: E402
import zoo  # noqa: E402


def examine(network, forms, arguments):
    """A verdict on each form, by a process of its own with a limit of memory and time."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="zoo-", dir=arguments.folder))
    plugins = arguments.plugins or arguments.program.parents[1] / "plugins"
    command = [sys.executable, "examine.py", network.name, ",".join(forms), str(folder), str(arguments.seconds)]
    command += [str(arguments.program.resolve()), "--plugin-path", str(plugins.resolve())]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(EXPORTER), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.update(HOME=str(folder), OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore")

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (arguments.gigabytes << 30, arguments.gigabytes << 30))

    pipe, seconds = subprocess.PIPE, 4 * arguments.seconds
    try:
        process = subprocess.Popen(
            command, cwd=HERE, env=environment, preexec_fn=limit, text=True, errors="replace", stdout=pipe, stderr=pipe
        )
        try:
            output, errors = process.communicate(timeout=seconds)
            failure = f"the examination ended with {process.returncode}: {errors.strip()[-500:]}"
        except subprocess.TimeoutExpired:
            process.kill()
            output, errors = process.communicate()
            failure = f"the examination took more than {seconds} s"
    finally:
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)
    lines = [line.split(" ", 1)[1] for line in output.splitlines() if line.startswith("VERDICT ")]
    verdicts = {verdict["form"]: verdict for verdict in map(json.loads, lines)}
    nothing = {"network": network.name, "result": "wrong", "reason": failure, "compared": 0, "lost": [], "notes": []}
    return [verdicts.get(form, {**nothing, "form": form}) for form in forms]


def main():
    build = HERE.parents[1] / "build" / "release"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", help="names of networks, with * and ?")
    parser.add_argument("--style", action="append", help="whose networks: torchvision, timm, ...")
    parser.add_argument("--form", choices=["scripted", "traced"])
    parser.add_argument("--small", action="store_true", help="the small part that every test run tries")
    parser.add_argument("--list", action="store_true", help="the networks, without trying them")
    parser.add_argument("--write-docs", action="store_true", help="write docs/networks.md")
    parser.add_argument(
        "--results", type=pathlib.Path, help="a file of verdicts, JSON lines: those in it are not tried again"
    )
    parser.add_argument("--program", default=build / "bin" / "microtome", type=pathlib.Path)
    parser.add_argument("--plugins", type=pathlib.Path, help="their folder (default: the one of the program's build)")
    parser.add_argument("--folder", help="where files are written for the moment")
    parser.add_argument("--keep", action="store_true", help="keep them")
    parser.add_argument("--seconds", type=int, default=300, help="for one call of the program")
    parser.add_argument("--gigabytes", type=int, default=8, help="of address space")
    arguments = parser.parse_args()

    known = {}
    if arguments.results and arguments.results.exists():
        for line in arguments.results.read_text().splitlines():
            verdict = json.loads(line)
            known[verdict["network"], verdict["form"]] = verdict
    networks = [
        network
        for network in zoo.networks()
        if (network.small or not arguments.small)
        and (not arguments.style or network.style in arguments.style)
        and (not arguments.only or any(fnmatch.fnmatch(network.name, pattern) for pattern in arguments.only))
    ]
    verdicts = []
    for network in networks:
        forms = [form for form in network.forms if arguments.form in (None, form)]
        if arguments.list:
            print(f"{network.style:14} {network.name:40} {' '.join(forms)}")
            continue
        verdicts += [known[network.name, form] for form in forms if (network.name, form) in known]
        forms = [form for form in forms if (network.name, form) not in known]
        if not forms:
            continue
        started = time.monotonic()
        fresh = examine(network, forms, arguments)
        took = (time.monotonic() - started) / len(forms)
        for verdict in fresh:
            print(
                f"{took:6.1f} s  {network.name:36} {verdict['form']:9} {verdict['result']:12} {verdict['reason']}",
                flush=True,
            )
        if arguments.results:
            with arguments.results.open("a") as stream:
                stream.writelines(json.dumps(verdict) + "\n" for verdict in fresh)
        verdicts += fresh
    if arguments.list:
        return 0
    print(table.totals(verdicts))
    if arguments.write_docs:
        table.write(HERE.parents[1] / "docs" / "networks.md", networks, verdicts)
    # What is in the small part is right, and is to stay so.
    failures = ("wrong", "refused") if arguments.small else ("wrong",)
    return 1 if not verdicts or any(verdict["result"] in failures for verdict in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
