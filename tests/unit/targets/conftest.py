"""A guest on a network that needs nothing of the host."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slirpy import Config, Slirp
from tests.support.driven import Driven


@pytest.fixture
def driven() -> Iterator[Driven]:
    with Slirp(Config()) as net:
        yield Driven(net)
