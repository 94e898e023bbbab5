"""The options of the plugin."""

from __future__ import annotations

from pathlib import Path

import pytest

from slirpy.testing.plugin import replay
from slirpy.testing.plugin.profile import PROFILE, register_profile
from slirpy.testing.sim.durations import LONGEST

__all__ = ["add", "artifacts", "check", "seeds", "shard"]


def add(parser: pytest.Parser) -> None:
    """Add the options to pytest's."""
    group = parser.getgroup("sim", "networks in virtual time (slirpy)")
    group.addoption(
        "--sim-seeds", type=int, metavar="N", help="run tests with the marker sim with seeds 0 to N-1"
    )
    group.addoption(
        "--sim-shard", metavar="I/N", help="run only the I-th of N parts of the seeds: for N machines, I from 1"
    )
    group.addoption("--sim-replay", metavar="FILE", help="run again what the JSON file of a report describes")
    group.addoption(
        "--sim-until",
        type=float,
        metavar="SECONDS",
        help="stop each run at this virtual time; --pdb looks at it",
    )
    group.addoption("--sim-artifacts", metavar="DIR", help="write the reports of failed tests into this folder")
    group.addoption(
        "--sim-twice", action="store_true", help="run each test twice, and fail if the runs differ in anything"
    )
    group.addoption("--sim-strict", action="store_true", help="fail a test whose faults have hit nothing")
    group.addoption(
        "--sim-database",
        metavar="URL",
        help="share Hypothesis' failing examples by Redis: redis://HOST:PORT/DB",
    )


def check(config: pytest.Config) -> None:
    """Check the values of the options.

    Raises:
        pytest.UsageError: one cannot be used.
    """
    number = config.getoption("--sim-seeds")
    if number is not None and number < 1:
        raise pytest.UsageError(f"--sim-seeds {number}: give a number from 1")
    until = config.getoption("--sim-until")
    if until is not None and not 0 <= until < LONGEST:
        raise pytest.UsageError(f"--sim-until {until}: give a number of seconds, 0 or more")
    shard(config)
    folder = artifacts(config)
    if folder is not None and folder.exists() and not folder.is_dir():
        raise pytest.UsageError(f"--sim-artifacts {folder}: this is not a folder")
    if config.getoption("--hypothesis-profile", None) == PROFILE:
        register_profile()
    url = config.getoption("--sim-database")
    if url is not None:
        from slirpy.testing.plugin.database import share

        share(url)


def shard(config: pytest.Config) -> tuple[int, int]:
    """Return the part of the seeds to run, from 0, and the number of parts."""
    text = config.getoption("--sim-shard")
    if text is None:
        return 0, 1
    part, _, parts = text.partition("/")
    if not (part.isascii() and part.isdigit() and parts.isascii() and parts.isdigit()):
        raise pytest.UsageError(f"--sim-shard {text}: give two numbers, such as 1/4")
    if not 1 <= int(part) <= int(parts):
        raise pytest.UsageError(f"--sim-shard {text}: give a part from 1 to {parts or 'N'}, such as 1/4")
    return int(part) - 1, int(parts)


def seeds(config: pytest.Config, wanted: int) -> list[int] | None:
    """Return the seeds with which to run a test that wants so many; None: only 0, which its name does not have."""
    recorded = replay.recorded(config)
    if recorded is not None:
        return [recorded.seed] if recorded.names_seed else None
    part, parts = shard(config)
    number = config.getoption("--sim-seeds") or wanted
    chosen = [seed for seed in range(number) if seed % parts == part]
    return None if number == parts == 1 else chosen


def artifacts(config: pytest.Config) -> Path | None:
    """Return the folder for reports; None: they are not wanted."""
    folder = config.getoption("--sim-artifacts")
    return None if folder is None else Path(folder)
