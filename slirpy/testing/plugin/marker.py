"""The marker ``sim``: how a test's network is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from slirpy.testing.sim.wellknown import MAIN_HOST

__all__ = ["MARKER", "SimMarker", "marker_of"]

MARKER = (
    "sim(seeds=1, host='client', limit=600, leftovers=False, **network): run the test in a slirpy.testing.Network,"
    " once for each seed from 0 on, a coroutine as a program of `host`; `network` are arguments of Network."
)
_OWN = ("seeds", "host", "limit", "leftovers")


@dataclass(frozen=True)
class SimMarker:
    """The arguments of the marker."""

    seeds: int = 1
    """Number of seeds, from 0 on."""
    host: str = MAIN_HOST
    """Name of the host on which a coroutine runs."""
    limit: float = 600.0
    """Maximum seconds of virtual time for a coroutine."""
    leftovers: bool = False
    """True: a coroutine may leave tasks that have not ended."""
    network: dict[str, Any] = field(default_factory=dict)
    """Arguments of the network, other than the seed."""


def marker_of(item: Any) -> SimMarker | None:
    """Return the marker of a test; the nearest one of function, class and module; None: it has none.

    Raises:
        pytest.UsageError: an argument that cannot be used.
    """
    merged: dict[str, Any] = {}
    found = False
    for marker in reversed(list(item.iter_markers("sim"))):
        found = True
        if marker.args:
            raise pytest.UsageError(f"{item.nodeid}: the marker sim takes keywords only, such as sim(seeds=20)")
        merged.update(marker.kwargs)
    if not found:
        return None
    own = {name: merged.pop(name) for name in _OWN if name in merged}
    seeds = own.get("seeds", 1)
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise pytest.UsageError(
            f"{item.nodeid}: seeds of the marker sim is a number from 1; given was {seeds!r}"
        )
    if "seed" in merged:
        raise pytest.UsageError(
            f"{item.nodeid}: the marker sim takes seeds=N, the number of seeds, and no seed"
        )
    return SimMarker(**own, network=merged)
