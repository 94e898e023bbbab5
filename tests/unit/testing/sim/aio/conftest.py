"""A network with an echo server, for programs on asyncio."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slirpy.testing.sim.network import Network
from tests.unit.testing.sim.aio.servers import serve_echo


@pytest.fixture
def net() -> Iterator[Network]:
    """Hosts ``server``, with an echo server at port 7, and ``client``."""
    with Network(1) as network:
        network.host("server").run(serve_echo)
        network.host("client")
        yield network
