"""Explicit congestion notification between a guest and the stack, frame by frame (RFC 3168)."""

from __future__ import annotations

from typing import Any

import dpkt
import pytest

from slirpy.testing import Echo
from tests.support.frames6 import GUEST6, WORLD6, know6
from tests.support.harness import ACK, CWR, ECE, GUEST, PSH, SYN, WORLD, Net, Peer, config, rfc1071

ECT0, CE = 2, 3
FAMILIES = pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])


def connected(*, six: bool, offer: int = ECE | CWR) -> tuple[Net, Peer, int]:
    """A guest that has connected to an echo server, and the flags of the SYN,ACK that it got."""
    net = Net(config())
    know6(net) if six else net.know()
    world = WORLD6 if six else WORLD
    net.host.serve_tcp(world, 80, Echo)
    peer = Peer(net, address=world, guest=GUEST6 if six else GUEST)
    peer.send(SYN | offer, opts=bytes((2, 4, 5, 180)))
    net.run(0.1)
    answer = peer.one()
    peer.established(answer)
    return net, peer, answer.flags


def mark(frame: bytes, ecn: int) -> bytes:
    """Write the ECN field of a frame, as a router does."""
    packet = bytearray(frame[14:])
    if packet[0] >> 4 == 6:
        packet[1] = packet[1] & 0xCF | ecn << 4
    else:
        packet[1] = packet[1] & 0xFC | ecn
        packet[10:12] = b"\0\0"
        packet[10:12] = rfc1071(bytes(packet[:20])).to_bytes(2, "big")
    return frame[:14] + bytes(packet)


def segments(net: Net) -> list[Any]:
    """The frames with TCP that have come, as dpkt reads them."""
    return [frame for frame in net.take() if isinstance(frame.data.data, dpkt.tcp.TCP)]


def field(frame: Any) -> int:
    """The ECN field of a frame as dpkt reads it."""
    packet = frame.data
    return int(packet.fc if frame.type == 0x86DD else packet.tos) & 3


@FAMILIES
def test_marks_are_echoed_and_data_is_capable(six: bool) -> None:
    net, peer, flags = connected(six=six)
    assert flags == SYN | ACK | ECE
    fast = net.stats.tcp_fastpath
    net.send(mark(peer.frame(ACK | PSH, b"one"), ECT0))
    assert net.stats.tcp_fastpath == fast + 1, "only marks take the slow path"
    net.run(0.1)
    frames = segments(net)
    assert [(field(frame), bytes(frame.data.data.data)) for frame in frames if frame.data.data.data] == [
        (ECT0, b"one")
    ]
    assert not any(frame.data.data.flags & ECE for frame in frames)
    peer.seq += 3
    peer.ack += 3
    net.send(mark(peer.frame(ACK | PSH, b"two"), CE))
    assert net.stats.tcp_fastpath == fast + 1
    assert net.stats.tcp_ecn_marks == 1
    net.run(0.1)
    frames = segments(net)
    assert frames
    assert all(frame.data.data.flags & ECE for frame in frames)
    assert not any(field(frame) for frame in frames if not frame.data.data.data)


@FAMILIES
def test_an_echo_reduces_the_window(six: bool) -> None:
    net, peer, _ = connected(six=six)
    net.send(peer.frame(ACK | PSH, bytes(1000)))
    net.run(0.1)
    before = peer.conn.cc.cwnd
    peer.seq += 1000
    peer.ack += 1000
    net.send(peer.frame(ACK | ECE))
    assert peer.conn.cc.cwnd < before
    assert net.stats.tcp_ecn_reductions == 1
    assert net.stats.tcp_fast_retransmits == 0
    peer.take()
    net.send(peer.frame(ACK | PSH, b"more"))
    net.run(0.1)
    assert [segment.flags & CWR for segment in peer.take() if segment.data] == [CWR]


@FAMILIES
def test_without_an_offer_all_is_as_before(six: bool) -> None:
    net, peer, flags = connected(six=six, offer=0)
    assert flags == SYN | ACK
    net.send(mark(peer.frame(ACK | PSH, b"one"), CE))
    net.run(0.1)
    frames = segments(net)
    assert any(frame.data.data.data for frame in frames)
    assert not any(field(frame) or frame.data.data.flags & ECE for frame in frames)
    assert net.stats.tcp_ecn_marks == 0
