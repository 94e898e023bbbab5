"""``python -m tests.windows [-n JOBS] [ARGUMENT ...]``: the tests that need no Linux, by a Windows Python under Wine.

Arguments are pytest's. Without any, the tests of the library, the program and the simulation are run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from tests.support.repository import REPOSITORY
from tests.windows import interpreter

FOLDERS = ("tests/conformance", "tests/unit", "tests/sim", "tests/property", "tests/packetdrill")


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
    chosen = arguments if any(not word.startswith("-") for word in arguments) else [*arguments, *FOLDERS]
    options = ["-q", "-p", "no:cacheprovider", "-m", "not stress"]
    return _run([*python, "-m", "pytest", *options, "-n", str(given.jobs), *chosen])


def _run(command: list[str]) -> int:
    """Its output goes through a pipe: under Wine, Python does not start with a file as its standard output."""
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
    return process.returncode


if __name__ == "__main__":
    raise SystemExit(main())
