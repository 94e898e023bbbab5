"""The pool of addresses is shared among links."""

from __future__ import annotations

from slirpy.config import Config
from slirpy.services.dhcp import DhcpService, Lease, LeaseBook, LeaseState
from slirpy.services.dhcp.lease import Client
from slirpy.services.dhcp.leases import LeaseTable
from slirpy.services.dhcp.pool import ipv4_pool
from tests.support.fake_network import SECOND, FakeSink
from tests.unit.services.dhcp.world import DAY, DISCOVER, GATEWAY, REQUEST, World, bind, mac

POOL = 28
"""Addresses of a /27 that guests can have: 30, without the gateway and the DNS server."""


class Crowd(World):
    """Two links beside each other, or one."""

    def __init__(self, links: int = 2) -> None:
        super().__init__(Config(net="10.0.2.0/27"))
        self.links = links
        config = Config(net="10.0.2.0/27")
        self.book = LeaseBook(config, self.network, None, lambda: self.links)
        self.service = DhcpService(config, self.network, self.book)
        self.good, self.evil = FakeSink(), self.link
        self.next = 1000

    def flood(self, number: int, *, bind: bool = True) -> int:
        """Request addresses for this many MAC addresses of one guest; returns how many are assigned."""
        self.link = self.evil
        got = 0
        for _ in range(number):
            self.next += 1
            offer = self.say(DISCOVER, self.next)
            if offer is not None:
                got += 1
                if bind:
                    self.reply(REQUEST, self.next, (50, offer.yiaddr), (54, GATEWAY))
        self.link = self.good
        return got


def check(world: World) -> None:
    """The book-keeping agrees with the table."""
    table, now = world.book.v4.table, world.network.now
    table._shares._expire(now)
    shares = table._shares
    assert set(shares._held) == set(shares._link) == {lease.address for lease in table.current(now)}
    links = set(shares._link.values())
    assert sum(map(shares.number, links)) == len(shares)
    assert len(shares._number) == len(links)
    offers = [a for offered in shares._offered.values() for a in offered]
    assert set(offers) == {x.address for x in table.current(now) if x.state is LeaseState.OFFERED}


def test_a_link_alone_may_have_all() -> None:
    world = Crowd(links=1)
    assert world.flood(40) == POOL


def test_a_link_beside_another_leaves_as_many_as_it_has() -> None:
    world = Crowd()
    assert world.flood(40) == 14
    assert world.stats.drop_dhcp_pool_empty == 26
    check(world)
    for client in range(1, 8):
        assert world.lease(client)
    assert world.say(DISCOVER, 9) is None  # it has 7, and 7 are left
    world.link = FakeSink()
    assert world.lease(10)  # a third link
    check(world)


def test_a_client_over_its_links_share_keeps_its_address() -> None:
    world = Crowd(links=1)
    world.link = world.evil
    address = world.lease(1)
    world.flood(40)
    world.links = 2
    world.link = world.evil
    assert world.reply(REQUEST, 1, ciaddr=address).yiaddr == address
    assert world.reply(DISCOVER, 1).yiaddr == address


def test_an_expired_lease_counts_no_more_and_cannot_be_had_beyond_the_share() -> None:
    world = Crowd(links=1)
    assert world.flood(40) == POOL
    world.links = 2
    world.network.run(DAY)
    check(world)
    world.next = 1000
    assert world.flood(40) == 14  # the same clients, whose addresses are in the table
    check(world)


def test_offers_make_way_for_a_link_that_has_less() -> None:
    world = Crowd(links=1)
    assert world.flood(40, bind=False) == POOL
    world.links = 2
    got = [world.say(DISCOVER, client) for client in range(1, 20)]
    assert [offer is not None for offer in got] == [True] + [False] * 18
    first = got[0]
    assert first is not None
    check(world)
    assert world.reply(REQUEST, 1, (50, first.yiaddr), (54, GATEWAY)).yiaddr == first.yiaddr
    world.link = world.evil
    assert world.reply(REQUEST, 1001, (50, first.yiaddr), (54, GATEWAY)).options[53] == b"\6"
    check(world)


def test_no_bound_lease_makes_way() -> None:
    world = Crowd(links=1)
    assert world.flood(40) == POOL
    world.links = 2
    assert world.say(DISCOVER, 1) is None
    assert len(world.book.leases()) == POOL


def test_addresses_that_are_declined_count() -> None:
    world = Crowd()
    for client in range(40):
        world.link = world.evil
        offer = world.say(DISCOVER, client)
        if offer is not None:
            world.say(4, client, (50, offer.yiaddr), (54, GATEWAY))
    assert world.stats.dhcp_decline == 14
    check(world)
    world.link = world.good
    assert world.lease(50)


def test_a_released_address_returns_to_the_share() -> None:
    world = Crowd()
    world.flood(40)
    world.link = world.evil
    for lease in world.book.leases():
        world.say(7, int.from_bytes(lease.mac[2:], "big"), (54, GATEWAY), ciaddr=lease.address)
    check(world)
    assert world.flood(40) == 14


def test_reserved_and_restored_leases_count_for_no_share() -> None:
    table = LeaseTable(ipv4_pool(Config(net="10.0.2.0/27")), links=lambda: 2)
    old = [
        Lease(bytes((10, 0, 2, n)), mac(n), None, None, DAY * SECOND, LeaseState.BOUND, seconds=DAY)
        for n in range(5, 15)
    ]
    assert table.restore(old, 0) == 0
    assert all(bind(table, Client(mac(100 + n))) for n in range(5))
    assert [bool(bind(table, Client(mac(200 + n), link="a"))) for n in range(8)] == [True] * 7 + [False]
    assert table.bind(Client(mac(5), link="a"), old[0].address, 0)  # renewed: it is known whose it is
    assert table._shares.number("a") == 8
    address = bytes((10, 0, 2, 30))
    assert table.bind(Client(mac(300), link="a", fixed=address), address, 0)  # the program wants it


def test_a_client_that_changes_its_address_holds_one() -> None:
    world = Crowd()
    world.link = world.evil
    world.lease(1)
    for last in (20, 25, 30):
        assert world.reply(REQUEST, 1, (50, bytes((10, 0, 2, last)))).yiaddr[3] == last
    check(world)
    assert world.flood(40) == 13
