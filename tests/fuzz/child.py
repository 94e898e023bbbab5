"""The process that fuzzes: ``python -m tests.fuzz.child TARGET PROGRAM [libFuzzer's arguments]``.

PROGRAM is a file with which libFuzzer starts this process once more, which it does to compare inputs.

Atheris measures the coverage of modules that are imported under its eyes, so that nothing may import slirpy before.
"""

from __future__ import annotations

import sys

import atheris


def main() -> None:
    """Fuzz until libFuzzer ends the process."""
    with atheris.instrument_imports(include=["slirpy"], exclude=["slirpy.testing"]):
        from tests.fuzz.targets import TARGETS
    _, name, *arguments = sys.argv
    atheris.Setup(arguments, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
