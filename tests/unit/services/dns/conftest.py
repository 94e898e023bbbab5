"""A DNS server between a guest and two resolvers."""

from __future__ import annotations

import pytest

from tests.unit.services.dns.world import World


@pytest.fixture
def world() -> World:
    return World()
