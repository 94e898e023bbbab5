"""Surroundings of a server when many clients talk at random, and what must be true then."""

from __future__ import annotations

from collections.abc import Callable, Container
from random import Random
from typing import cast

from slirpy.core.port import LinkPort
from slirpy.core.probes import Occupant
from slirpy.services.dhcp.leases import LeaseTable
from tests.support.fake_network import SECOND, FakeNetwork, FakeSink
from tests.unit.services.dhcp.world import mac


class RandomNeighbors:
    """A neighbour table that hears from anybody anywhere."""

    def __init__(self, random: Random, network: FakeNetwork, links: list[FakeSink], number: int) -> None:
        self.random = random
        self.network = network
        self.links = links
        self.number = number

    def _anybody(self) -> Occupant:
        heard = self.network.now - self.random.randrange(8) * SECOND
        link = cast("LinkPort", self.random.choice(self.links))
        return Occupant(mac(self.random.randrange(self.number)), link, heard)

    def occupant(self, address: bytes) -> Occupant | None:
        return self._anybody() if self.random.random() < 0.25 else None

    def probe(
        self, address: bytes, time: int, but: Container[bytes], done: Callable[[Occupant | None], None]
    ) -> None:
        user = self._anybody() if self.random.random() < 0.4 else None
        answer = None if user is None or user.mac in but else user
        self.network.call_at(self.network.now + time, lambda: done(answer))

    def attached(self, link: object) -> bool:
        return self.random.random() < 0.8


def check_table(table: LeaseTable) -> None:
    """Nothing but the table itself keeps a lease, and the table counts right."""
    index = table._index
    leases = {*map(id, table._by_address.values())}
    for kept in (index._by_id, index._by_mac, table._bound, table._shares._held):
        assert {*map(id, kept.values())} <= leases
    assert table._pooled == sum(address not in table._static for address in table._by_address)
    families = {len(table.pool.first)}
    owners = table._names._owners.values()
    assert all(owners)
    assert {id(lease) for each in owners for key, lease in each.items() if key in families} <= leases
