"""Equal runs have equal transcripts: twice in one process, and whatever the seed of Python's hashes."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.sim.programs.packages import Packages
from tests.support.repository import REPOSITORY


def digests(*names: str) -> set[str]:
    """Run the module ``transcripts`` under three hash seeds, and return all its digests."""
    command = [sys.executable, "-m", "tests.sim.programs.transcripts", *names]
    running = [
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        for seed in ("0", "1", "2")
    ]
    outputs = [process.communicate(timeout=60)[0] for process in running]
    assert all(process.returncode == 0 for process in running)
    return {word for output in outputs for word in output.split()}


def test_plain_streams() -> None:
    assert len(digests("streams")) == 1


def test_blocking_programs() -> None:
    assert len(digests("blocking")) == 1


def test_aiohttp(package: Packages) -> None:
    package("aiohttp")
    assert len(digests("aiohttp")) == 1
