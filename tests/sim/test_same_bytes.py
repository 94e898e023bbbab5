"""Frames stay the same, byte for byte, while the code changes its shape; and each is counted as before.

``same_bytes.json`` has a hash of the transcript of each scenario: times, directions, frames; ``same_counters.json``
has the counters at its end, with those of its flows. A change that is meant to alter what goes over the wire, or what
is counted, renews them, with ``SLIRPY_RECORD=1`` in the environment, and says why in its commit.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from slirpy.testing import VirtualNetwork
from tests.sim.scenarios import SCENARIOS

RECORD = bool(os.environ.get("SLIRPY_RECORD"))
BYTES, COUNTERS = (Path(__file__).with_name(name) for name in ("same_bytes.json", "same_counters.json"))
FLOW_COUNTERS = ("bytes_in", "bytes_out", "packets_in", "packets_out", "queued_in", "queued_out")


def digest(net: VirtualNetwork) -> str:
    """The hash of everything that crossed the links."""
    whole = hashlib.sha256()
    for captured in net.transcript:
        whole.update(b"%d %s %d " % (captured.time, captured.direction.encode("ascii"), len(captured.frame)))
        whole.update(captured.frame)
    return whole.hexdigest()


def counted(net: VirtualNetwork) -> dict[str, int]:
    """The counters that are not 0, and the sums of those of all flows that are open."""
    flows = net.stack.flows()
    sums = {name: sum(getattr(flow, name) for flow in flows) for name in FLOW_COUNTERS}
    return {**net.stack.stats.nonzero(), "flows": len(flows), **sums}


def recorded(path: Path) -> dict[str, Any]:
    """Recorded hashes, by scenario; empty before the first time."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def compare(path: Path, name: str, found: object) -> None:
    """Compare with what is recorded, or record it."""
    if RECORD:
        path.write_text(json.dumps(recorded(path) | {name: found}, indent=1, sort_keys=True) + "\n")
    assert recorded(path)[name] == found


@pytest.mark.parametrize("name", SCENARIOS)
def test_frames_and_counters_are_as_recorded(name: str) -> None:
    net = SCENARIOS[name]()
    assert len(net.transcript) >= 4, "nothing happened"
    compare(BYTES, name, digest(net))
    compare(COUNTERS, name, counted(net))


def test_every_scenario_is_recorded() -> None:
    assert set(recorded(BYTES)) == set(recorded(COUNTERS)) == set(SCENARIOS)
    assert len(SCENARIOS) >= 40
    assert len(set(recorded(BYTES).values())) == len(SCENARIOS), "two scenarios do the same"
