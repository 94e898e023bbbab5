"""Equipment of the machine that runs the tests, and how long one test may take there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.extent import FULL

LONGEST = 600 if FULL else 180
"""Seconds for one test at most."""
PATH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
"""Folders of programs: those of root too, whoever runs the tests."""


def missing(what: str) -> None:
    """Skip the test for lack of something; under CI that is a failure, so that nothing goes untested there."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} (CI is set, so this may not be skipped)")
    pytest.skip(what)


def processes_with(text: str) -> Sequence[int]:
    """Processes of this machine whose command line or environment has ``text``, zombies left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if text.encode() in (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
