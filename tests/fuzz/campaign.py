"""A campaign of coverage-guided fuzzing with one target, in processes of its own."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.fuzz import inputs
from tests.support.repository import REPOSITORY

__all__ = ["Outcome", "fuzz", "keep"]

_LENGTHS = {"stack4": 2048, "stack6": 2048, "offloads": 2048, "switch": 2048, "checksum": 4096}
_LENGTH = 600
_ROOM = 24_000
"""Most bytes of inputs that are kept for a target."""
_TIMEOUT = 20
"""Seconds for one input after which it counts as hanging."""


class Outcome(NamedTuple):
    """The end of a campaign."""

    runs: int
    """Inputs that were tried."""
    crash: bytes | None
    """An input for which the target raised an exception, or took too long."""
    output: str
    """All that libFuzzer and Python said."""


def _child(target: str, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz.child", target]
    program = folder / "again.sh"
    program.write_text(f'#!/bin/sh\nexec {shlex.join([*command, str(program)])} "$@"\n')
    program.chmod(0o755)
    return subprocess.run(
        [*command, program, *map(str, arguments)], check=False, cwd=REPOSITORY, text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def _folder(path: Path, data: Sequence[bytes]) -> Path:
    path.mkdir()
    for number, each in enumerate(data):
        (path / f"{number:06}").write_bytes(each)
    return path


def fuzz(target: str, seconds: int, folder: Path, seed: int = 0) -> Outcome:
    """Fuzz a target, beginning with the inputs that are known.

    Args:
        target: its name.
        seconds: the time to fuzz.
        folder: an empty folder, in which ``found`` will have the inputs that reached something new.
        seed: of libFuzzer's random numbers; 0: of the time.
    """
    known = _folder(folder / "known", inputs.read(target))
    found = _folder(folder / "found", [])
    ended = _child(
        target, folder, found, known, f"-max_total_time={seconds}", f"-max_len={_LENGTHS.get(target, _LENGTH)}",
        f"-artifact_prefix={folder}/found-", f"-timeout={_TIMEOUT}", "-rss_limit_mb=2048", "-print_final_stats=1",
        f"-seed={seed}",
    )  # fmt: skip
    # A busy machine makes units slow, which libFuzzer writes down, too; those that hang end it.
    crashes = sorted(set(folder.glob("found-*")) - set(folder.glob("found-slow-unit-*")))
    runs = re.search(r"number_of_executed_units: (\d+)", ended.stdout)
    crash = crashes[0].read_bytes() if crashes else b"" if ended.returncode else None
    return Outcome(int(runs[1]) if runs else 0, crash, ended.stdout)


def keep(target: str, folder: Path) -> int:
    """Keep, of the known inputs and those that :func:`fuzz` found in ``folder``, as few as reach the same.

    Returns their number. The longest are left out if there are too many.
    """
    merged = _folder(folder / "merged", [])
    ended = _child(target, folder, "-merge=1", merged, folder / "known", folder / "found", "-rss_limit_mb=2048")
    if ended.returncode or not any(merged.iterdir()):
        raise RuntimeError(ended.stdout[-2000:])
    kept: list[bytes] = []
    for data in sorted((path.read_bytes() for path in merged.iterdir()), key=len):
        if sum(map(len, kept)) + len(data) > _ROOM:
            break
        kept.append(data)
    inputs.write(target, kept)
    return len(kept)
