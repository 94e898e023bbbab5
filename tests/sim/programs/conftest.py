"""Other people's programs, unmodified, on both ends of a bad path: 5 % loss, 50 ms and up to 10 ms more each way."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from slirpy.testing.sim.network import Network
from tests.sim.programs.path import BAD_PATH
from tests.system.machine import missing


@pytest.fixture
def net() -> Iterator[Network]:
    """Hosts ``server`` and ``client`` with a bad path between them."""
    with Network(1, path=BAD_PATH) as network:
        network.host("server")
        network.host("client")
        yield network


class Packages:
    """Packages of the extra ``programs``."""

    def __call__(self, name: str) -> Any:
        """Import a package, or skip the test if it is not there."""
        try:
            module: ModuleType = importlib.import_module(name)
        except ImportError as error:
            missing(f"{error}: install slirpy[programs]")
        return module


@pytest.fixture
def package() -> Packages:
    """Function that imports a package by name."""
    return Packages()
