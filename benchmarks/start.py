"""Processor time of a start: ``slirpy run -- true``, ``import slirpy``, and what they are compared with."""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile

from processes import BenchmarkError
from report import Bar, Report, count, main, ratio, show

RUN, IMPORT, PYTHON, UNSHARE, THAN = (
    "slirpy run -- true",
    "python -c 'import slirpy'",
    "python -c pass",
    "unshare --user --net --pid --fork true",
    "slirpy run -- true, of --than",
)
BAR = 0.4
"""Most processor time of a start, in times of that of ``--than``."""
IMPORT_BAR = 15.0
"""Most milliseconds that ``import slirpy`` takes beside the start of Python."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--rounds", type=count, default=15, help="starts of each program")
    parser.add_argument("--than", metavar="FILE", help="the program slirpy of another version, to compare with")


def measure(arguments: argparse.Namespace) -> Report:
    """Start each program in turns."""
    report = Report(
        "Start",
        f"Medians of {arguments.rounds} starts in turns: milliseconds of processor time, of a program and all its"
        " processes. The byte code is compiled.",
        ["program", "ms", "of `slirpy run`"],
    )
    programs = {
        RUN: [sys.executable, "-m", "slirpy", "run", "--", "true"],
        IMPORT: [sys.executable, "-c", "import slirpy"],
        PYTHON: [sys.executable, "-c", "pass"],
        UNSHARE: ["unshare", "--user", "--net", "--pid", "--fork", "true"],
    }
    if arguments.than is not None:
        programs[THAN] = [arguments.than, "run", "--", "true"]
    if shutil.which("unshare") is None:
        del programs[UNSHARE]
        report.remarks.append("unshare was left out: it is not installed")
    for words in programs.values():
        _cpu(words)  # compiles the byte code
    for _ in range(arguments.rounds):
        for name, words in programs.items():
            report.sample(name, _cpu(words))
    run = report.median(RUN)
    for name in programs:
        report.rows.append((name, show(report.median(name)), ratio(report.median(name), run)))
    bare, imported, than = (report.median(name) for name in (PYTHON, IMPORT, THAN))
    if bare is not None and imported is not None:
        bar = Bar(
            "import slirpy, beyond python -c pass", imported - bare, IMPORT_BAR, at_least=False, unit=" ms"
        )
        report.bars.append(bar)
    if run is not None and than:
        report.bars.append(
            Bar("slirpy run -- true, to that of --than", run / than, BAR, at_least=False, unit="x")
        )
    return report


def _cpu(words: list[str]) -> float:
    """Return the milliseconds of processor time that a program and its processes take."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryFile() as errors:
        status = subprocess.run(
            words, stdin=subprocess.DEVNULL, stderr=errors, env=environment, check=False
        ).returncode
        errors.seek(0)
        if status:
            raise BenchmarkError(f"{' '.join(words)}: status {status}: {errors.read().decode()[-500:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


if __name__ == "__main__":
    main(__doc__, options, measure)
