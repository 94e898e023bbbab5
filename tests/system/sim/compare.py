"""Differences between the two worlds."""

from __future__ import annotations

import json
from typing import Any

from tests.system.sim.outcome import Outcome
from tests.system.sim.scenarios import Scenario

__all__ = ["late", "unequal"]

SHARE = 0.1
"""Share of a time by which it may differ, beside the scenario's bound."""


def unequal(scenario: Scenario, simulated: Outcome, real: Outcome) -> list[str]:
    """Describe the facts that differ: they must not, at any speed of the machine."""
    ours, theirs = _facts(simulated), _facts(real)
    found = []
    for name in sorted({*ours, *theirs}):
        one, other = ours.get(name), theirs.get(name)
        if one == other:
            continue
        if (
            not isinstance(one, int)
            or not isinstance(other, int)
            or abs(one - other) > scenario.near.get(name, 0)
        ):
            found.append(f"{name}: {one} simulated, {other} with Linux")
    if set(simulated.times) != set(real.times):
        found.append(f"points of time: {sorted(simulated.times)} simulated, {sorted(real.times)} with Linux")
    return found


def _facts(outcome: Outcome) -> dict[str, Any]:
    flat = {f"{side} {name}": value for side, facts in outcome.facts.items() for name, value in facts.items()}
    known: dict[str, Any] = json.loads(json.dumps(flat))  # tuples are lists in a report
    return known


def late(scenario: Scenario, simulated: Outcome, real: Outcome) -> list[str]:
    """Describe the times, and the numbers of retransmissions, that differ by more than the scenario allows.

    A busy machine may cause it: then another try may not show it.
    """
    found = [
        f"{name}: {when:.3f} s simulated, {real.times[name]:.3f} s with Linux"
        for name, when in simulated.times.items()
        if name in real.times and abs(when - real.times[name]) > scenario.bound + SHARE * when
    ]
    side = scenario.resent
    if side and len(simulated.resent[side]) != len(real.resent[side]):
        found.append(f"{side} sent again at {simulated.resent[side]} simulated, {real.resent[side]} with Linux")
    return found
