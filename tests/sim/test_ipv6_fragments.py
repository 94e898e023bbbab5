"""IPv6 packets in fragments, both ways, and the path's MTU; frames are built by struct."""

from __future__ import annotations

import itertools
import struct
from random import Random
from typing import Any

import pytest

from slirpy.core import fragments as bounds
from slirpy.core.ip import PATH_MTU_AGE
from slirpy.interfaces import LinkFeatures
from slirpy.testing.world.programs import Source
from slirpy.testing.world.udp import SimUdpServer
from slirpy.units import SECOND
from tests.support.frames6 import (
    ALL_NODES,
    GATEWAY6,
    GUEST6,
    ICMPV6,
    ROUTER_MAC,
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
    mac_of,
    neighbor_solicitation,
    of_kind,
    udp6,
)
from tests.support.harness import SYN, Net, config

DATA = bytes(Random(7).randbytes(2000))


class World(Net):
    """A network whose guest is known, and a server that hears its datagrams."""

    def __init__(self, **more: Any) -> None:
        super().__init__(more.pop("plan", None) or config(), **more)
        know6(self)
        self.silence()
        self.server: SimUdpServer = self.host.serve_udp(WORLD6, 9)

    def heard(self) -> list[bytes]:
        """The payloads that have reached the server."""
        self.run(0.01)
        payloads = [received.payload for received in self.server.received]
        self.server.received.clear()
        return payloads


@pytest.fixture
def net() -> World:
    return World()


def errors(net: Net) -> list[Any]:
    """The ICMPv6 errors that have come. Unsolicited advertisements of the router may have come too."""
    return [packet for packet in of_kind(net.take(), ICMPV6) if bytes(packet.data)[0] < 128]


def drops(net: Net) -> dict[str, int]:
    return {name: value for name, value in net.stats.nonzero().items() if name.startswith("drop")}


# ------------------------------------------------------------------------------------------- inward


@pytest.mark.rfc("8200", "5 reassembly")
@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
@pytest.mark.parametrize("batch", [False, True])
def test_fragments_in_any_order(net: World, order: tuple[int, ...], batch: bool) -> None:
    frames = fragments(datagram(DATA))
    assert len(frames) == 4
    frames = [frames[number] for number in order]
    if batch:
        net.send(*frames)
    else:
        for frame in frames:
            net.send(frame)
    assert net.heard() == [DATA]
    assert len(net.stack.fragments6) == 0
    assert drops(net) == {}


@pytest.mark.rfc("8200", "4.5 duplicate")
def test_a_repeated_fragment_is_no_overlap(net: World) -> None:
    first, *others = fragments(datagram(DATA))
    net.send(first, first, *others)
    assert net.heard() == [DATA]


@pytest.mark.rfc("8200", "4.5 overlap")
@pytest.mark.parametrize("offset", [504, 8, 1016])
def test_an_overlap_discards_the_packet_and_later_fragments(net: World, offset: int) -> None:
    frames = fragments(datagram(DATA))
    net.send(frames[0], frames[1], fragment(offset, b"x" * 16, more=True))
    net.send(*frames)
    assert net.heard() == []
    assert drops(net) == {"drop_fragment_bad": 7}
    net.run(61)
    assert errors(net) == []
    assert len(net.stack.fragments6) == 0
    net.send(*frames)  # another packet may have the number again
    assert net.heard() == [DATA]


@pytest.mark.rfc("8200", "4.5 key")
def test_packets_are_distinguished_by_identification_and_addresses(net: World) -> None:
    other = ip6("fec0::77")
    know6(net, other)
    packets = [
        fragments(datagram(b"a" * 1000), ident=1),
        fragments(datagram(b"b" * 1000), ident=1 << 16 | 1),
        fragments(datagram(b"c" * 1000, source=other), ident=1, source=other),
    ]
    net.send(*(frame for frames in zip(*packets, strict=True) for frame in frames))
    assert sorted(net.heard()) == [b"a" * 1000, b"b" * 1000, b"c" * 1000]


@pytest.mark.rfc("8200", "4.5 next header")
def test_the_protocol_of_later_fragments_does_not_count(net: World) -> None:
    first = fragments(datagram(b"a" * 600))[0]
    net.send(first, fragment(512, datagram(b"a" * 600)[512:], more=False, protocol=TCP))
    assert net.heard() == [b"a" * 600]


@pytest.mark.rfc("8200", "4.5 atomic")
def test_an_atomic_fragment_is_a_packet(net: World) -> None:
    payload = datagram(b"atomic")
    net.send(*fragments(datagram(DATA), ident=5)[:2])
    net.send(fragment(0, payload, more=False, ident=5))  # the number of another (RFC 6946)
    assert net.heard() == [b"atomic"]
    assert len(net.stack.fragments6) == 1


@pytest.mark.rfc("8200", "4.5 reserved")
def test_reserved_bits_are_ignored(net: World) -> None:
    frames = [bytearray(frame) for frame in fragments(datagram(DATA))]
    for frame in frames:
        frame[55] = 0xFF  # the reserved byte after Next Header
        frame[57] |= 6
    net.send(*map(bytes, frames))
    assert net.heard() == [DATA]


@pytest.mark.rfc("8200", "4.5 retained")
def test_of_headers_that_differ_those_of_the_first_fragment_count(net: World) -> None:
    first, second, *others = fragments(datagram(DATA))
    before = bytes((44, 0, 1, 4, 0, 0, 0, 0))
    piece = datagram(DATA)[512:1024]
    net.send(fragment(512, piece, more=True, first=60, before=before, hop_limit=9), first, *others)
    assert net.heard() == [DATA]
    assert drops(net) == {}
    net.send(second, fragment(0, datagram(DATA)[:512], more=True, first=60, before=before), *others)
    assert net.heard() == [DATA]
    # What is asked for in the headers before a fragment counts for each of them when it arrives.
    refused = bytes((44, 0, 0x80, 4, 0, 0, 0, 0))
    net.send(fragment(512, piece, more=True, first=60, before=refused))
    assert bytes(net.one().data.data)[:2] == b"\4\2"


@pytest.mark.rfc("8200", "4.5 length")
def test_headers_before_and_after_the_fragment_header(net: World) -> None:
    payload = bytes((UDP, 0, 1, 4, 0, 0, 0, 0)) + datagram(DATA)  # destination options, then UDP
    before = bytes((44, 0, 1, 4, 0, 0, 0, 0))  # hop-by-hop options
    net.send(*fragments(payload, first=0, before=before, protocol=60))
    assert net.heard() == [DATA]


@pytest.mark.rfc("8200", "4.5 incomplete")
def test_a_first_fragment_without_all_headers(net: World) -> None:
    net.send(fragment(0, datagram(DATA)[:8], more=True, protocol=TCP))
    packet = net.one().data
    assert (packet.nxt, bytes(packet.data)[:2]) == (ICMPV6, b"\4\3")
    assert drops(net) == {"drop_ipv6_header": 1}


@pytest.mark.rfc("8200", "4.5 too long")
def test_a_packet_that_would_be_too_long(net: World) -> None:
    net.send(fragment(65528, b"x" * 16, more=False))
    message = bytes(net.one().data.data)
    assert message[:2] == b"\4\0"
    assert int.from_bytes(message[4:8], "big") == 42  # the offset
    assert drops(net) == {"drop_ipv6_header": 1}


@pytest.mark.rfc("8200", "4.5 multiple")
def test_a_piece_that_is_no_multiple_of_eight(net: World) -> None:
    net.send(fragment(0, datagram(DATA)[:509], more=True))
    message = bytes(net.one().data.data)
    assert message[:2] == b"\4\0"
    assert int.from_bytes(message[4:8], "big") == 4
    assert drops(net) == {"drop_ipv6_header": 1}


def test_neighbor_discovery_never_comes_in_fragments(net: World) -> None:
    frame = neighbor_solicitation(GATEWAY6)
    message, source = frame[54:], frame[22:38]
    both: dict[str, Any] = {"source": source, "destination": frame[38:54], "hop_limit": 255, "protocol": ICMPV6}
    net.send(fragment(0, message, more=False, **both))
    net.send(fragment(0, message[:24], more=True, **both), fragment(24, message[24:], more=False, **both))
    net.silence()
    assert drops(net) == {"drop_ndp_malformed": 2}


def test_an_echo_in_fragments(net: World) -> None:
    message = checked(ICMPV6, b"\x80\0\0\0\0\7\0\1" + DATA, 2, destination=GATEWAY6)
    net.send(*fragments(message, protocol=ICMPV6, destination=GATEWAY6))
    assert reassembled(net, ICMPV6)[8:] == DATA


@pytest.mark.rfc("4443", "3.3 fragments")
@pytest.mark.rfc("8200", "4.5 time")
@pytest.mark.rfc("8200", "4.5 time report")
def test_a_packet_that_is_never_complete_is_reported(net: World) -> None:
    first, second, *_ = fragments(datagram(DATA))
    net.send(first, second)
    net.run(59)
    assert errors(net) == []
    net.run(2)
    (packet,) = errors(net)
    assert (packet.src, packet.dst) == (GATEWAY6, GUEST6)
    message = bytes(packet.data)
    assert message[:8] == b"\3\1" + message[2:4] + bytes(4)
    assert message[8:] == first[14:]
    assert drops(net) == {"drop_fragment_timeout": 2}
    net.send(*fragments(datagram(DATA))[1:])  # without the first fragment there is nothing to quote
    net.run(61)
    assert errors(net) == []


@pytest.mark.rfc("6146", "3.4 bound")
def test_memory_is_bounded(net: World) -> None:
    for ident in range(3000):
        net.send(fragment(0, datagram(DATA)[:1000], more=True, ident=ident))
    assert 0 < net.stack.fragments6._cost <= bounds.LINK_BYTES
    assert net.stats.drop_fragment_overtaken + net.stats.drop_fragment_limit > 2000
    net.run(61)
    net.take()
    assert net.stack.fragments6._cost == 0


def test_spoiled_packets_cost_little(net: World) -> None:
    for ident in range(40):
        for offset in range(0, 64000, 1200):
            net.send(fragment(offset, bytes(1200), more=True, ident=ident))
        net.send(fragment(8, bytes(1200), more=True, ident=ident))
    assert len(net.stack.fragments6) == 40
    assert net.stack.fragments6._cost == 40 * 1024


# ------------------------------------------------------------------------------------------- outward


def reassembled(net: World, protocol: int) -> bytes:
    """The payload of the fragments that have come, all of one packet."""
    pieces, numbers, ended = {}, set(), False
    for frame in net.raw():
        assert frame[20] == 44
        assert len(frame) == 54 + int.from_bytes(frame[18:20], "big") <= 14 + net.port.mtu
        kind, reserved, field, ident = struct.unpack("!BBHI", frame[54:62])
        assert (kind, reserved, field & 6) == (protocol, 0, 0)
        numbers.add(ident)
        pieces[field & ~7] = frame[62:]
        ended |= not field & 1
        source, destination = frame[22:38], frame[38:54]
    assert ended
    assert len(numbers) == 1
    whole = b"".join(pieces[offset] for offset in sorted(pieces))
    at = {UDP: 6, ICMPV6: 2}[protocol]
    assert checked(protocol, whole[:at] + bytes(2) + whole[at + 2 :], at, source, destination) == whole
    return whole


@pytest.mark.rfc("8201", "5.5 fragments")
@pytest.mark.rfc("8200", "4.1 once")
@pytest.mark.rfc("8200", "4.5 fit")
@pytest.mark.rfc("8200", "4.5 eight")
@pytest.mark.rfc("8200", "4.5 headers")
@pytest.mark.rfc("8200", "4.5 disjoint")
@pytest.mark.rfc("8200", "4.5 reserved")
@pytest.mark.rfc("8200", "8.1 pseudo-header")
@pytest.mark.parametrize("size", [1453, 2000, 9000, 65527])
def test_datagrams_to_a_guest_are_fragmented(net: World, size: int) -> None:
    data = Random(1).randbytes(size)
    net.host.serve_udp(WORLD6, 10, lambda payload, address, port: data)
    net.send(udp6(b"x", dport=10))
    net.run(0.01)
    assert reassembled(net, UDP)[8:] == data


@pytest.mark.rfc("8200", "4.5 whole")
def test_packets_that_fit_are_not(net: World) -> None:
    net.host.serve_udp(WORLD6, 10, lambda payload, address, port: bytes(1452))
    net.send(udp6(b"x", dport=10))
    net.run(0.01)
    (packet,) = of_kind(net.take(), UDP)
    assert len(packet.data.data) == 1452


@pytest.mark.rfc("8200", "4.5 number")
def test_each_packet_has_a_number_of_its_own(net: World) -> None:
    numbers = set()
    for seq in range(5):
        net.send(echo6(bytes(1400), seq=seq, destination=GATEWAY6))
        net.take()
        message = checked(ICMPV6, b"\x80\0\0\0\0\7\0\1" + DATA, 2, destination=GATEWAY6)
        net.send(*fragments(message, protocol=ICMPV6, destination=GATEWAY6, ident=seq))
        numbers |= {frame[58:62] for frame in net.raw()}
    assert len(numbers) == 5


# ------------------------------------------------------------------------------------- the path's MTU


def too_big(mtu: int, packet: bytes, source: bytes = GUEST6) -> bytes:
    """Return a guest's message about a packet that is too big for it."""
    return icmp6(2, 0, mtu.to_bytes(4, "big") + packet[:1200], source=source, destination=WORLD6)


@pytest.mark.rfc("8201", "1 implement")
@pytest.mark.rfc("8201", "3 first")
@pytest.mark.rfc("8201", "4 reduce")
@pytest.mark.rfc("8201", "4 elicit")
@pytest.mark.rfc("8201", "4 fast")
@pytest.mark.rfc("8201", "4 five minutes")
@pytest.mark.rfc("8201", "5.3")
@pytest.mark.rfc("8200", "5 path")
def test_a_guest_that_takes_less_gets_less(net: World) -> None:
    net.host.serve_udp(WORLD6, 10, lambda payload, address, port: DATA)
    net.send(udp6(b"x", dport=10))
    net.run(0.01)
    first = net.raw()[0][14:]
    net.send(too_big(1300, first))
    assert net.stats.icmp_errors_in == 1
    net.send(udp6(b"x", dport=10))
    net.run(0.01)
    assert max(map(len, net.raw())) <= 14 + 1300
    net.run(PATH_MTU_AGE / SECOND - 300)
    net.send(udp6(b"x", dport=10))
    net.run(0.01)
    assert max(map(len, net.raw())) <= 14 + 1300
    net.run(400)
    net.raw()
    net.send(udp6(b"x", dport=10))
    net.run(0.01)
    assert max(map(len, net.raw())) > 14 + 1400


@pytest.mark.rfc("8201", "4 discard")
@pytest.mark.rfc("8201", "4 least")
@pytest.mark.rfc("8200", "4.5 whole")
def test_less_than_the_least_mtu_is_not_believed(net: World) -> None:
    net.host.serve_udp(WORLD6, 10, lambda payload, address, port: DATA)
    net.send(udp6(b"x", dport=10))
    net.run(0.01)
    net.send(too_big(600, net.raw()[0][14:]))
    assert drops(net) == {"drop_icmp_unmatched": 1}
    net.send(udp6(b"x", dport=10))
    net.run(0.01)
    assert max(map(len, net.raw())) > 14 + 1400


@pytest.mark.rfc("8201", "3 first")
@pytest.mark.rfc("8201", "4 increase")
def test_a_report_makes_no_packet_larger(net: World) -> None:
    net.host.serve_udp(WORLD6, 10, lambda payload, address, port: DATA)
    net.send(udp6(b"x", dport=10))
    net.run(0.01)
    first = net.raw()[0][14:]
    for mtu in (len(first), 1300, 1300, 1400):
        net.send(too_big(mtu, first))
    assert drops(net) == {"drop_icmp_unmatched": 3}
    net.send(udp6(b"x", dport=10))
    net.run(0.01)
    assert 14 + 1288 < max(map(len, net.raw())) <= 14 + 1300


@pytest.mark.rfc("8201", "4 least")
def test_the_least_mtu_is_believed_and_no_less(net: World) -> None:
    net.host.serve_udp(WORLD6, 10, lambda payload, address, port: DATA)
    net.send(udp6(b"x", dport=10))
    net.run(0.01)
    first = net.raw()[0][14:]
    net.send(too_big(1279, first))
    assert drops(net) == {"drop_icmp_unmatched": 1}
    assert net.stack.neighbors.get(GUEST6).path_mtu == 0
    net.send(too_big(1280, first))
    assert drops(net) == {"drop_icmp_unmatched": 1}
    assert net.stack.neighbors.get(GUEST6).path_mtu == 1280


@pytest.mark.rfc("8201", "4 validate")
@pytest.mark.rfc("4443", "5.2")
def test_a_report_about_nothing_that_was_sent(net: World) -> None:
    net.send(too_big(1300, udp6(bytes(1400), source=WORLD6, destination=GUEST6)[14:]))
    net.send(too_big(1300, udp6(bytes(1400), source=WORLD6, destination=ip6("fec0::99"))[14:]))
    net.send(too_big(1300, b"x" * 44))
    assert drops(net) == {"drop_icmp_unmatched": 3}
    assert net.stack.neighbors.get(GUEST6).path_mtu == 0


@pytest.mark.rfc("8201", "4 reduce")
@pytest.mark.rfc("8201", "4 elicit")
@pytest.mark.rfc("8201", "4 discard")
@pytest.mark.rfc("8201", "4 least")
@pytest.mark.rfc("8201", "4 increase")
@pytest.mark.rfc("8201", "5.4 size")
@pytest.mark.rfc("8201", "5.4 once")
@pytest.mark.rfc("8201", "5.4 connection")
@pytest.mark.rfc("8201", "5.4 window")
@pytest.mark.rfc("4443", "3.2 upper")
def test_tcp_obeys_packet_too_big(net: World) -> None:
    net.host.serve_tcp(WORLD6, 80, lambda: Source(bytes(100_000)))
    peer = Peer6(net)
    peer.open()
    net.run(0.01)
    frames = [frame for frame in net.raw() if len(frame) == 1514]
    assert frames
    (flow,) = net.stack.tcp_flows.values()
    conn, window = flow.conn, flow.conn.cc.cwnd
    for mtu in (1279, 1500):
        net.send(too_big(mtu, frames[0][14:]))
    net.silence()
    assert (conn.mss, net.stats.drop_icmp_unmatched) == (1440, 2)
    net.send(too_big(1300, frames[0][14:]))
    segments = of_kind(net.take(), TCP)  # at once
    assert segments[0].data.seq == int.from_bytes(frames[0][58:62], "big")
    assert {len(packet.data.data) for packet in segments} <= set(range(1300 - 60 + 1))
    assert conn.cc.cwnd == window
    for number in range(3):  # the other packets on their way are reported, too
        net.send(too_big(1300, frames[number][14:]))
    net.silence()
    peer.ack = (segments[-1].data.seq + len(segments[-1].data.data)) & 0xFFFFFFFF
    peer.send()
    net.run(0.01)
    segments = of_kind(net.take(), TCP)
    assert segments
    assert max(len(packet.data.data) for packet in segments) == 1300 - 60


@pytest.mark.rfc("8201", "5.4 mss")
def test_a_smaller_path_to_the_guest_does_not_change_our_mss_option(net: World) -> None:
    net.host.serve_udp(WORLD6, 10, lambda payload, address, port: DATA)
    net.host.serve_tcp(WORLD6, 80, lambda: Source(b""))
    net.send(udp6(b"x", dport=10))
    net.run(0.01)
    net.send(too_big(1300, net.raw()[0][14:]))
    assert net.stack.neighbors.get(GUEST6).path_mtu == 1300
    peer = Peer6(net)
    peer.send(SYN, options=b"\2\4\5\xa0")
    net.run(0.01)
    (answer,) = peer.take()
    assert answer.opts[:4] == b"\2\4" + (1440).to_bytes(2, "big")


@pytest.mark.rfc("8201", "5.2 path")
def test_a_report_is_about_the_way_to_one_guest(net: World) -> None:
    other = ip6("fec0::77")
    know6(net, other)
    net.host.serve_udp(WORLD6, 10, lambda payload, address, port: DATA)
    largest = {}
    for _ in range(2):
        for guest in (GUEST6, other):
            net.send(udp6(b"x", dport=10, source=guest))
            net.run(0.01)
            frames = net.raw()
            assert {frame[38:54] for frame in frames} == {guest}
            largest[guest] = max(map(len, frames))
        net.send(too_big(1300, frames[0][14:], source=other))
    assert largest[GUEST6] > 14 + 1400
    assert largest[other] <= 14 + 1300


@pytest.mark.rfc("8201", "5.5 told")
@pytest.mark.rfc("4443", "3.2 sent")
def test_datagrams_too_big_for_the_hosts_path(net: World) -> None:
    router = ip6("2001:db8:1::1")
    net.host.path(WORLD6, hops=[router], mtu=1400)
    frame = udp6(bytes(1400))
    net.send(frame)
    net.run(0.1)
    packet = net.one().data
    message = bytes(packet.data)
    assert (packet.src, message[:2], message[4:8]) == (router, b"\2\0", (1400).to_bytes(4, "big"))
    # Its length is that of the part which is quoted.
    assert message[8:12] + message[14:48] == frame[14:18] + frame[20:54]
    # What the guest has cut by itself may be cut again. That is true of this datagram only.
    net.send(*fragments(datagram(bytes(1400)), size=1208))
    assert net.heard() == [bytes(1400)]
    for _ in range(2):
        net.send(frame)
        assert net.heard() == []
        assert [bytes(packet.data)[:2] for packet in errors(net)] == [b"\2\0"]


@pytest.mark.rfc("4443", "3.2 sent")
def test_datagrams_too_big_for_the_hosts_own_link(net: World) -> None:
    net.host.path(WORLD6, mtu=1300)
    net.send(udp6(bytes(1400)))
    message = bytes(net.one().data.data)
    assert (message[:2], message[4:8]) == (b"\2\0", (1300).to_bytes(4, "big"))


@pytest.mark.rfc("8200", "5 link")
def test_a_large_link_needs_no_fragments() -> None:
    net = World(plan=config(mtu=65520), features=LinkFeatures(mtu=65520))
    net.send(udp6(bytes(65520 - 48)))
    assert net.heard() == [bytes(65520 - 48)]


@pytest.mark.rfc("4443", "3.4 code 2")
@pytest.mark.rfc("4443", "3.4 pointer")
@pytest.mark.rfc("4443", "2.4 e.3")
@pytest.mark.rfc("4443", "2.4 e.4")
@pytest.mark.rfc("8200", "4.2 10")
@pytest.mark.rfc("8200", "4.2 11")
@pytest.mark.parametrize("mac", [mac_of(ALL_NODES), ROUTER_MAC])
def test_multicast_packets_cause_only_permitted_errors(net: World, mac: bytes) -> None:
    """RFC 4443, section 2.4 (e.3), whatever the frame's destination."""
    to: dict[str, Any] = {"destination": ALL_NODES, "to": mac}
    option = bytes((58, 0, 0x80, 0, 1, 2, 0, 0))  # to be reported even to those who speak to a group
    for frame in (udp6(b"x", **to), ipv6(132, bytes(20), **to)):
        net.send(frame)
        net.silence()
    request = b"\x80" + bytes(7)
    net.send(ipv6(60, option + request, **to))
    message = bytes(net.one().data.data)
    assert message[:2] == b"\4\2"
    assert int.from_bytes(message[4:8], "big") == 42
    net.send(ipv6(60, bytes((58, 0, 0xC1, 0, 1, 2, 0, 0)) + request, **to))
    net.silence()
