"""Frames stay the same, byte for byte, while the code changes its shape.

``same_bytes.json`` has a hash of the transcript of each scenario: times, directions, frames. A change that is meant
to alter what goes over the wire renews it, with ``SLIRPY_RECORD=1`` in the environment, and says why in its commit.
"""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from slirpy.testing import VirtualNetwork
from tests.sim.scenarios import SCENARIOS, folder_of_scenarios

RECORD = bool(os.environ.get("SLIRPY_RECORD"))


def digest(net: VirtualNetwork) -> str:
    """The hash of everything that crossed the links."""
    whole = hashlib.sha256()
    for captured in net.transcript:
        whole.update(b"%d %s %d " % (captured.time, captured.direction.encode("ascii"), len(captured.frame)))
        whole.update(captured.frame)
    return whole.hexdigest()


def recorded() -> dict[str, str]:
    """The recorded hashes; empty before the first time."""
    path = folder_of_scenarios()
    found: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return found


@pytest.mark.parametrize("name", SCENARIOS)
def test_frames_are_as_recorded(name: str) -> None:
    net = SCENARIOS[name]()
    assert len(net.transcript) >= 4, "nothing happened"
    found = digest(net)
    if RECORD:
        path = folder_of_scenarios()
        path.write_text(json.dumps(recorded() | {name: found}, indent=1, sort_keys=True) + "\n")
    assert recorded()[name] == found


def test_every_scenario_is_recorded() -> None:
    assert set(recorded()) == set(SCENARIOS)
    assert len(SCENARIOS) >= 40
    assert len(set(recorded().values())) == len(SCENARIOS), "two scenarios do the same"
