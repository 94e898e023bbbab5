"""The DHCP server, with dpkt as the judge of the options that it writes."""

from __future__ import annotations

import dpkt
import pytest
from dnslib.label import DNSBuffer
from hypothesis import given
from hypothesis import strategies as st

from slirpy.config import Config
from slirpy.config.dhcp import DhcpAnswer, DhcpRequest
from slirpy.errors import ConfigError, StateError
from slirpy.services.dhcp import LeaseState
from slirpy.services.dhcp.lease import Client
from slirpy.services.dhcp.leases import LeaseTable
from slirpy.services.dhcp.pool import ipv4_pool
from slirpy.testing.strategies import dhcp_messages
from slirpy.testing.strategies.damage import damaged
from slirpy.wire.dhcp import read_message
from tests.support.fake_network import SECOND, datagram
from tests.unit.services.dhcp.world import (
    ACK,
    DAY,
    DECLINE,
    DISCOVER,
    EVERY_MAC,
    EVERYWHERE,
    GATEWAY,
    INFORM,
    NAK,
    OFFER,
    RELEASE,
    REQUEST,
    Reply,
    World,
    bind,
    ip,
    mac,
    offer,
)

# --------------------------------------------------------------------------------------- the exchange


def test_discover_offer_request_ack(world: World) -> None:
    offer = world.reply(DISCOVER)
    assert offer.kind == OFFER
    assert offer.yiaddr == ip("10.0.2.15")
    assert [lease.state for lease in world.book.leases()] == [LeaseState.OFFERED]
    ack = world.reply(REQUEST, 1, (50, ip("10.0.2.15")), (54, GATEWAY))
    assert ack.kind == ACK
    (lease,) = world.book.leases()
    assert (lease.address, lease.mac, lease.state) == (ip("10.0.2.15"), mac(1), LeaseState.BOUND)
    assert lease.expires == world.network.now + DAY * SECOND
    assert world.stats.nonzero() == {
        "dhcp_discover": 1, "dhcp_offer": 1, "dhcp_request": 1, "dhcp_ack": 1,
    }  # fmt: skip


def test_a_reply_has_the_fields_that_the_rfc_wants(world: World) -> None:
    offer = world.reply(DISCOVER, secs=7)
    header, sent = offer.header, offer.sent
    assert (header.op, header.hrd, header.hln, header.hops, header.secs) == (2, 1, 6, 0, 0)
    assert header.xid == 0x1234
    assert header.chaddr == mac(1)
    assert header.siaddr == int.from_bytes(GATEWAY, "big")
    assert len(sent.payload) >= 300
    assert sent[:4] == (GATEWAY, 67, ip("10.0.2.15"), 68)
    assert sent.mac == mac(1)
    assert sent.link is world.link


def test_the_options_and_their_values() -> None:
    config = Config(hostname="guest", domainname="example.test", mtu=9000, net="10.1.0.0/16")
    offer = World(config).reply(DISCOVER)
    assert offer.options == {
        1: ip("255.255.0.0"),
        3: ip("10.1.0.2"),
        6: ip("10.1.0.3"),
        12: b"guest",
        15: b"example.test",
        26: (9000).to_bytes(2, "big"),
        28: ip("10.1.255.255"),
        51: DAY.to_bytes(4, "big"),
        53: bytes((OFFER,)),
        54: ip("10.1.0.2"),
        58: (DAY // 2).to_bytes(4, "big"),
        59: (DAY * 7 // 8).to_bytes(4, "big"),
    }


def test_no_name_is_sent_where_none_is_configured(world: World) -> None:
    assert not {12, 15, 119} & set(world.reply(DISCOVER).options)


def test_the_broadcast_flag_and_a_known_address_decide_where_a_reply_goes(world: World) -> None:
    offer = world.reply(DISCOVER, flags=0x8000)
    assert (offer.sent.destination, offer.sent.mac) == (EVERYWHERE, EVERY_MAC)
    assert offer.header.flags == 0x8000
    world.lease()
    renewed = world.reply(REQUEST, ciaddr=ip("10.0.2.15"), flags=0x8000)
    assert renewed.kind == ACK
    assert (renewed.sent.destination, renewed.sent.mac) == (ip("10.0.2.15"), mac(1))
    assert renewed.header.ciaddr == int.from_bytes(ip("10.0.2.15"), "big")


# -------------------------------------------------------------------------- REQUEST in its four states


def test_selecting_another_server_is_ignored_and_gives_the_offer_back(world: World) -> None:
    world.reply(DISCOVER)
    assert world.say(REQUEST, 1, (50, ip("10.0.2.15")), (54, ip("10.0.2.99"))) is None
    assert world.stats.drop_dhcp_ignored == 1
    assert world.book.leases() == []


def test_init_reboot_without_a_discover_is_acknowledged(world: World) -> None:
    ack = world.reply(REQUEST, 1, (50, ip("10.0.2.77")))
    assert (ack.kind, ack.yiaddr) == (ACK, ip("10.0.2.77"))
    assert world.lease() == ip("10.0.2.77")


def test_without_option_50_ciaddr_counts(world: World) -> None:
    ack = world.reply(REQUEST, ciaddr=ip("10.0.2.20"))
    assert (ack.kind, ack.yiaddr) == (ACK, ip("10.0.2.20"))
    assert ack.sent.destination == ip("10.0.2.20")


@pytest.mark.parametrize(
    "address", ["192.168.1.5", "10.0.2.0", "10.0.2.255", "10.0.2.2", "10.0.2.3", "10.0.3.1", "255.255.255.255"]
)
@pytest.mark.parametrize("renewing", [False, True])
def test_a_foreign_address_gets_a_broadcast_nak(world: World, address: str, renewing: bool) -> None:
    nak = world.say(REQUEST, ciaddr=ip(address)) if renewing else world.say(REQUEST, 1, (50, ip(address)))
    assert nak is not None
    assert nak.kind == NAK
    assert (nak.sent.destination, nak.sent.mac) == (EVERYWHERE, EVERY_MAC)
    assert nak.yiaddr == bytes(4)
    assert nak.header.ciaddr == nak.header.siaddr == 0
    assert set(nak.options) == {53, 54, 56}
    assert world.stats.dhcp_nak == 1
    assert world.book.leases() == []


def test_a_taken_address_gets_a_nak(world: World) -> None:
    address = world.lease(1)
    assert world.reply(REQUEST, 2, (50, address)).kind == NAK
    assert world.reply(REQUEST, 2, ciaddr=address).kind == NAK
    assert world.reply(REQUEST, 1, (50, address)).kind == ACK


def test_an_offered_address_is_not_offered_to_others(world: World) -> None:
    """For a minute, however another client asks for it; then it is free, and its client too late."""
    address = world.reply(DISCOVER, 1).yiaddr
    assert world.reply(DISCOVER, 2, (50, address)).yiaddr != address
    assert world.reply(REQUEST, 3, (50, address)).kind == NAK
    assert world.reply(REQUEST, 4, (50, address), (54, GATEWAY)).kind == NAK
    assert world.reply(REQUEST, 5, ciaddr=address).kind == NAK
    assert world.reply(None, 6).yiaddr != address  # BOOTP
    assert world.book.v4.reserve(mac(7)) != address
    assert not world.book.exclude(address)
    assert world.reply(REQUEST, 1, (50, address), (54, GATEWAY)).kind == ACK


@pytest.mark.parametrize("state", list(LeaseState))
def test_which_addresses_another_client_may_have(world: World, state: LeaseState) -> None:
    address = world.reply(DISCOVER, 1).yiaddr if state is LeaseState.OFFERED else world.lease(1)
    if state is LeaseState.RELEASED:
        world.say(RELEASE, 1, ciaddr=address)
    elif state is LeaseState.DECLINED:
        world.say(DECLINE, 1, (50, address), (54, GATEWAY))
    table = world.book.v4.table
    lease = table.at(address)
    assert lease is not None
    assert lease.state is state
    seconds = {LeaseState.OFFERED: 60, LeaseState.BOUND: DAY, LeaseState.RELEASED: 0, LeaseState.DECLINED: 600}
    if seconds[state]:
        world.network.run(seconds[state] - 1)
        assert not table.available(address, Client(mac(2)), world.network.now)
        world.network.run(1)
    assert table.available(address, Client(mac(2)), world.network.now)
    assert world.reply(REQUEST, 2, (50, address)).kind == ACK


def test_a_request_for_no_address_is_ignored(world: World) -> None:
    assert world.say(REQUEST) is None
    assert world.say(REQUEST, 1, (50, bytes(4))) is None
    assert world.stats.drop_dhcp_ignored == 2


def test_a_client_may_move_to_another_free_address(world: World) -> None:
    assert world.lease() == ip("10.0.2.15")
    assert world.reply(REQUEST, 1, (50, ip("10.0.2.40"))).kind == ACK
    assert [lease.address for lease in world.book.leases()] == [ip("10.0.2.40")]
    assert world.lease(2, (50, ip("10.0.2.15"))) == ip("10.0.2.15")


def test_renewal_prolongs(world: World) -> None:
    address = world.lease()
    world.network.run(DAY / 2)
    world.reply(REQUEST, ciaddr=address)
    world.network.run(DAY - 1)
    assert [lease.address for lease in world.book.leases()] == [address]
    world.network.run(1)
    assert world.book.leases() == []


# ------------------------------------------------------------------------------------- other messages


def test_inform_gets_parameters_and_no_lease(world: World) -> None:
    ack = world.reply(INFORM, ciaddr=ip("10.0.2.200"))
    assert ack.kind == ACK
    assert ack.yiaddr == bytes(4)
    assert not {51, 58, 59} & set(ack.options)
    assert {1, 3, 6, 26, 54} <= set(ack.options)
    assert (ack.sent.destination, ack.sent.mac) == (ip("10.0.2.200"), mac(1))
    assert world.book.leases() == []
    assert world.stats.dhcp_inform == 1


def test_inform_without_ciaddr_is_answered_to_its_source(world: World) -> None:
    assert world.reply(INFORM, source=ip("10.0.2.200")).sent.destination == ip("10.0.2.200")
    assert world.reply(INFORM, source=ip("192.168.0.1")).sent.destination == EVERYWHERE


def test_release_frees_and_its_client_gets_the_same_again(world: World) -> None:
    first = world.lease(1)
    assert world.say(RELEASE, 1, (54, GATEWAY), ciaddr=first) is None
    assert world.stats.dhcp_release == 1
    assert world.book.leases() == []
    assert world.lease(2) != first  # never used ones come first
    assert world.lease(1) == first
    world.say(RELEASE, 1, ciaddr=first)
    assert world.lease(3, (50, first)) == first


def test_an_invalid_release_is_ignored(world: World) -> None:
    first = world.lease(1)
    world.say(RELEASE, 2, ciaddr=first)
    world.say(RELEASE, 1, ciaddr=ip("10.0.2.16"))
    world.say(RELEASE, 1, (54, ip("10.0.2.9")), ciaddr=first)
    assert world.stats.drop_dhcp_ignored == 3
    assert [lease.address for lease in world.book.leases()] == [first]


def test_decline_sets_the_address_aside_for_ten_minutes(world: World) -> None:
    first = world.lease(1)
    world.say(DECLINE, 1, (50, first), (54, GATEWAY))
    assert world.stats.dhcp_decline == 1
    assert [lease.state for lease in world.book.leases()] == [LeaseState.DECLINED]
    assert world.lease(1) != first
    assert world.reply(REQUEST, 2, (50, first)).kind == NAK
    world.network.run(600)
    assert world.reply(REQUEST, 2, (50, first)).kind == ACK


def test_decline_by_a_stranger_is_ignored(world: World) -> None:
    first = world.lease(1)
    world.say(DECLINE, 2, (50, first), (54, GATEWAY))
    world.say(DECLINE, 1, (54, GATEWAY))
    assert world.stats.drop_dhcp_ignored == 2
    assert world.book.v4.first_lease() == first
    world.say(DECLINE, 1, (50, first), (54, GATEWAY))
    assert world.book.v4.first_lease() is None


def test_bootp_gets_an_address_and_no_dhcp_options(world: World) -> None:
    reply = world.reply(None)
    assert reply.yiaddr == ip("10.0.2.15")
    assert len(reply.sent.payload) == 300
    assert not {51, 53, 54, 58, 59} & set(reply.options)
    assert {1, 3, 6} <= set(reply.options)
    assert world.stats.dhcp_bootp == 1
    assert world.book.v4.first_lease() == reply.yiaddr
    assert world.reply(None).yiaddr == reply.yiaddr


def test_bootp_without_the_magic_number(world: World) -> None:
    message = dpkt.dhcp.DHCP(chaddr=mac(1), magic=0, opts=())
    world.service.datagram(datagram(bytes(message).ljust(300, b"\0")))
    (sent,) = world.network.take()
    assert Reply(sent).yiaddr == ip("10.0.2.15")


def test_replies_are_not_answered(world: World) -> None:
    assert world.say(OFFER) is None
    assert world.stats.drop_dhcp_ignored == 1
    assert world.say(DISCOVER, op=2) is None
    assert world.stats.drop_dhcp_malformed == 1


# ---------------------------------------------------------------------------------------- who is who


def test_same_mac_same_address_other_mac_another(world: World) -> None:
    assert world.lease(1) == world.lease(1) == ip("10.0.2.15")
    assert world.lease(2) == ip("10.0.2.16")


def test_the_client_identifier_is_known_under_another_mac(world: World) -> None:
    assert world.lease(1, (61, b"\xffabc")) == world.lease(2, (61, b"\xffabc"))


def test_an_identifier_is_not_forgotten_when_it_is_left_out_once(world: World) -> None:
    address = world.lease(1, (61, b"\xffabc"))
    assert world.lease(1) == address
    assert world.lease(2, (61, b"\xffabc")) == address


def test_two_identifiers_on_one_mac_are_two_clients(world: World) -> None:
    assert world.lease(1, (61, b"\xffabc")) != world.lease(1, (61, b"\xffdef"))


@pytest.mark.parametrize("first", [(), ((61, b"\1" + mac(1)),), ((60, b"PXEClient:Arch"), (61, b"\0uuid"))])
def test_a_machine_that_boots_keeps_its_address(world: World, first: tuple[tuple[int, bytes], ...]) -> None:
    address = world.lease(1, *first)
    assert world.lease(1, (61, b"\xffduid")) == address
    assert world.lease(1, *first) == address
    assert world.lease(1, (61, b"\xffduid")) == address


def test_the_identifier_is_echoed_as_it_came(world: World) -> None:
    for identifier in (b"\1" + mac(1), b"\xff" + bytes(200)):
        assert world.reply(DISCOVER, 1, (61, identifier)).options[61] == identifier
        assert world.reply(REQUEST, 1, (50, ip("9.9.9.9")), (61, identifier)).options[61] == identifier


def test_the_host_name_is_kept_if_it_is_one(world: World) -> None:
    world.lease(1, (12, b"box-1\0"))
    world.lease(2, (12, b"no\xffname\n"))
    assert [lease.hostname for lease in world.book.leases()] == ["box-1", None]


# ------------------------------------------------------------------------------------ the size of it


def test_the_pool_goes_to_the_end_and_then_round() -> None:
    world = World(Config(net="10.0.2.0/29", dhcpstart="10.0.2.5"))
    assert [world.lease(n) for n in range(4)] == [ip(f"10.0.2.{n}") for n in (5, 6, 1, 4)]
    assert world.say(DISCOVER, 9) is None
    assert world.stats.drop_dhcp_pool_empty == 1
    assert world.say(None, 9) is None
    assert world.stats.drop_dhcp_pool_empty == 2
    with pytest.raises(StateError, match="larger network"):
        world.book.v4.reserve(mac(9))


def test_the_pool_skips_explicitly_requested_addresses(world: World) -> None:
    world.reply(REQUEST, 2, (50, ip("10.0.2.16")))
    assert [world.lease(n) for n in (1, 3)] == [ip("10.0.2.15"), ip("10.0.2.17")]
    assert world.lease(2) == ip("10.0.2.16")


def test_the_smallest_network_has_one_address() -> None:
    world = World(Config(net="10.0.2.0/30"))
    assert world.lease(1) == ip("10.0.2.1")
    assert world.say(DISCOVER, 2) is None


def test_expired_leases_are_reused_oldest_first() -> None:
    world = World(Config(net="10.0.2.0/29", dhcpstart="10.0.2.4"))
    addresses = []
    for client in range(4):
        addresses.append(world.lease(client))
        world.network.run(10)
    world.reply(REQUEST, 0, ciaddr=addresses[0])
    world.network.run(DAY - 15)
    assert [world.lease(n) for n in (10, 11)] == addresses[1:3]
    assert world.say(DISCOVER, 12) is None
    world.network.run(20)
    assert [world.lease(n) for n in (12, 13)] == [addresses[3], addresses[0]]


def test_a_reserved_address_is_no_obstacle_to_the_reuse_of_others() -> None:
    world = World(Config(net="10.0.2.0/29", dhcpstart="10.0.2.4"))
    reserved = world.book.v4.reserve(mac(7))
    addresses = [world.lease(n) for n in range(3)]
    world.network.run(DAY)
    assert [world.lease(n) for n in range(10, 13)] == addresses
    assert world.say(DISCOVER, 13) is None
    assert world.book.v4.first_lease() == reserved


def test_a_lease_that_came_back_after_a_gap_is_not_the_oldest(world: World) -> None:
    world.book.v4.reserve(mac(7))
    first = world.lease(1)
    world.network.run(DAY - 1)
    second = world.lease(2)
    world.network.run(1)
    assert world.lease(1) == first
    world.say(RELEASE, 7, ciaddr=ip("10.0.2.15"))
    assert world.book.v4.first_lease() == second


def test_an_offer_is_held_for_a_minute() -> None:
    world = World(Config(net="10.0.2.0/30"))
    world.reply(DISCOVER, 1)
    assert world.say(DISCOVER, 2) is None
    world.network.run(60)
    assert world.lease(2) == ip("10.0.2.1")
    assert world.reply(REQUEST, 1, (50, ip("10.0.2.1")), (54, ip("10.0.2.2"))).kind == NAK


def test_a_discover_does_not_shorten_a_lease(world: World) -> None:
    address = world.lease()
    world.reply(DISCOVER)
    world.network.run(120)
    assert world.book.v4.first_lease() == address


def test_a_huge_network_costs_nothing_and_its_table_is_bounded() -> None:
    config = Config(net="16.0.0.0/4")
    table = LeaseTable(ipv4_pool(config), limit=3)
    for number in range(3):
        assert bind(table, Client(mac(number))) is not None
    assert offer(table, Client(mac(9))) is None
    assert table.bind(Client(mac(9)), ip("17.0.0.1"), 0) is None
    lease = table.bind(Client(mac(9)), ip("17.0.0.1"), DAY * SECOND)
    assert lease is not None
    assert len(table) == 3
    assert table._index.find(Client(mac(0))) is None  # the oldest went


def test_discovers_from_random_macs_stay_within_the_bound() -> None:
    world = World(Config(net="10.0.0.0/8"))
    table = world.book.v4.table
    table._limit = 500
    for client in range(2_000):
        world.say(DISCOVER, client)
    assert len(table) == 500
    assert len(table._index) == 500
    assert world.stats.drop_dhcp_pool_empty == 1_500
    world.network.run(60)
    for client in range(2_000, 2_100):
        world.reply(DISCOVER, client)
    assert len(table) == len(table._index) == 500
    assert len(table._expiry) <= 1_064


def test_renewing_does_not_leak(world: World) -> None:
    address = world.lease()
    for _ in range(500):
        assert world.reply(REQUEST, ciaddr=address).kind == ACK
    assert len(world.book.v4.table._expiry) <= 66
    world.network.run(DAY)
    assert world.book.leases() == []


def test_leaving_does_not_leak_identities() -> None:
    table = LeaseTable(ipv4_pool(Config(net="10.0.2.0/30")))
    for number in range(100):
        client = Client(mac(number), b"\xff" + mac(number))
        lease = bind(table, client, number * 2 * DAY * SECOND)
        assert lease is not None
    assert len(table) == len(table._bound) == 1
    assert len(table._index) == 2
    assert len(table._expiry) <= 66


# -------------------------------------------------------------------------------------- for the others


def test_a_reserved_address_is_leased_later_and_does_not_expire(world: World) -> None:
    address = world.book.v4.reserve(mac(5))
    assert address == ip("10.0.2.15")
    assert world.book.v4.reserve(mac(5)) == address
    world.network.run(3 * DAY)
    assert world.book.v4.first_lease() == address
    assert world.lease(5) == address
    world.network.run(3 * DAY)
    assert world.book.v4.first_lease() == address


def test_first_lease_is_the_oldest_that_holds(world: World) -> None:
    assert world.book.v4.first_lease() is None
    world.reply(DISCOVER, 1)
    assert world.book.v4.first_lease() is None
    first, second = world.lease(1), world.lease(2)
    assert world.book.v4.first_lease() == first
    world.network.run(10)
    world.reply(REQUEST, 2, ciaddr=second)
    world.reply(REQUEST, 1, ciaddr=first)
    assert world.book.v4.first_lease() == first
    world.say(RELEASE, 1, ciaddr=first)
    assert world.book.v4.first_lease() == second
    world.lease(1)
    assert world.book.v4.first_lease() == second
    world.network.run(DAY)
    assert world.book.v4.first_lease() is None


def test_leases_are_copies(world: World) -> None:
    world.lease()
    world.book.leases()[0].state = LeaseState.DECLINED
    assert world.book.leases()[0].state is LeaseState.BOUND


# ------------------------------------------------------------------------------------------- options


def test_requested_options_come_in_the_order_of_the_request(world: World) -> None:
    order = world.reply(DISCOVER, 1, (55, bytes((28, 26, 6, 3, 6, 200)))).order
    assert order == [53, 54, 51, 58, 59, 28, 26, 6, 3, 1]


def test_the_search_list_is_compressed_and_readable() -> None:
    names = ["eng.example.test", "example.test", "marketing.example.test."]
    value = World(Config(dnssearch=names)).reply(DISCOVER).options[119]
    buffer = DNSBuffer(value)
    read = []
    while buffer.remaining():
        read.append(str(buffer.decode_name()))
    assert read == ["eng.example.test.", "example.test.", "marketing.example.test."]
    assert value.count(b"example") == 1


def test_a_long_search_list_comes_in_pieces_or_is_left_out() -> None:
    names = [f"{'x' * 40}{n:03}.example.test" for n in range(12)]
    world = World(Config(dnssearch=names, mtu=1500))
    small = world.reply(DISCOVER)
    assert 119 not in small.options
    assert len(small.sent.payload) <= 576 - 28
    big = world.reply(DISCOVER, 1, (57, (1500).to_bytes(2, "big")))
    assert big.order.count(119) == 3
    buffer = DNSBuffer(big.options[119])
    read = [str(buffer.decode_name()) for _ in names]
    assert read == [name + "." for name in names]


def test_options_overflow_into_file_and_sname() -> None:
    host, domain = ".".join(["h" * 49] * 4), ".".join(["d" * 59] * 2)
    world = World(Config(hostname=host, domainname=domain, dnssearch=["s" * 55]))
    payload = world.reply(DISCOVER, 1, (55, bytes((12, 15, 119)))).sent.payload
    assert len(payload) <= 576 - 28
    message = read_message(payload)
    assert message is not None
    options = message[1]
    assert options[12] == host.encode()
    assert options[15] == domain.encode()
    assert options[119] == bytes((55,)) + b"s" * 55 + b"\0"
    assert options[52] == b"\3" if payload[44] else b"\1"


@pytest.mark.parametrize(("asked", "limit"), [(0, 548), (300, 548), (576, 548), (900, 872), (65535, 1472)])
def test_the_maximum_size_is_honoured(asked: int, limit: int) -> None:
    names = [f"{'x' * 50}{n:03}.test" for n in range(4)] + ["y" * 60 + f".{n}" for n in range(18)]
    longest = ".".join(["n" * 62] * 4)
    world = World(Config(hostname=longest, domainname=longest, dnssearch=names))
    for wanted in ((12, 15, 119), (119, 12, 15)):
        reply = world.reply(DISCOVER, 1, (57, asked.to_bytes(2, "big")), (55, bytes(wanted)))
        assert 300 <= len(reply.sent.payload) <= limit


def test_options_are_read_from_file_and_sname_and_joined() -> None:
    world = World()
    message = dpkt.dhcp.DHCP(
        chaddr=mac(1),
        opts=((52, b"\3"), (61, b"\xffone-"), (0x35, b"\1")),
        file=b"\x3d\x04two-\x00\x00\xff",
        sname=b"\x3d\x05three\xff",
    )
    world.service.datagram(datagram(bytes(message)))
    (sent,) = world.network.take()
    assert Reply(sent).options[61] == b"\xffone-two-three"


def test_without_overload_file_and_sname_are_no_options(world: World) -> None:
    message = dpkt.dhcp.DHCP(chaddr=mac(1), opts=((53, b"\1"),), file=b"\x3d\x04nono\xff", sname=b"\x3d\x02no")
    world.service.datagram(datagram(bytes(message)))
    assert 61 not in Reply(world.network.take()[0]).options


def test_padding_and_a_missing_end_are_forgiven(world: World) -> None:
    header = dpkt.dhcp.DHCP(chaddr=mac(1)).pack_hdr()
    world.service.datagram(datagram(header + b"\0\0\x35\x01\x01\0\0"))
    assert Reply(world.network.take()[0]).kind == OFFER


@pytest.mark.parametrize(
    "bad",
    [
        {"hostname": "x" * 256},
        {"domainname": "bücher.test"},
        {"dnssearch": ["x" * 64 + ".test"]},
        {"dnssearch": ["a..test"]},
        {"dnssearch": ["ü.test"]},
        {"dnssearch": [".".join(["x" * 60] * 5)]},
    ],
)
def test_names_that_dhcp_cannot_carry_are_the_callers_mistake(bad: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        World(Config(**bad))  # type: ignore[arg-type] # the mistake


# ------------------------------------------------------------------------------------------- garbage

MACS = [mac(number).hex(":") for number in range(1, 4)]
valid = st.one_of(
    [dhcp_messages(macs=MACS, address=address) for address in ("10.0.2.14", "10.0.2.15", "192.168.0.1")]
)
"""Messages of few clients, about few addresses."""
near = st.one_of(
    [dhcp_messages("near", macs=MACS, address=address) for address in ("10.0.2.14", "10.0.2.15", "10.0.2.16")]
)


@pytest.mark.long
@given(st.lists(st.tuples(valid | near | dhcp_messages("garbage"), st.integers(0, 90_000)), max_size=12))
def test_garbage_raises_nothing_and_each_message_counts(batch: list[tuple[bytes, int]]) -> None:
    world = World(Config(net="10.0.2.8/29", dhcpstart="10.0.2.14"))
    for payload, seconds in batch:
        before = sum(world.stats.as_dict().values())
        world.service.datagram(datagram(payload))
        assert sum(world.stats.as_dict().values()) > before
        for sent in world.network.take():
            assert Reply(sent).header.op == 2
        holders = [lease.address for lease in world.book.leases()]
        assert len(set(holders)) == len(holders)
        assert not {ip("10.0.2.8"), ip("10.0.2.10"), ip("10.0.2.11"), ip("10.0.2.15")} & set(holders)
        world.network.run(seconds)


@pytest.mark.long
@given(st.lists(damaged(valid, most=6), min_size=1, max_size=6), st.binary(max_size=40))
def test_damaged_messages_raise_nothing_and_count(batch: list[bytes], told: bytes) -> None:
    def policy(request: DhcpRequest) -> DhcpAnswer | None:
        return DhcpAnswer(options={43: told}) if request.kind == "discover" else None

    world = World(Config(net="10.0.2.8/29", dhcpstart="10.0.2.14", lease_policy=policy, bootfile="x" * 90))
    for payload in batch:
        before = sum(world.stats.as_dict().values())
        world.service.datagram(datagram(payload))
        assert sum(world.stats.as_dict().values()) > before
        for sent in world.network.take():
            assert read_message(sent.payload) is not None
            assert Reply(sent).header.op == 2
