"""The simulator is true: the same programs behind the same faults do the same between two Linux kernels.

The programs of ``programs.py`` run in virtual time, and in two network namespaces with a relay between them, which
applies the same faults to real frames in real time. What the programs see must be equal: bytes, errors, who sees
them. Times may differ within the bounds of ``scenarios.py``, which say why.
"""

from __future__ import annotations

import os
import sys

import pytest

from slirpy.testing.sim.trace import FrameRecord
from tests.system.sim.compare import late, unequal
from tests.system.sim.outcome import Outcome
from tests.system.sim.programs import PROGRAMS
from tests.system.sim.scenarios import SCENARIOS
from tests.system.sim.worlds import several, virtual

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root on Linux"),
]

TRIES = 12
"""Runs in real time until one is within the bounds: on a busy machine most may be late, on a quiet one none is."""


@pytest.fixture(scope="module")
def linux() -> dict[str, Outcome]:
    """The outcomes of all scenarios between two kernels."""
    return several(SCENARIOS)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] if name == "bulk up" else []) for name in SCENARIOS]
)
def test_same_as_linux(name: str, linux: dict[str, Outcome]) -> None:
    scenario = SCENARIOS[name]
    simulated, net = virtual(name)
    assert not net.idle_faults(), "the faults must hit something"
    real = linux[name]
    for _ in range(TRIES):
        assert not unequal(scenario, simulated, real)
        found = late(scenario, simulated, real)
        if not found:
            return
        real = several([name])[name]
    raise AssertionError(found)


def test_each_scenario_has_programs() -> None:
    assert list(PROGRAMS) == list(SCENARIOS)


def test_frames_of_a_slow_path_are_lost_in_its_queue() -> None:
    """The scenario is what its name says."""
    _, net = virtual("slow path with a full queue")
    records = [record for record in net.trace.records if isinstance(record, FrameRecord)]
    assert any(record.fault == "queue full" for record in records)
