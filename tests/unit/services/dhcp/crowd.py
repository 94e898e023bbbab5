"""Surroundings of a server when many clients talk at random, and what must be true then."""

from __future__ import annotations

import abc
from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from random import Random
from typing import cast

from slirpy import Config, DhcpAnswer, DhcpRequest, StateError
from slirpy.core.neighbor import Neighbors
from slirpy.core.port import LinkPort
from slirpy.core.probes import Occupant
from slirpy.services.dhcp import LeaseBook
from slirpy.services.dhcp.book import FamilyLeases
from slirpy.services.dhcp.leases import LeaseTable
from tests.support.fake_network import SECOND, FakeNetwork, FakeSink
from tests.unit.services.dhcp.world import mac

CLIENTS = 12


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


class RandomClients(abc.ABC):
    """A lease book, random clients, and a random policy; a subclass has the server and the messages."""

    def __init__(self, seed: int, configs: Sequence[Config]) -> None:
        self.random = random = Random(seed)
        self.network = FakeNetwork()
        self.links = [FakeSink() for _ in range(random.randrange(1, 4))]
        neighbors = cast("Neighbors", RandomNeighbors(random, self.network, self.links, CLIENTS))
        self.config = random.choice(configs)
        if random.random() < 0.3:
            self.config = replace(self.config, lease_policy=self._policy)
        self.book = LeaseBook(self.config, self.network, None, lambda: len(self.links), neighbors)

    @abc.abstractmethod
    def policy_address(self) -> IPv4Address | IPv6Address:
        """An address that the policy gives, in the pool or not."""

    def _policy(self, request: DhcpRequest) -> DhcpAnswer | None:
        chance = self.random.random()
        if chance < 0.1:
            return DhcpAnswer(refuse=True)
        if chance < 0.2:
            return DhcpAnswer(address=self.policy_address())
        return DhcpAnswer(hostname="h", lease_time=2) if chance < 0.3 else None

    def disturb(self, leases: FamilyLeases) -> None:
        """Reserve an address and let time pass, at times."""
        random = self.random
        if random.random() < 0.05:
            try:
                leases.reserve(mac(random.randrange(CLIENTS)))
            except StateError:
                pass
        if random.random() < 0.4:
            self.network.run(random.choice((0.05, 0.2, 1, 70, 700)))


def check_table(table: LeaseTable) -> None:
    """Assert that only the table holds leases, and that its counts are right."""
    index = table._index
    leases = {*map(id, table._by_address.values())}
    for kept in (index._by_id, index._by_mac, table._bound, table._shares._held):
        assert {*map(id, kept.values())} <= leases
    assert table._pooled == sum(address not in table._static for address in table._by_address)
    families = {len(table.pool.first)}
    owners = table._names._owners.values()
    assert all(owners)
    assert {id(lease) for each in owners for key, lease in each.items() if key in families} <= leases
