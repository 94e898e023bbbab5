"""Networks in virtual time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slirpy.testing.sim.network import Network


@pytest.fixture
def net() -> Iterator[Network]:
    """Return a network without hosts."""
    with Network() as made:
        yield made
