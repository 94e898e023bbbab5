"""Other people's programs, unmodified, on both ends of a bad path: 5 % loss, 50 ms and up to 10 ms more each way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slirpy.links.faultypath import Faults
from slirpy.testing.sim.network import Network
from slirpy.units import MS
from tests.sim.programs.packages import Packages
from tests.sim.programs.path import BAD_PATH


@pytest.fixture
def net() -> Iterator[Network]:
    """Hosts ``server`` and ``client`` with a bad path between them."""
    with Network(1, path=BAD_PATH) as network:
        network.host("server")
        network.host("client")
        yield network


@pytest.fixture
def clear_net() -> Iterator[Network]:
    """Hosts ``server`` and ``client``, 50 ms apart, without losses."""
    with Network(path=Faults(delay=50 * MS)) as network:
        network.host("server")
        network.host("client")
        yield network


@pytest.fixture
def package() -> Packages:
    """Function that imports a package by name."""
    return Packages()
