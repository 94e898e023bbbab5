"""A DHCP server with what clients say to it."""

from __future__ import annotations

import pytest

from tests.unit.services.dhcp.world import World


@pytest.fixture
def world() -> World:
    return World()
