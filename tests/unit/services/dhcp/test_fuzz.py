"""Random messages of a few clients, with random answers to probes: the lease table stays consistent."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from random import Random
from typing import cast

import pytest

from slirpy import Config, DhcpAnswer, DhcpRequest, StateError
from slirpy.core.neighbor import Neighbors
from slirpy.services.dhcp import DhcpService, LeaseBook
from slirpy.wire.dhcp import CLIENT_ID, HOSTNAME, MESSAGE_TYPE, REQUESTED_ADDRESS, SERVER_ID, VENDOR_CLASS
from tests.support.fake_network import FakeNetwork, FakeSink, datagram
from tests.unit.services.dhcp.crowd import RandomNeighbors, check_table
from tests.unit.services.dhcp.world import DECLINE, GATEWAY, INFORM, mac

CLIENTS = 12
CONFIGS = [
    Config(),
    Config(net="10.0.2.0/27", static_leases=["52:54:00:00:00:03=10.0.2.20,web", "id:db-1=10.0.2.21"]),
    Config(net="10.0.2.0/28", dhcpstart="10.0.2.5", lease_time=30),
]


class Crowd:
    """A server and random clients."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        self.network = FakeNetwork()
        self.links = [FakeSink() for _ in range(random.randrange(1, 4))]
        neighbors = cast("Neighbors", RandomNeighbors(random, self.network, self.links, CLIENTS))
        config = random.choice(CONFIGS)
        if random.random() < 0.3:
            config = replace(config, lease_policy=self.policy)
        self.book = LeaseBook(config, self.network, None, lambda: len(self.links), neighbors)
        self.service = DhcpService(config, self.network, self.book)
        self.offered = [bytes(4)]

    def policy(self, request: DhcpRequest) -> DhcpAnswer | None:
        chance = self.random.random()
        if chance < 0.1:
            return DhcpAnswer(refuse=True)
        if chance < 0.2:
            return DhcpAnswer(address=IPv4Address(bytes((10, 0, 2, self.random.randrange(16, 30)))))
        return DhcpAnswer(hostname="h", lease_time=2) if chance < 0.3 else None

    def address(self) -> bytes:
        return self.random.choice(
            [self.random.choice(self.offered), bytes((10, 0, 2, self.random.randrange(32)))]
        )

    def message(self, client: int) -> bytes:
        random = self.random
        options = [(MESSAGE_TYPE, bytes((random.choice([*range(1, INFORM + 1), DECLINE, 1, 3, 3, 3]),)))]
        values = {
            REQUESTED_ADDRESS: self.address(),
            SERVER_ID: GATEWAY,
            CLIENT_ID: random.choice([b"db-1", b"\xff" + bytes((client % 4,))]),
            HOSTNAME: b"name%d" % random.randrange(3),
            VENDOR_CLASS: random.choice([b"PXEClient", b"x"]),
        }
        options += [option for option in values.items() if random.random() < 0.4]
        if random.random() < 0.1:
            options = []  # BOOTP
        ciaddr = self.address() if random.random() < 0.3 else bytes(4)
        fixed = bytes((1, 1, 6)) + bytes(9) + ciaddr + bytes(12) + mac(client).ljust(16, b"\0") + bytes(192)
        area = b"".join(bytes((code, len(value))) + value for code, value in options)
        return (fixed + b"\x63\x82\x53\x63" + area + b"\xff").ljust(300, b"\0")

    def step(self) -> None:
        random = self.random
        client = random.randrange(CLIENTS)
        self.service.datagram(datagram(self.message(client), mac=mac(client), link=random.choice(self.links)))
        if random.random() < 0.05:
            try:
                self.book.v4.reserve(mac(random.randrange(CLIENTS)))
            except StateError:
                pass
        if random.random() < 0.4:
            self.network.run(random.choice((0.05, 0.2, 1, 70, 700)))
        self.offered += [sent.payload[16:20] for sent in self.network.take()]

    def check(self) -> None:
        check_table(self.book.v4.table)


@pytest.mark.parametrize("seed", range(20))
def test_the_table_stays_consistent(seed: int) -> None:
    crowd = Crowd(seed)
    for _ in range(150):
        crowd.step()
        crowd.check()
    assert crowd.network.stats.dhcp_ack > 5
