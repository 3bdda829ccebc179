#!/usr/bin/env python3
"""Tries the program on files and networks as people have them, right ones and wrong ones.

Those of the test data (MICROTOME_TEST_DATA) are compared with the values that lie with them, where there are test data. No
message may hold text of LibTorch that means nothing to a user. Needs Python with torch; exit status 1 when one is not as it should.
"""

import argparse
import fnmatch
import os
import pathlib
import sys
import tempfile

SKIPPED = 77
sys.dont_write_bytecode = True

try:
    import torch  # noqa: F401
except ImportError as missing:
    print(f"the cases need Python with torch: {missing}")
    sys.exit(1 if os.environ.get("MICROTOME_PYTORCH") == "required" else SKIPPED)

from bad_samples import BadSamples  # noqa: E402
from refusals import REFUSALS  # noqa: E402
from shared_cases import cases  # noqa: E402
from world import Failure, World  # noqa: E402


def main():
    build = pathlib.Path(__file__).resolve().parents[2] / "build" / "release"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", help="names of cases, with * and ?")
    parser.add_argument("--program", default=build / "bin" / "microtome", type=pathlib.Path)
    parser.add_argument("--plugins", default=build / "plugins", type=pathlib.Path)
    arguments = parser.parse_args()

    tried = [BadSamples(), *REFUSALS]
    if test_data := os.environ.get("MICROTOME_TEST_DATA"):
        tried += cases(pathlib.Path(test_data))
    failures = 0
    for case in tried:
        if arguments.only and not any(fnmatch.fnmatch(case.name, pattern) for pattern in arguments.only):
            continue
        with tempfile.TemporaryDirectory(prefix="case-") as folder:
            try:
                case.check(World(folder, arguments.program.resolve(), arguments.plugins.resolve()))
                print(f"right  {case.name}", flush=True)
            except Exception as failure:
                failures += 1
                kind = "" if isinstance(failure, Failure) else f"{type(failure).__name__}: "
                print(f"WRONG  {case.name}: {kind}{failure}", flush=True)
    print(f"{failures} of {len(tried)} cases are not as they should be")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
