"""Rules of the RFCs for NAT64, frame by frame: an IPv6-only guest made of raw frames, and IPv4 hosts outside."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from slirpy.interfaces import IcmpReport
from slirpy.testing import Echo, Source
from slirpy.testing.world.udp import SimUdpServer
from tests.support.frames6 import (
    GATEWAY6,
    GUEST6,
    ICMPV6,
    TCP,
    UDP,
    WORLD6,
    Peer6,
    checked,
    datagram,
    echo6,
    fragment,
    fragments,
    icmp6,
    ip6,
    ipv6,
    know6,
    neighbor_advertisement,
    of_kind,
    udp6,
)
from tests.support.harness import ACK, FIN, RST, WORLD, Net, config, ip

FAR = ip6("64:ff9b::198.51.100.7")
"""The name of :data:`WORLD`."""
ROUTERS = ip("192.0.2.254"), ip("192.0.2.253")
SMALL, LARGE = bytes(1232), bytes(1233)
"""Payloads in IPv6 packets of 1280 and 1281 bytes."""


class World(Net):
    """A network whose guest is known, and a server that hears its datagrams."""

    def __init__(self, **more: Any) -> None:
        super().__init__(config(nat64=True, ipv4=False, **more))
        know6(self)
        self.silence()
        self.server: SimUdpServer = self.host.serve_udp(WORLD, 9)

    def heard(self) -> list[tuple[bytes, int, bool]]:
        """The datagrams that have reached the server: payload, time to live, DF."""
        self.run(0.1)
        found = [(one.payload, one.shape.ttl, one.shape.dont_fragment) for one in self.server.received]
        self.server.received.clear()
        return found

    def told(self) -> tuple[bytes, bytes, bytes, bytes]:
        """The error that the guest has heard: source, type and code, second word, the packet quoted."""
        packet = self.one().data
        assert (packet.nxt, packet.dst) == (ICMPV6, GUEST6)
        message = bytes(packet.data)
        return packet.src, message[:2], message[4:8], message[8:]


@pytest.fixture
def net() -> World:
    return World()


def name(address: bytes) -> bytes:
    """The IPv6 address of an IPv4 host."""
    return FAR[:12] + address


# --------------------------------------------------------------------------------- mappings and addresses


@pytest.mark.rfc("6052", "5.1")
@pytest.mark.rfc("6146", "3.5 source")
@pytest.mark.rfc("6146", "5.4")
@pytest.mark.rfc("7915", "5.1 source")
def test_addresses_of_ipv4_hosts_are_no_sources(net: World) -> None:
    for source in (FAR, name(ip("10.0.2.15")), name(ip("127.0.0.1"))):
        net.send(udp6(b"x", source=source, destination=FAR), echo6(source=source, destination=GATEWAY6))
    assert net.heard() == []
    assert net.stats.drop_ip_source == 6
    net.silence()


@pytest.mark.rfc("6146", "3.5 destination")
@pytest.mark.rfc("7915", "5.6")
def test_only_addresses_of_the_prefix_are_translated(net: World) -> None:
    other = net.host.serve_udp(WORLD6, 9)
    net.send(udp6(b"six", destination=WORLD6), udp6(b"four", destination=FAR))
    assert [payload for payload, _, _ in net.heard()] == [b"four"]
    assert [one.payload for one in other.received] == [b"six"]


@pytest.mark.rfc("6146", "3.6.1")
@pytest.mark.rfc("6146", "3.7 checksum")
@pytest.mark.rfc("6146", "3.4 nosum")
@pytest.mark.rfc("7915", "4.5")
def test_an_answer_comes_from_the_address_and_port_that_the_guest_named(net: World) -> None:
    net.host.serve_udp(WORLD, 7, lambda payload, address, port: payload[::-1])
    net.send(udp6(b"abc", sport=5000, dport=7, destination=FAR))
    net.run(0.1)
    (packet,) = of_kind(net.take(), UDP)  # the harness has verified its checksum, and that it has one
    assert (packet.src, packet.dst, packet.data.sport, packet.data.dport) == (FAR, GUEST6, 7, 5000)
    assert packet.data.data == b"cba"


@pytest.mark.rfc("6146", "5.2 mapping")
@pytest.mark.rfc("6146", "3.5.1.1 unique")
def test_one_port_of_a_guest_is_one_port_outside(net: World) -> None:
    second = net.host.serve_udp("192.0.2.9", 1000)
    for sport in (5000, 5001):
        net.send(udp6(b"x", sport=sport, destination=FAR))
        net.send(udp6(b"x", sport=sport, dport=1000, destination=name(ip("192.0.2.9"))))
    net.run(0.1)
    ports = [[one.source for one in server.received] for server in (net.server, second)]
    assert ports[0] == ports[1]
    assert len(set(ports[0])) == 2


@pytest.mark.rfc("6146", "3.5.1 filter")
@pytest.mark.rfc("6146", "3.5.1 outside")
def test_any_host_may_send_to_a_mapping(net: World) -> None:
    net.send(udp6(b"x", destination=FAR))
    net.run(0.1)
    ((_, (address, port), _, _),) = net.server.received
    net.host.send_udp(b"hello", address, port, source=("192.0.2.99", 7777))
    net.run(0.1)
    (packet,) = of_kind(net.take(), UDP)
    assert (packet.src, packet.data.sport, packet.data.dport) == (name(ip("192.0.2.99")), 7777, 5000)
    net.send(udp6(b"y", sport=5000, dport=7777, destination=packet.src))
    assert net.stats.udp_flows == 1


@pytest.mark.rfc("6146", "3.5.1 minimum")
@pytest.mark.rfc("6146", "3.5.1 refresh")
def test_a_mapping_lasts_for_minutes_after_the_last_datagram_of_either_side(net: World) -> None:
    net.send(udp6(b"x", destination=FAR))
    net.run(0.1)
    ((_, (address, port), _, _),) = net.server.received
    for _ in range(3):
        net.run(125)
        net.send(neighbor_advertisement())  # a guest in silence would be asked whether it is still there
        net.take()
        net.host.send_udp(b"still there?", address, port, source=("198.51.100.7", 9))
        net.run(0.1)
        assert len(of_kind(net.take(), UDP)) == 1
    net.run(250)
    assert net.stack.flows() == []
    net.host.send_udp(b"too late", address, port, source=("198.51.100.7", 9))
    net.run(0.1)
    assert of_kind(net.take(), UDP) == []


@pytest.mark.rfc("6146", "3.5.3 lifetime")
@pytest.mark.rfc("6146", "3.6.2")
@pytest.mark.rfc("7915", "4.2 echo")
@pytest.mark.rfc("7915", "5.2 echo")
def test_an_echo_keeps_its_identifier_for_a_minute(net: World) -> None:
    net.host.answer_ping(WORLD)
    for seq in (1, 2):
        net.take()  # router advertisements
        net.send(echo6(b"data", ident=77, seq=seq, destination=FAR))
        net.run(0.1)
        packet = net.one().data
        message = bytes(packet.data)
        assert (packet.src, message[:2], message[4:]) == (FAR, b"\x81\0", bytes((0, 77, 0, seq)) + b"data")
        net.run(58)
    assert len(net.stack.flows()) == 1
    net.run(3)
    assert net.stack.flows() == []


def test_hosts_of_both_families_are_pinged_with_one_identifier(net: World) -> None:
    for address in (WORLD, WORLD6):
        net.host.answer_ping(address)
    for destination in (FAR, WORLD6, FAR):
        net.send(echo6(ident=77, destination=destination))
        net.run(0.1)
        assert [packet.src for packet in of_kind(net.take(), ICMPV6)] == [destination]
    assert net.stats.icmp_flows == 2


# ------------------------------------------------------------------------------------------- connections


def connected(net: World) -> Peer6:
    """A connection to an echo server."""
    net.host.serve_tcp(WORLD, 80, Echo)
    peer = Peer6(net, FAR)
    peer.open()
    return peer


@pytest.mark.rfc("6146", "3.5.2 established")
@pytest.mark.rfc("7915", "5.5")
def test_an_idle_connection_outlives_two_hours(net: World) -> None:
    peer = connected(net)
    net.run(2 * 3600 + 4 * 60)
    peer.send(ACK, b"still there")
    net.run(0.1)
    peer.take()
    assert peer.received == b"still there"


@pytest.mark.rfc("6146", "3.5.2 fin")
def test_each_half_ends_for_itself(net: World) -> None:
    net.host.serve_tcp(WORLD, 80, lambda: Source(b"x" * 100))
    peer = Peer6(net, FAR)
    peer.open()
    net.run(0.1)
    assert any(segment.flags & FIN for segment in peer.take())
    assert peer.received == b"x" * 100
    net.run(600)
    peer.take()
    peer.send(ACK, b"more")
    peer.send(ACK | FIN)
    net.run(0.1)
    assert peer.take()[-1].ack == peer.seq


@pytest.mark.rfc("6146", "3.5.2 rst")
def test_a_reset_goes_through(net: World) -> None:
    peer = connected(net)
    peer.send(RST | ACK)
    net.run(0.1)
    assert [call.name for call in net.host.calls if call.name == "abort"] == ["abort"]
    assert net.stack.flows() == []


@pytest.mark.rfc("6146", "3.1 manual")
def test_a_forward_is_a_mapping_by_hand() -> None:
    net = World(hostfwd=[f"tcp:127.0.0.1:8080-[{'fec0::5054:ff:fe12:3456'}]:80"])
    net.host.connect("127.0.0.1", 8080, source=("192.0.2.99", 7777))
    net.run(0.1)
    (packet,) = of_kind(net.take(), TCP)
    assert (packet.src, packet.dst) == (name(ip("192.0.2.99")), GUEST6)
    assert (packet.data.sport, packet.data.dport) == (7777, 80)


# --------------------------------------------------------------------------------------------- fragments


@pytest.mark.rfc("6146", "3.4 fragments")
@pytest.mark.rfc("6146", "3.4 interval")
@pytest.mark.rfc("7915", "5.1.1 DF")
def test_fragments_in_any_order_and_with_pauses(net: World) -> None:
    data = bytes(range(256)) * 8
    for frame in reversed(fragments(datagram(data, destination=FAR), destination=FAR)):
        net.send(frame)
        net.run(2.5)
    assert net.heard() == [(data, 63, False)]


@pytest.mark.rfc("6146", "3.4 header")
def test_a_transport_header_in_two_fragments_is_refused(net: World) -> None:
    net.send(fragment(0, datagram(bytes(2000), destination=FAR)[:8], more=True, protocol=TCP, destination=FAR))
    assert net.told()[1] == b"\4\3"


def test_datagrams_larger_than_the_guests_link_are_fragmented(net: World) -> None:
    net.host.serve_udp(WORLD, 7, lambda payload, address, port: bytes(3000))
    net.send(udp6(b"x", dport=7, destination=FAR))
    net.run(0.1)
    packets = [frame.data for frame in net.take()]
    assert len(packets) == 3
    assert {packet.src for packet in packets} == {FAR}


@pytest.mark.rfc("7915", "5.1 DF")
@pytest.mark.parametrize("repeat", [1, 3])
def test_only_packets_that_can_become_smaller_forbid_fragments(net: World, repeat: int) -> None:
    """The first datagram to a destination takes the slow path, and a batch of later ones the fast one."""
    net.send(udp6(b"x", destination=FAR))
    net.heard()
    net.send(*(udp6(payload, destination=FAR) for payload in (SMALL, LARGE, LARGE, SMALL) * repeat))
    assert (
        net.heard() == [(SMALL, 63, False), (LARGE, 63, True), (LARGE, 63, True), (SMALL, 63, False)] * repeat
    )


@pytest.mark.rfc("7915", "5.1 DF")
@pytest.mark.rfc("7915", "5.1.1 narrow")
def test_small_packets_pass_where_ipv4_carries_less_than_ipv6_must(net: World) -> None:
    net.host.path(WORLD, hops=ROUTERS, mtu=600)
    net.host.answer_ping(WORLD)
    for _ in range(2):
        net.send(udp6(SMALL, destination=FAR))
        assert [payload for payload, _, _ in net.heard()] == [SMALL]
    net.send(echo6(SMALL, destination=FAR))
    net.run(0.1)
    assert bytes(net.one().data.data)[0] == 129


@pytest.mark.rfc("7915", "5.1 DF")
def test_ipv6_hosts_and_ipv4_guests_are_not_concerned() -> None:
    net = Net(config(nat64=True))
    know6(net)
    server = net.host.serve_udp(WORLD6, 9)
    net.send(udp6(b"x", destination=WORLD6), udp6(b"x", destination=WORLD6))
    net.run(0.1)
    assert [one.shape.dont_fragment for one in server.received] == [True, True]


@pytest.mark.rfc("7915", "4.2 too big")
@pytest.mark.parametrize(("mtu", "expected"), [(1400, 1420), (1280, 1300), (1260, 1280)])
@pytest.mark.parametrize("hops", [(), ROUTERS])
@pytest.mark.parametrize("kind", ["udp", "echo"])
def test_the_mtu_of_the_path_is_that_of_ipv4_and_twenty_bytes(
    net: World, mtu: int, expected: int, hops: tuple[bytes, ...], kind: str
) -> None:
    net.host.path(WORLD, hops=hops, mtu=mtu)
    net.send(udp6(bytes(1450), destination=FAR) if kind == "udp" else echo6(bytes(1450), destination=FAR))
    net.run(0.1)
    source, what, word, quoted = net.told()
    assert (source, what, word) == (name(hops[-1]) if hops else GATEWAY6, b"\2\0", expected.to_bytes(4, "big"))
    assert quoted[8:40] == GUEST6 + FAR


@pytest.mark.rfc("7915", "4.2 least")
@pytest.mark.parametrize("mtu", [68, 600, 1259])
@pytest.mark.parametrize("kind", ["udp", "echo"])
def test_guests_get_no_mtu_below_the_ipv6_minimum(net: World, mtu: int, kind: str) -> None:
    net.host.path(WORLD, hops=ROUTERS, mtu=mtu)
    net.send(udp6(bytes(1300), destination=FAR) if kind == "udp" else echo6(bytes(1300), destination=FAR))
    net.run(0.1)
    assert net.told()[1:3] == (b"\2\0", (1280).to_bytes(4, "big"))


# ----------------------------------------------------------------------------------------------- errors

ICMP4 = {
    (3, 0): b"\1\0",
    (3, 1): b"\1\3",
    (3, 2): b"\4\1",
    (3, 3): b"\1\4",
    (3, 5): b"\1\3",
    (3, 6): b"\1\0",
    (3, 7): b"\1\3",
    (3, 8): b"\1\3",
    (3, 9): b"\1\1",
    (3, 10): b"\1\1",
    (3, 11): b"\1\0",
    (3, 12): b"\1\3",
    (3, 13): b"\1\1",
    (3, 15): b"\1\1",
    (11, 0): b"\3\0",
    (11, 1): b"\3\1",
}
UNTOLD = [(3, 14), (3, 16), (4, 0), (5, 1), (6, 0), (12, 0), (12, 1), (13, 0), (99, 0)]


def reported(net: World, kind: int, code: int, info: int = 0, reporter: bytes = ROUTERS[0]) -> bytes:
    """Let a router report a datagram; its frame."""
    frame = udp6(b"x" * 40, destination=FAR)
    net.send(frame)
    net.heard()
    (flow,) = net.stack._udp.flows.values()
    report = IcmpReport(errno.EPROTO, kind, code, info, reporter, WORLD, 9, b"x" * 40, 60)
    flow.datagram_error(errno.EPROTO, report)
    net.run(0.1)
    return frame


@pytest.mark.rfc("7915", "4.2 unreachable")
@pytest.mark.rfc("7915", "4.2 protocol")
@pytest.mark.rfc("7915", "4.2 port")
@pytest.mark.rfc("7915", "4.2 prohibited")
@pytest.mark.rfc("7915", "4.2 time")
@pytest.mark.parametrize(("message", "expected"), ICMP4.items())
def test_errors_of_ipv4_are_translated_to_ipv6(net: World, message: tuple[int, int], expected: bytes) -> None:
    reported(net, *message)
    assert net.told()[1:3] == (expected, bytes(3) + (b"\6" if message == (3, 2) else b"\0"))


@pytest.mark.rfc("7915", "4.2 others")
@pytest.mark.parametrize("message", UNTOLD)
def test_errors_that_mean_nothing_in_ipv6(net: World, message: tuple[int, int]) -> None:
    reported(net, *message)
    net.silence()


def test_a_router_that_tells_no_mtu(net: World) -> None:
    reported(net, 3, 4)
    assert net.told()[1:3] == (b"\2\0", (1280).to_bytes(4, "big"))


@pytest.mark.rfc("6146", "3.7 error")
@pytest.mark.rfc("7915", "4.1 source")
@pytest.mark.rfc("7915", "4.3")
def test_an_error_is_about_the_packet_that_the_guest_sent(net: World) -> None:
    frame = reported(net, 3, 13)
    source, _, _, quoted = net.told()
    assert source == name(ROUTERS[0])
    assert quoted == frame[14:]


@pytest.mark.rfc("7915", "4.2 unreachable")
@pytest.mark.parametrize(
    ("number", "expected"), [(errno.ENETUNREACH, 0), (errno.EHOSTUNREACH, 3), (errno.EACCES, 1)]
)
@pytest.mark.parametrize("kind", ["tcp", "udp", "echo"])
def test_errors_of_the_host_itself(net: World, number: int, expected: int, kind: str) -> None:
    net.host.unreachable(WORLD, error=number, at_once=True)
    frame = {"udp": udp6(b"x", destination=FAR), "echo": echo6(destination=FAR)}.get(kind)
    if frame is None:
        Peer6(net, FAR).send(2)
    else:
        net.send(frame)
    net.run(0.1)
    assert net.told()[:2] == (GATEWAY6, bytes((1, expected)))


@pytest.mark.rfc("7915", "5.1 TTL")
def test_the_hop_limit_counts_this_router(net: World) -> None:
    net.host.path(WORLD, hops=ROUTERS)
    net.host.answer_ping(WORLD)
    heard = []
    for hop_limit in range(1, 5):
        net.send(echo6(seq=hop_limit, hop_limit=hop_limit, destination=FAR))
        net.run(0.1)
        packet = net.one().data
        heard.append((packet.src, bytes(packet.data)[0]))
    assert heard == [(GATEWAY6, 3), (name(ROUTERS[0]), 3), (name(ROUTERS[1]), 3), (FAR, 129)]


@pytest.mark.rfc("6146", "3.4 error")
@pytest.mark.rfc("6146", "3.4 nested")
@pytest.mark.rfc("7915", "5.3")
def test_errors_of_a_guest_about_nothing_or_about_an_error(net: World) -> None:
    net.host.serve_udp(WORLD, 7, lambda payload, address, port: payload)
    net.send(udp6(b"x", dport=7, destination=FAR))
    net.run(0.1)
    (packet,) = of_kind(net.take(), UDP)
    whole = bytes(packet)
    nested = checked(ICMPV6, b"\1\4\0\0" + bytes(4) + whole, 2, FAR, GUEST6)
    for quoted in (b"", whole[:44], ipv6(ICMPV6, nested, source=FAR, destination=GUEST6)[14:]):
        net.send(icmp6(1, 4, bytes(4) + quoted, destination=FAR))
    net.silence()
    assert net.stats.drop_icmp_unmatched == 3
    assert len(net.stack.flows()) == 1


# -------------------------------------------------------------------------------------- extension headers

SKIPPED = bytes((UDP, 0, 1, 4, 0, 0, 0, 0))
"""A header with nothing but padding: of options, or a Routing header of no type with no segments left."""


@pytest.mark.rfc("7915", "5.1 headers")
@pytest.mark.parametrize(
    ("kind", "header"), [(0, SKIPPED), (60, SKIPPED), (43, bytes((UDP, 0, 4, 0)) + bytes(4))]
)
def test_extension_headers_are_skipped(net: World, kind: int, header: bytes) -> None:
    net.send(ipv6(kind, header + datagram(b"through", destination=FAR), destination=FAR))
    assert net.heard() == [(b"through", 63, False)]


@pytest.mark.rfc("7915", "5.1 route")
def test_a_route_that_is_not_done_is_refused(net: World) -> None:
    header = bytes((UDP, 0, 4, 1)) + bytes(4)
    net.send(ipv6(43, header + datagram(b"x", destination=FAR), destination=FAR))
    assert net.told()[1:3] == (b"\4\0", bytes((0, 0, 0, 42)))
    assert net.heard() == []
