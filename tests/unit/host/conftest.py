"""A poller and the sockets of the host that it waits for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slirpy.host.poller import SelectorPoller
from slirpy.host.sockets import SocketHost


@pytest.fixture
def poller() -> Iterator[SelectorPoller]:
    poller = SelectorPoller()
    yield poller
    poller.close()


@pytest.fixture
def host(poller: SelectorPoller) -> Iterator[SocketHost]:
    host = SocketHost(poller)
    yield host
    host.close()
