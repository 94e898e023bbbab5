"""Frames that are refused before any flow hears of them: each counts under one name, as often as it comes."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from tests.support.frames6 import ROUTER_MAC, ip6, ipv6, mac_of
from tests.support.harness import (
    ACK,
    BROADCAST,
    DNS,
    FIN,
    GATEWAY_MAC,
    GUEST,
    RST,
    SYN,
    WORLD,
    Net,
    arp,
    config,
    eth,
    ip,
    ipv4,
    rfc1071,
    udp,
    udp_segment,
)

STRANGER = b"\2\2\2\2\2\2"
DATAGRAM = udp_segment(b"abcdefgh", 5000, 9)


def udp_of_length(length: int, *, cut: int | None = None) -> bytes:
    """A datagram of 16 bytes that claims another length, or is cut."""
    segment = DATAGRAM[:4] + length.to_bytes(2, "big") + b"\0\0" + DATAGRAM[8:]
    return eth(ipv4(17, segment[:cut]))


def tcp(
    flags: int,
    *,
    offset: int = 5,
    more: bytes = b"",
    destination: bytes = WORLD,
    wrong: int = 0,
    cut: int | None = None,
    ttl: int = 64,
) -> bytes:
    """A segment in a frame."""
    segment = struct.pack("!HHIIBBHHH", 40000, 80, 1, 1, offset << 4, flags, 1000, 0, 0) + more
    value = rfc1071(GUEST + destination + struct.pack("!HH", 6, len(segment)) + segment) ^ wrong
    segment = segment[:16] + value.to_bytes(2, "big") + segment[18:]
    return eth(ipv4(6, segment[:cut], destination=destination, ttl=ttl))


CASES: dict[str, tuple[bytes, str]] = {
    "no whole Ethernet header": (udp(b"")[:13], "drop_ethernet_short"),
    "an Ethernet header alone": (udp(b"")[:14], "drop_ip_header"),
    "an unknown EtherType": (eth(b"", kind=0x88CC), "drop_ethernet_type"),
    "an EtherType next to IPv4's": (eth(DATAGRAM, kind=0x801), "drop_ethernet_type"),
    "for a stranger": (udp(b"x", to=STRANGER), "drop_ethernet_destination"),
    "ARP for a stranger": (eth(arp(1)[14:], destination=STRANGER, kind=0x806), "drop_ethernet_destination"),
    "IPv6 for a stranger": (ipv6(17, b"x" * 8, to=STRANGER), "drop_ethernet_destination"),
    "IPv6 for a group that nobody hears": (
        ipv6(17, b"x" * 8, destination=ip6("ff02::77"), to=mac_of(ip6("ff02::77"))), "drop_ipv6_group"
    ),
    "from the gateway": (udp(b"x", mac=GATEWAY_MAC), "drop_ethernet_source"),
    "from the router": (ipv6(17, b"x" * 8, mac=ROUTER_MAC), "drop_ethernet_source"),
    "from a group": (udp(b"x", mac=BROADCAST), "drop_ethernet_source"),
    "from a multicast address": (udp(b"x", mac=b"\1\0\0\0\0\7"), "drop_ethernet_source"),
    "a datagram without a header": (udp_of_length(16, cut=7), "drop_udp_malformed"),
    "a datagram without anything": (udp_of_length(16, cut=0), "drop_udp_malformed"),
    "a datagram shorter than its header": (udp_of_length(7), "drop_udp_malformed"),
    "a datagram longer than its packet": (udp_of_length(17), "drop_udp_malformed"),
    "a datagram with a wrong checksum": (
        eth(ipv4(17, DATAGRAM[:6] + bytes((DATAGRAM[6] ^ 1,)) + DATAGRAM[7:])), "drop_udp_checksum"
    ),
    "IPv6 without a checksum": (
        ipv6(17, DATAGRAM[:6] + b"\0\0" + DATAGRAM[8:]), "drop_udp_checksum"
    ),
    "a segment without a whole header": (tcp(SYN, cut=19), "drop_tcp_malformed"),
    "a header of 16 bytes": (tcp(SYN, offset=4), "drop_tcp_offset"),
    "a header that is longer than its segment": (tcp(SYN, offset=7, more=b"\1" * 7), "drop_tcp_offset"),
    "a segment with a wrong checksum": (tcp(SYN, wrong=1), "drop_tcp_checksum"),
    "a segment to a broadcast address": (tcp(SYN, destination=ip("10.0.2.255")), "drop_tcp_broadcast"),
    "a segment to all": (tcp(SYN, destination=b"\xff" * 4), "drop_tcp_broadcast"),
}  # fmt: skip


def counted(net: Net) -> dict[str, int]:
    return {name: value for name, value in net.stats.nonzero().items() if name.startswith("drop_")}


@pytest.fixture
def net() -> Net:
    return Net(config())


@pytest.mark.parametrize("case", CASES)
def test_each_refused_frame_is_counted(net: Net, case: str) -> None:
    frame, counter = CASES[case]
    net.send(frame, frame, frame)
    assert counted(net) == {counter: 3}
    assert net.stats.frames_in == 3
    assert net.stats.bytes_in == 3 * len(frame)
    net.silence()
    assert net.stack.flows() == []


@pytest.mark.parametrize(
    ("options", "frame", "counter"),
    [
        ({"ipv4": False}, udp(b"x"), "drop_ipv4"),
        ({"ipv4": False}, arp(1), "drop_ipv4"),
        ({"ipv4": False}, udp(b"x", to=STRANGER), "drop_ipv4"),
        ({"ipv6": False}, ipv6(17, b"x" * 8, to=STRANGER), "drop_ipv6"),
        ({"ipv6": False}, ipv6(17, b"x" * 8), "drop_ipv6"),
        ({"ipv6": False}, eth(b"", destination=ROUTER_MAC, kind=0x86DD), "drop_ipv6_header"),
    ],
)
def test_a_family_that_the_network_does_not_have(options: dict[str, Any], frame: bytes, counter: str) -> None:
    net = Net(config(**options))
    net.send(frame, frame, frame)
    assert counted(net) == {counter: 3}
    net.silence()


@pytest.mark.parametrize(
    "frame",
    [
        tcp(SYN),
        tcp(SYN, offset=6, more=b"\1" * 4),
        tcp(SYN, offset=7, more=b"\1" * 8),
        udp_of_length(8),
        udp_of_length(16),
        eth(ipv4(17, DATAGRAM), destination=BROADCAST),
        udp(b"x", source=ip("10.0.2.16")),
    ],
)
def test_a_barely_valid_frame_opens_a_flow(net: Net, frame: bytes) -> None:
    net.send(frame)
    assert counted(net) == {}
    assert len(net.stack.flows()) == 1


@pytest.mark.parametrize("flags", [0, ACK, FIN, RST, SYN | ACK, SYN | RST, SYN | FIN, SYN | FIN | ACK | RST])
def test_only_a_plain_syn_opens_a_connection(net: Net, flags: int) -> None:
    net.send(tcp(flags))
    assert net.stack.flows() == []
    net.send(tcp(SYN | 8))
    assert len(net.stack.flows()) == 1


@pytest.mark.parametrize(
    ("destination", "ttl", "restrict", "expires"),
    [
        (WORLD, 1, False, True),
        (WORLD, 2, False, False),
        (WORLD, 1, True, False),
        (DNS, 1, False, False),
        (ip("10.0.2.77"), 1, False, False),
    ],
)
def test_a_segment_of_no_connection_is_reset_where_it_ends(
    destination: bytes, ttl: int, restrict: bool, expires: bool
) -> None:
    """Beyond the gateway a traceroute hears of its end, unless all is restricted."""
    net = Net(config(restrict=restrict))
    net.send(tcp(ACK, destination=destination, ttl=ttl), tcp(ACK, destination=destination, ttl=ttl))
    net.run(0.01)
    protocols = [frame.data.p for frame in net.take() if frame.type == 0x800]
    assert protocols == [1 if expires else 6] * 2
    assert net.stats.drop_ip_ttl == (2 if expires else 0)


def test_a_datagram_from_the_unspecified_address_reaches_only_services(net: Net) -> None:
    for _ in range(3):
        net.send(udp(b"x", source=bytes(4)))
    assert counted(net) == {"drop_udp_unreachable": 3}
    assert net.stack.flows() == []
