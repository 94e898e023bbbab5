"""Random messages of a few clients, with random answers to probes: the lease table stays consistent."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from slirpy import Config
from slirpy.services.dhcp import DhcpService
from slirpy.wire.dhcp import CLIENT_ID, HOSTNAME, MESSAGE_TYPE, REQUESTED_ADDRESS, SERVER_ID, VENDOR_CLASS
from tests.support.fake_network import datagram
from tests.unit.services.dhcp.crowd import CLIENTS, RandomClients, check_table
from tests.unit.services.dhcp.world import DECLINE, GATEWAY, INFORM, mac

CONFIGS = [
    Config(),
    Config(net="10.0.2.0/27", static_leases=["52:54:00:00:00:03=10.0.2.20,web", "id:db-1=10.0.2.21"]),
    Config(net="10.0.2.0/28", dhcpstart="10.0.2.5", lease_time=30),
]


class Crowd(RandomClients):
    """A server and random clients."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, CONFIGS)
        self.service = DhcpService(self.config, self.network, self.book)
        self.offered = [bytes(4)]

    def policy_address(self) -> IPv4Address:
        return IPv4Address(bytes((10, 0, 2, self.random.randrange(16, 30))))

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
        self.disturb(self.book.v4)
        self.offered += [sent.payload[16:20] for sent in self.network.take()]


@pytest.mark.parametrize("seed", range(20))
def test_the_table_stays_consistent(seed: int) -> None:
    crowd = Crowd(seed)
    for _ in range(150):
        crowd.step()
        check_table(crowd.book.v4.table)
    assert crowd.network.stats.dhcp_ack > 5
