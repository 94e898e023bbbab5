"""``python -m tests.windows [-n JOBS] [ARGUMENT ...]``: the tests that need no Linux, by a Windows Python under Wine.

Arguments are pytest's. Without any, those are run where the system matters most: sockets, links, the drivers of a
network, the options of all commands, and whole networks in virtual time. They must be more than :data:`LEAST`. The
long ones are left out: they take their time in arithmetic, which is the same on all systems.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys

from tests.support.repository import REPOSITORY
from tests.windows import interpreter

SELECTED = (
    "tests/conformance",
    "tests/unit/cli/test_app.py",
    "tests/unit/cli/test_config_file.py",
    "tests/unit/drive",
    "tests/unit/host",
    "tests/unit/links",
    "tests/unit/nat",
    "tests/windows",
    "tests/sim",
)
LEFT_OUT = ("tests/sim/programs",)  # of packages that are not installed there
LEAST = 3000


def main() -> int:
    """Run pytest under Wine; its exit code. Without Wine: 0 and a line that says so, or 1 if CI is set."""
    parser = argparse.ArgumentParser(prog="python -m tests.windows", description=__doc__)
    parser.add_argument("-n", "--jobs", type=int, default=2, help="processes that share the tests (2)")
    parser.add_argument("-c", "--command", help="run this Python program under Wine in place of the tests")
    given, arguments = parser.parse_known_args()
    try:
        python = interpreter.python()
    except interpreter.MissingError as error:
        print(f"slirpy: {error}", file=sys.stderr)
        return 1 if os.environ.get("CI") else 0
    if given.command is not None:
        return _run([*python, "-c", given.command, *arguments])
    options = ["-q", "-p", "no:cacheprovider", "-m", "not stress and not long", "-n", str(given.jobs)]
    if any(not word.startswith("-") for word in arguments):
        return _run([*python, "-m", "pytest", *options, *arguments])
    ignored = [f"--ignore={folder}" for folder in LEFT_OUT]
    return _run([*python, "-m", "pytest", *options, *arguments, *ignored, *SELECTED], LEAST)


def _run(command: list[str], least: int = 0) -> int:
    """Run it, and give its exit code, or 1 if fewer than so many tests have passed.

    Its output goes through a pipe: under Wine, Python does not start with a file as its standard output.
    """
    passed = 0
    with subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=interpreter.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.buffer.write(line.replace(b"\r\n", b"\n"))
            sys.stdout.buffer.flush()
            if found := re.search(rb"(\d+) passed", line):
                passed = int(found[1])
    if passed < least and not process.returncode:
        print(f"slirpy: {passed} tests have passed, fewer than {least}", file=sys.stderr)
        return 1
    return process.returncode


if __name__ == "__main__":
    raise SystemExit(main())
