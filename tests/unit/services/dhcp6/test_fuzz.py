"""Random messages of a few clients, with random answers to probes: the lease table stays consistent."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirpy import Config
from slirpy.services.dhcp6 import Dhcp6Service
from slirpy.testing.strategies import dhcp6_messages
from slirpy.testing.strategies.damage import damaged
from slirpy.testing.strategies.dhcp6 import KNOWN_OPTIONS
from slirpy.wire import dhcp6
from tests.support.fake_network import datagram
from tests.unit.services.dhcp.crowd import CLIENTS, RandomClients, check_table
from tests.unit.services.dhcp6.world import (
    GROUP,
    INFORMATION_REQUEST,
    RENEW,
    REPLY,
    REQUEST,
    SERVER_ID,
    SOLICIT,
    Reply,
    World,
    duid,
    ia,
    ip,
    link_local,
    mac,
    oro,
)  # fmt: skip

CONFIGS = [
    Config(),
    Config(
        net6="2001:db8::/123",
        static_leases=["52:54:00:00:00:03=2001:db8::14,web", f"id:{duid(4).hex(':')}=2001:db8::15"],
    ),
    Config(net6="2001:db8::/124", dhcpstart6="2001:db8::5", lease_time=30),
]


class Crowd(RandomClients):
    """A server and random clients."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, CONFIGS)
        self.service = Dhcp6Service(self.config, self.network, self.book)
        self.offered = [bytes(16)]

    def policy_address(self) -> IPv6Address:
        return IPv6Address(self.address())

    def address(self) -> bytes:
        near = self.config.net6.network_address + self.random.randrange(34)
        return self.random.choice([self.random.choice(self.offered), near.packed])

    def association(self) -> bytes:
        random = self.random
        if random.random() < 0.1:
            return dhcp6.pack_option(random.choice([dhcp6.IA_TA, dhcp6.IA_PD]), bytes(12))
        hints = [self.address() for _ in range(random.choice((0, 1, 1, 1, 2)))]
        return ia(*hints, iaid=bytes((0, 0, 0, random.randrange(2))))

    def message(self, client: int) -> bytes:
        random = self.random
        kind = random.choice([*range(1, 12), SOLICIT, SOLICIT, REQUEST, REQUEST, REQUEST, RENEW])
        options = [self.association() for _ in range(random.choice((0, 1, 1, 1, 2, 6)))]
        if random.random() < 0.95:
            options.append(
                dhcp6.pack_option(dhcp6.CLIENT_ID, duid(random.choice([client, client, client % 4])))
            )
        if kind in (3, 5, 8, 9):
            options.append(dhcp6.pack_option(dhcp6.SERVER_ID, SERVER_ID if random.random() < 0.9 else b"other"))
        rest = [
            dhcp6.pack_option(dhcp6.RAPID_COMMIT, b""),
            dhcp6.pack_option(dhcp6.CLIENT_FQDN, b"\1\5name%d" % random.randrange(3)),
            dhcp6.pack_option(dhcp6.VENDOR_CLASS, b"\0\0\1\x57\0\x09PXEClient"),
            oro(23, 24, 39, 59),
        ]
        options += [option for option in rest if random.random() < 0.3]
        return dhcp6.write_message(kind, b"abc", options)

    def step(self) -> None:
        random = self.random
        client = random.randrange(CLIENTS)
        payload = self.message(client)
        if random.random() < 0.1:
            head = bytes((dhcp6.RELAY_FORWARD, 0)) + bytes(16) + link_local(client)
            payload = head + dhcp6.pack_option(dhcp6.RELAY_MESSAGE, payload)
        self.service.datagram(
            datagram(
                payload,
                source=link_local(client),
                destination=GROUP,
                mac=mac(client),
                link=random.choice(self.links),
            )
        )
        self.disturb(self.book.v6)
        for sent in self.network.take():
            if sent.payload[0] != dhcp6.RELAY_REPLY:
                self.check_answer(Reply(sent))

    def check_answer(self, reply: Reply) -> None:
        """No address of a virtual server or another network, and none twice."""
        assert len(set(reply.addresses)) == len(reply.addresses)
        assert all(address in self.book.v6.table.pool for address in reply.addresses)
        assert not set(reply.addresses) & self.config.server_addresses
        assert len(reply.sent.payload) < 1200
        self.offered += reply.addresses


@pytest.mark.parametrize("seed", range(30))
def test_the_table_stays_consistent(seed: int) -> None:
    crowd = Crowd(seed)
    for _ in range(200):
        crowd.step()
        check_table(crowd.book.v6.table)
    assert crowd.network.stats.dhcp6_reply > 20


def test_no_two_clients_have_one_address() -> None:
    world = World(Config(net6="2001:db8::/118"))
    found = [world.lease(client) for client in range(1, 500)]
    assert len(set(found)) == len(found)
    assert len(world.book.leases()) == len(found)


def test_the_table_is_bounded() -> None:
    world = World(Config(net6="2000::/4"))
    world.book.v6.table._limit = 200
    for client in range(1, 1000):
        world.say(SOLICIT, client, ia())
    assert len(world.book.v6.table) == 200
    assert world.stats.drop_dhcp_pool_empty == 799
    assert len(world.book.v6.table._expiry) <= 464


@given(dhcp6_messages("garbage") | dhcp6_messages("near") | damaged(dhcp6_messages()))
def test_garbage(payload: bytes) -> None:
    World().hear(payload)


@given(
    st.sampled_from([*range(1, 12), 12]),
    st.lists(st.tuples(st.sampled_from(KNOWN_OPTIONS), st.binary(max_size=40)), max_size=8),
    st.booleans(),
)
def test_known_options_with_any_value(kind: int, options: list[tuple[int, bytes]], identified: bool) -> None:
    world = World(Config(bootfile="x", dnssearch=["lan"]))
    packed = [dhcp6.pack_option(*option) for option in options]
    if identified:
        packed = [dhcp6.pack_option(1, duid(1)), *packed]
        if kind in (3, 5, 8, 9):
            packed.append(dhcp6.pack_option(2, SERVER_ID))
    for sent in world.hear(dhcp6.write_message(kind, b"abc", packed)):
        if sent.payload[0] != dhcp6.RELAY_REPLY:
            assert Reply(sent).kind in (REPLY, 2)
    assert world.reply(INFORMATION_REQUEST).message.dns_servers == (ip("fec0::3"),)
