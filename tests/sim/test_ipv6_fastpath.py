"""The fast path of UDP over IPv6 against the slow one, and large frames of many datagrams against single ones."""

from __future__ import annotations

import errno
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slirpy.core.paths import ServicePath
from slirpy.interfaces import Datagram, LinkFeatures
from tests.support.frames6 import (
    ALL_NODES,
    DNS6,
    GATEWAY6,
    GUEST6,
    ICMPV6,
    UDP,
    WORLD6,
    datagram,
    fragments,
    ip6,
    ipv6,
    know6,
    of_kind,
    udp6,
)
from tests.support.harness import Net, config
from tests.support.twins import UdpTwins

CHECKSUM = LinkFeatures(checksum_offload=True)
LARGE = LinkFeatures(checksum_offload=True, udp_segmentation_offload=True)
OTHER = ip6("2001:db8:7::9")


def numbered(size: int, number: int = 0, **more: Any) -> bytes:
    """A datagram identified by its number."""
    return udp6(bytes([number & 0xFF]) * size, **more)


def twins_of_udp() -> UdpTwins:
    return UdpTwins(know6, WORLD6, OTHER)


def test_the_second_datagram_goes_the_fast_way() -> None:
    twins_of_udp().check_second_is_fast(numbered)


PLAIN = numbered(100)
ODD = {
    "hop limit": numbered(100, hop_limit=63),
    "hop limit 1": numbered(100, hop_limit=1),
    "hop limit 0": numbered(100, hop_limit=0),
    "traffic class": PLAIN[:14] + b"\x6b\x80" + PLAIN[16:],
    "flow label": PLAIN[:16] + b"\x12\x34" + PLAIN[18:],
    "destination options": ipv6(60, bytes((UDP, 0, 1, 4, 0, 0, 0, 0)) + datagram(bytes(100))),
    "hop-by-hop options": ipv6(0, bytes((UDP, 0, 1, 4, 0, 0, 0, 0)) + datagram(bytes(100))),
    "atomic fragment": fragments(datagram(b"x"))[0],
    "first fragment": fragments(datagram(bytes(1000)))[0],
    "last fragment": fragments(datagram(bytes(1000)))[1],
    "no checksum": ipv6(UDP, datagram(bytes(100))[:6] + b"\0\0" + bytes(100)),
    "wrong checksum": numbered(100, wrong=1),
    "cut": PLAIN[:80],
    "cut in the header": PLAIN[:61],
    "cut in the address": PLAIN[:56],
    "another card": numbered(100, mac=bytes.fromhex("525400000099")),
    "another station": numbered(100, to=bytes.fromhex("525600000003")),
    "to all": numbered(100, to=b"\x33\x33\0\0\0\1"),
    "to a group": numbered(100, destination=ALL_NODES),
    "length of UDP": ipv6(UDP, datagram(bytes(100))[:4] + b"\0\4" + bytes(102)),
    "length of UDP, shorter": ipv6(UDP, datagram(bytes(100))[:4] + b"\0\x20" + bytes(102)),
    "length of IPv6, longer": ipv6(UDP, datagram(bytes(100)) + bytes(8)),
    "length of IPv6, too long": ipv6(UDP, datagram(bytes(100)), claimed=200),
    "padding": PLAIN + b"padding",
    "empty": numbered(0),
    "UDP-Lite": PLAIN[:20] + b"\x88" + PLAIN[21:],
    "version": PLAIN[:14] + b"\x50" + PLAIN[15:],
    "ethertype": PLAIN[:13] + b"\xde" + PLAIN[14:],
    "IPv4's ethertype": PLAIN[:12] + b"\x08\0" + PLAIN[14:],
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_frames_take_the_slow_path(odd: str) -> None:
    twins = twins_of_udp()
    twins.send(numbered(100), numbered(100, 1))
    twins.send(numbered(100, 2), ODD[odd], numbered(100, 3), ODD[odd])
    twins.run(0.1)
    twins.send(numbered(100, 4))
    twins.run(0.1)


@settings(deadline=None, max_examples=60)
@given(st.randoms(use_true_random=False))
def test_any_traffic(random: Random) -> None:
    twins = twins_of_udp()
    for _ in range(8):
        frames = []
        sport = random.choice((5000, 5000, 5001))  # one in a batch: order holds within a flow only
        for number in range(random.randrange(12)):
            frame = bytearray(
                numbered(
                    random.choice((0, 1, 17, 18, 100, 100, 1400, 1452)),
                    number,
                    hop_limit=random.choice((64, 64, 64, 1, 2)),
                    dport=random.choice((9, 9, 9, 10)),
                    sport=sport,
                    destination=random.choice((WORLD6, WORLD6, OTHER, GATEWAY6)),
                )
            )
            if random.random() < 0.1:
                frame[random.randrange(len(frame))] ^= 1 << random.randrange(8)
            frames.append(bytes(frame))
        twins.send(*frames)
        twins.run(random.choice((0, 0.001, 0.1, 300)))


def test_a_prefix_whose_second_byte_is_that_of_tcp_in_ipv4() -> None:
    """Byte 23 of a frame is IPv4's protocol, and the second byte of an IPv6 source."""
    net = Net(config(net6="fd06::/64"))
    guest = ip6("fd06::15")
    know6(net, guest)
    net.host.serve_udp(WORLD6, 9)
    for _ in range(3):
        net.send(udp6(b"x", source=guest))
    assert net.stats.udp_fastpath == 2


def test_a_refusal_in_a_batch_is_counted_and_the_rest_is_sent() -> None:
    net = Net()
    know6(net)
    net.send(numbered(100))
    net.host.udp_errors.extend((0, errno.EMSGSIZE))
    net.send(*(numbered(100, number) for number in range(1, 5)))
    assert net.stats.drop_udp_host_error == 1
    assert len(net.calls("send_udp")) == 5


# -------------------------------------------------------------------------------------- a conversation


class Service:
    """Takes datagrams and counts them."""

    def __init__(self) -> None:
        self.heard: list[tuple[bytes, int, bytes]] = []

    def datagram(self, datagram: Datagram) -> None:
        self.heard.append((datagram.source, datagram.source_port, bytes(datagram.payload)))


def test_a_conversation_with_a_service_takes_the_fast_path() -> None:
    net = Net()
    know6(net)
    service = Service()
    port = net.stack.open_port(GATEWAY6, GUEST6, 5000, service)
    for number in range(4):
        net.send(numbered(10, number, destination=GATEWAY6, dport=port))
    assert service.heard == [(GUEST6, 5000, bytes([number]) * 10) for number in range(4)]
    assert net.stats.udp_fastpath == 3
    (path,) = net.stack.udp_paths.values()
    assert isinstance(path, ServicePath)
    net.stack.close_port(GATEWAY6, port, GUEST6, 5000)
    assert net.stack.udp_paths == {}


# -------------------------------------------------------------------------------------- to the guest


@pytest.mark.parametrize("features", [None, CHECKSUM, LARGE])
@pytest.mark.parametrize(
    "sizes", [[100] * 70, [1452] * 50, [1453, 100, 1452, 1452, 7], [0, 1, 2], [9000, 9000]]
)
def test_datagrams_of_a_batch_are_those_that_were_sent(features: LinkFeatures | None, sizes: list[int]) -> None:
    net = Net(features=features)
    know6(net)
    payloads = [bytes([number]) * size for number, size in enumerate(sizes)]
    net.stack.send_datagrams(DNS6, 53, GUEST6, 1000, payloads)
    net.run()
    frames = len(net.wire.sent)
    packets = net.take()
    whole = of_kind(packets, UDP)
    assert [bytes(packet.data.data) for packet in whole] == [p for p in payloads if len(p) <= 1452]
    assert {(packet.src, packet.data.sport) for packet in whole} == {(DNS6, 53)} if whole else True
    assert of_kind(packets, ICMPV6) == []
    if features is LARGE and sizes == [100] * 70:
        assert frames == 2


def test_a_guest_that_takes_less_gets_less_in_batches_too() -> None:
    net = Net()
    know6(net)
    neighbor = net.stack.neighbors.get(GUEST6)
    neighbor.path_mtu, neighbor.path_mtu_since = 1300, net.now
    net.stack.send_datagrams(DNS6, 53, GUEST6, 1000, [bytes(1252), bytes(1253)])
    net.run()
    assert [len(frame) for frame in net.raw()] == [1314, 14 + 48 + 1248, 14 + 48 + 13]
