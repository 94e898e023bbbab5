"""Router and neighbour solicitations of guests where IPv6 is off; frames are built and read by dpkt."""

from __future__ import annotations

import struct
from typing import Any

import dpkt
import pytest

from tests.support.harness import GUEST_MAC, Net, arp, config, eth, rfc1071

ROUTER = bytes.fromhex("fe800000000000000000000000000002")
ROUTER_MAC = bytes.fromhex("525600000002")
GUEST6 = bytes.fromhex("fe80000000000000505400fffe123456")
ALL_NODES = bytes.fromhex("ff020000000000000000000000000001")
ALL_ROUTERS = bytes.fromhex("ff020000000000000000000000000002")
OF_ROUTER = bytes.fromhex("ff0200000000000000000001ff000002")
NOWHERE = bytes(16)
SLLA = b"\1\1" + GUEST_MAC
OTHER_MAC = bytes.fromhex("525400aaaaaa")


def mac_of(group: bytes) -> bytes:
    return b"\x33\x33" + group[12:]


def icmp6(
    message: bytes,
    *,
    source: bytes = GUEST6,
    destination: bytes = ALL_ROUTERS,
    mac: bytes = GUEST_MAC,
    to: bytes | None = None,
    hop_limit: int = 255,
    wrong: int = 0,
    header: int = 58,
    claimed: int | None = None,
) -> bytes:
    """An ICMPv6 message, whose checksum field is zero, in a frame."""
    pseudo = source + destination + struct.pack("!II", len(message), 58)
    value = rfc1071(pseudo + message) ^ wrong
    message = message[:2] + value.to_bytes(2, "big") + message[4:]
    length = len(message) if claimed is None else claimed
    packet = struct.pack("!IHBB", 0x60000000, length, header, hop_limit) + source + destination + message
    to = mac_of(destination) if to is None and destination[0] == 0xFF else to or ROUTER_MAC
    return eth(packet, source=mac, destination=to, kind=0x86DD)


def solicitation(options: bytes = SLLA, code: int = 0, **more: Any) -> bytes:
    """For routers."""
    return icmp6(struct.pack("!BBHI", 133, code, 0, 0) + options, **more)


def neighbor(target: bytes = ROUTER, options: bytes = SLLA, code: int = 0, **more: Any) -> bytes:
    """For a neighbour."""
    return icmp6(struct.pack("!BBHI", 135, code, 0, 0) + target + options, **{"destination": OF_ROUTER, **more})


def read(frame: bytes) -> Any:
    """Return the IPv6 packet of one of our frames, parsed by dpkt and verified."""
    packet = dpkt.ethernet.Ethernet(frame)
    assert (packet.src, packet.type) == (ROUTER_MAC, 0x86DD)
    ip6 = packet.data
    message = frame[54:]
    assert (ip6.src, ip6.hlim, ip6.nxt, ip6.plen) == (ROUTER, 255, 58, len(message))
    assert rfc1071(ip6.src + ip6.dst + struct.pack("!II", len(message), 58) + message) == 0
    return packet


def advert(frame: bytes) -> tuple[bytes, bytes]:
    """Destinations, MAC and IPv6, of a router advertisement that has nothing to give."""
    packet = read(frame)
    message = frame[54:]
    kind, code, _, hop_limit, flags, lifetime, reachable, retransmit = struct.unpack("!BBHBBHII", message[:16])
    assert (kind, code, hop_limit, flags, lifetime, reachable, retransmit) == (134, 0, 0, 0, 0, 0, 0)
    assert message[16:] == b"\1\1" + ROUTER_MAC
    return packet.dst, packet.data.dst


@pytest.fixture
def net() -> Net:
    return Net(config(ipv6=False))


# --------------------------------------------------------------------------------------------- routers


@pytest.mark.parametrize(
    "options", [SLLA, b"", b"\1\1" + OTHER_MAC, SLLA + b"\x0e\1nonce-", b"\xfd\2" + bytes(14), SLLA * 2]
)
def test_a_solicitation_has_an_empty_answer_at_once(net: Net, options: bytes) -> None:
    net.send(solicitation(options))
    (frame,) = net.raw()
    assert advert(frame) == (GUEST_MAC, GUEST6)
    assert net.stats.ndp_router_adverts == 1
    assert net.stats.dropped() == 0
    assert net.stack.deadline() is None
    net.run(100)
    net.silence()  # nothing unasked


@pytest.mark.parametrize(("destination", "to"), [(ALL_NODES, None), (ROUTER, None), (ALL_ROUTERS, ROUTER_MAC)])
def test_where_a_solicitation_may_go(net: Net, destination: bytes, to: bytes | None) -> None:
    net.send(solicitation(destination=destination, to=to))
    assert [advert(frame) for frame in net.raw()] == [(GUEST_MAC, GUEST6)]


def test_a_solicitation_without_a_source_is_answered_to_all_nodes(net: Net) -> None:
    net.send(solicitation(b"", source=NOWHERE))
    assert [advert(frame) for frame in net.raw()] == [(mac_of(ALL_NODES), ALL_NODES)]


@pytest.mark.rfc("4861", "6.2.6 rate")
def test_multicast_advertisements_are_three_seconds_apart(net: Net) -> None:
    for _ in range(5):
        net.send(solicitation(b"", source=NOWHERE))
    assert len(net.raw()) == 1
    assert net.stats.drop_ndp_rate == 3  # the second is answered later, with the others
    net.run(2.9)
    assert net.raw() == []
    net.run(0.2)
    assert [advert(frame)[1] for frame in net.raw()] == [ALL_NODES]
    net.run(10)
    assert net.raw() == []
    net.send(solicitation(b"", source=NOWHERE))
    assert len(net.raw()) == 1


def test_each_link_has_a_rate_of_its_own(net: Net) -> None:
    other = net.attach()
    for _ in range(300):
        net.send(solicitation())
    net.send(solicitation(b"", source=NOWHERE))
    assert len(net.raw()) == 101
    assert net.stats.drop_ndp_rate == 200
    for frame in (solicitation(mac=OTHER_MAC), solicitation(b"", source=NOWHERE, mac=OTHER_MAC)):
        net.raw(other)
        net.send(frame, wire=other)
        assert [frame[:6] for frame in net.raw(other) if frame[6:12] == ROUTER_MAC] != []
    net.raw()
    net.run(1)
    net.send(solicitation())
    assert len(net.raw()) == 1


def test_each_link_has_a_rate_for_questions_of_neighbours(net: Net) -> None:
    other = net.attach()
    for _ in range(300):
        net.send(neighbor())
    assert net.stats.ndp_neighbor_adverts == 100
    net.send(neighbor(mac=OTHER_MAC, options=b"\1\1" + OTHER_MAC), wire=other)
    assert net.stats.ndp_neighbor_adverts == 101


def test_a_detached_link_gets_no_advertisements(net: Net) -> None:
    for _ in range(2):
        net.send(solicitation(b"", source=NOWHERE))
    net.stack.detach(net.port)
    net.run(10)
    assert net.stats.drop_link_dead == 0
    assert net.stats.ndp_router_adverts == 1


def test_another_link_does_not_shorten_the_interval(net: Net) -> None:
    first = solicitation(b"", source=NOWHERE)
    net.send(first)
    assert len(net.raw()) == 1
    other = net.attach()
    net.send(solicitation(b"", source=NOWHERE, mac=OTHER_MAC), wire=other)
    assert len(net.raw(other)) == 1
    net.send(first)
    assert [frame for frame in net.raw() if frame[6:12] == ROUTER_MAC] == []


MALFORMED = {
    "hop limit": solicitation(hop_limit=254),
    "code": solicitation(code=1),
    "short": icmp6(b"\x85\0\0\0\0\0"),
    "option without a length": solicitation(SLLA + b"\5\0" + bytes(6)),
    "option beyond the end": solicitation(b"\1\2" + GUEST_MAC),
    "half an option": solicitation(b"\1"),
    "link address without a source": solicitation(source=NOWHERE),
    "neighbour, hop limit": neighbor(hop_limit=64),
    "neighbour, code": neighbor(code=3),
    "neighbour, short": icmp6(b"\x87" + bytes(19)),
    "neighbour, group": neighbor(ALL_NODES),
    "neighbour, option": neighbor(options=b"\1\0" + GUEST_MAC),
    "neighbour, link address without a source": neighbor(source=NOWHERE),
    "neighbour, no source and no group": neighbor(options=b"", source=NOWHERE, destination=ROUTER),
}


@pytest.mark.rfc("4861", "6.1.1 hop limit")
@pytest.mark.rfc("4861", "6.1.1 code")
@pytest.mark.rfc("4861", "6.1.1 length")
@pytest.mark.rfc("4861", "6.1.1 option")
@pytest.mark.rfc("4861", "6.1.1 unspecified")
@pytest.mark.rfc("4861", "7.1.1 hop limit")
@pytest.mark.rfc("4861", "7.1.1 code")
@pytest.mark.rfc("4861", "7.1.1 length")
@pytest.mark.rfc("4861", "7.1.1 target")
@pytest.mark.rfc("4861", "7.1.1 option")
@pytest.mark.rfc("4861", "7.1.1 unspecified")
@pytest.mark.rfc("4861", "7.1.1 link address")
@pytest.mark.parametrize("what", MALFORMED)
def test_solicitations_that_are_to_be_discarded(net: Net, what: str) -> None:
    net.send(MALFORMED[what])
    assert net.raw() == []
    assert counted(net) == {"drop_ndp_malformed": 1}


def counted(net: Net) -> dict[str, int]:
    return {name: value for name, value in net.stats.nonzero().items() if name.startswith(("drop", "ndp"))}


OTHERS = {
    "wrong sum": (solicitation(wrong=1), "drop_icmp_malformed"),
    "neighbour, wrong sum": (neighbor(wrong=0x100), "drop_icmp_malformed"),
    "no ICMPv6 header": (solicitation(claimed=3), "drop_icmp_malformed"),
    "from a group": (solicitation(source=ALL_NODES), "drop_ip_source"),
    "from the router": (solicitation(source=ROUTER), "drop_ip_source"),
    "from a loopback": (solicitation(source=bytes(15) + b"\1"), "drop_ip_source"),
    "lies about its length": (solicitation(claimed=2000), "drop_ipv6_header"),
    "an extension header": (solicitation(header=0), "drop_ipv6"),
    "for another group": (solicitation(destination=ALL_NODES[:15] + b"\xfb"), "drop_ipv6"),
    "for another host": (neighbor(GUEST6, destination=ROUTER), "ndp_nobody"),
    "a host looks for its own address": (
        neighbor(GUEST6, b"", source=NOWHERE, destination=OF_ROUTER[:13] + GUEST6[13:]), "drop_ipv6",
    ),
    "an echo request": (icmp6(b"\x80" + bytes(7), destination=ROUTER), "drop_ipv6"),
    "an advertisement": (icmp6(b"\x86" + bytes(15), destination=ALL_NODES), "drop_ipv6"),
    "no more than a header": (icmp6(b"\xc8\0\0\0", destination=ROUTER), "drop_ipv6"),
    "less than a header": (icmp6(b"\xc8\0\0\0", destination=ROUTER, claimed=3), "drop_icmp_malformed"),
    "version 4": (eth(b"\x45" + bytes(60), destination=ROUTER_MAC, kind=0x86DD), "drop_ipv6_header"),
    "short": (eth(b"\x60" + bytes(20), destination=ROUTER_MAC, kind=0x86DD)[:40], "drop_ipv6_header"),
    "another station": (solicitation(to=OTHER_MAC), "drop_ipv6"),
    "from the router's MAC": (solicitation(mac=ROUTER_MAC), "drop_ethernet_source"),
    "from a group's MAC": (solicitation(mac=mac_of(ALL_NODES)), "drop_ethernet_source"),
}  # fmt: skip


@pytest.mark.parametrize("what", OTHERS)
def test_other_messages_are_counted_and_not_answered(net: Net, what: str) -> None:
    frame, counter = OTHERS[what]
    for count in (1, 2):
        net.send(frame)
        assert net.raw() == []
        assert counted(net) == {counter: count}


# ------------------------------------------------------------------------------------------ neighbours


@pytest.mark.parametrize("destination", [OF_ROUTER, ROUTER])
def test_the_router_says_where_it_is(net: Net, destination: bytes) -> None:
    net.send(neighbor(destination=destination))
    (frame,) = net.raw()
    packet = read(frame)
    assert (packet.dst, packet.data.dst) == (GUEST_MAC, GUEST6)
    assert frame[54:56] == b"\x88\0"
    assert frame[58] == 0xE0  # a router; asked for; replaces what was known
    assert frame[62:] == ROUTER + b"\2\1" + ROUTER_MAC
    assert counted(net) == {"ndp_neighbor_adverts": 1}


def test_the_routers_address_is_no_guests(net: Net) -> None:
    net.send(neighbor(options=b"", source=NOWHERE))
    (frame,) = net.raw()
    packet = read(frame)
    assert (packet.dst, packet.data.dst) == (mac_of(ALL_NODES), ALL_NODES)
    assert frame[58] == 0xA0  # nobody in particular has asked


# ---------------------------------------------------------------------------------------- several guests


@pytest.mark.parametrize("hub", [False, True])
def test_only_the_soliciting_guest_gets_the_answer(hub: bool) -> None:
    net = Net(config(hub=hub, ipv6=False))
    other = net.attach()
    net.send(solicitation())
    assert [advert(frame) for frame in net.raw()] == [(GUEST_MAC, GUEST6)]
    heard = net.raw(other)
    assert solicitation() in heard  # a router among the guests may answer too
    if not hub:
        assert len(heard) == 1
    # The switch has learned the guest's address, and not the router's behind a guest.
    if not hub:
        assert net.stack.switch.lookup(GUEST_MAC, net.now) is net.port
        assert len(net.stack.switch) == 1
    net.send(arp(1, sender=b"\x0a\0\2\x10", sender_mac=OTHER_MAC), wire=other)
    assert any(frame[6:12] == bytes.fromhex("52550a000202") for frame in net.raw(other))


def test_no_guest_is_the_router() -> None:
    net = Net(config())
    other = net.attach()
    net.send(eth(b"x", source=ROUTER_MAC, destination=OTHER_MAC))
    assert net.raw(other) == []
    assert net.stats.drop_ethernet_source == 1
