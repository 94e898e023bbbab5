"""Datagrams to a service in a conversation that it has opened: the fast path against the slow one."""

from __future__ import annotations

import struct

import pytest

from slirpy.interfaces import Datagram
from slirpy.wire.ipv4 import DF
from tests.sim.tftp_reader import Reader, network, pattern
from tests.support.harness import (
    GATEWAY,
    GUEST,
    GUEST_MAC,
    Net,
    config,
    eth,
    ip,
    ipv4,
    udp,
    udp_segment,
)
from tests.support.twins import Twins

OTHER, OTHER_MAC = ip("10.0.2.16"), bytes.fromhex("525400123457")


class Listener:
    """A service that notes what it gets, and answers with as much."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.heard: list[tuple[bytes, int, bytes, int, bytes, bytes]] = []
        self.port = net.stack.open_port(GATEWAY, GUEST, 3000, self)

    def datagram(self, datagram: Datagram) -> None:
        source, source_port, destination, destination_port, payload, mac, link = datagram
        assert link is self.net.stack.ports[0]
        self.heard.append((source, source_port, destination, destination_port, bytes(payload), mac))
        self.net.stack.send_datagrams(destination, destination_port, source, source_port, [bytes(payload)])


class ServiceTwins(Twins):
    """Each with a service."""

    def __init__(self) -> None:
        super().__init__()
        for net in self.nets:
            net.know()
        self.services = [Listener(net) for net in self.nets]
        assert self.services[0].port == self.services[1].port
        self.port = self.services[0].port

    def frame(self, payload: bytes, *, ttl: int = 64, fragment: int = 0, mac: bytes = GUEST_MAC) -> bytes:
        segment = udp_segment(payload, 3000, self.port, GUEST, GATEWAY)
        packet = ipv4(17, segment, destination=GATEWAY, ttl=ttl, fragment=fragment)
        return eth(packet, source=mac)[: 14 + len(packet)]  # as TAP and QEMU have them: not padded

    def send(self, *frames: bytes) -> None:
        super().send(*frames)
        self.run(0.001)

    def compare(self) -> None:
        super().compare()
        assert self.services[0].heard == self.services[1].heard


@pytest.mark.parametrize("size", [0, 1, 4, 11, 12, 18, 19, 1000, 1472])
def test_the_second_datagram_goes_the_fast_way(size: int) -> None:
    """Short ones too: an acknowledgement of TFTP makes a frame of 46 bytes."""
    twins = ServiceTwins()
    for number in range(4):
        twins.send(twins.frame(bytes([number]) * size))
    assert twins.fast == 3
    assert [payload for *_, payload, _ in twins.services[0].heard] == [bytes([n]) * size for n in range(4)]


def test_odd_frames_take_the_slow_path() -> None:
    twins = ServiceTwins()
    frame = twins.frame(b"1234")
    twins.send(frame)
    for odd in (
        twins.frame(b"1234", ttl=63),
        twins.frame(b"1234", fragment=DF),
        twins.frame(b"1234", fragment=0x2000),
        twins.frame(b"1234", mac=OTHER_MAC),
        frame[:-1] + b"5",
        frame[:-1],
        frame[:24] + b"\0\0" + frame[26:],
        frame[:38] + b"\0\3" + frame[40:],
    ):
        before = twins.fast
        twins.send(odd)
        assert twins.fast == before
        twins.send(frame, frame)  # and the path is laid again where it was another's
    assert twins.fast > 8


def test_a_conversation_that_is_over_leaves_no_path() -> None:
    twins = ServiceTwins()
    twins.send(twins.frame(b"1"), twins.frame(b"2"))
    for net in twins.nets:
        net.stack.close_port(GATEWAY, twins.port, GUEST, 3000)
        assert not net.stack.udp_paths
        net.take()
    net = twins.nets[0]
    net.send(twins.frame(b"3"))
    assert len(twins.services[0].heard) == 2
    assert [call.name for call in net.host.calls] == ["open_udp", "send_udp"]  # where all other ports lead


def test_a_service_avoids_ports_with_a_path_to_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address to which the guest has sent before has a path to the host; the service would hear nothing."""
    net = Net(config(ipv6=False))  # with IPv6, the other loopback of the host comes into question at first
    net.know()
    net.host.serve_udp(b"\x7f\0\0\1", 50000)
    for _ in range(2):
        net.send(udp(b"to the host", sport=3000, dport=50000, destination=GATEWAY))
    assert net.stats.udp_fastpath == 1
    draws = [50000, 50001]
    monkeypatch.setattr(net.stack.random, "randrange", lambda *_: draws.pop(0))
    assert Listener(net).port == 50001


def test_a_transfer_of_tftp_goes_the_fast_way() -> None:
    data = pattern(100_000)
    net = network(data)
    assert Reader(net).read("f", "blksize 1000") == data
    assert net.stats.udp_fastpath >= 100
    assert net.stats.tftp_done == 1
    net.run(10)
    assert not net.stack.udp_paths
    assert not net.stack.conversations


def test_the_same_guest_behind_another_port_takes_the_path_along() -> None:
    """The first datagram from there takes the slow path, which learns where to send answers."""
    twins = ServiceTwins()
    twins.send(twins.frame(b"1"), twins.frame(b"2"))
    assert twins.fast == 1
    twins.send(twins.frame(b"3", mac=OTHER_MAC), twins.frame(b"4", mac=OTHER_MAC))
    assert twins.fast == 2
    last = twins.nets[0].wire.sent[-1]
    assert b"".join(last.parts)[:6] == OTHER_MAC
    assert struct.unpack_from("!H", b"".join(last.parts), 36)[0] == 3000


def test_a_neighbour_silent_for_long_is_probed_and_served_meanwhile() -> None:
    """Datagrams of the fast path are words of the guest too; ten minutes after the last one it is in doubt."""
    twins = ServiceTwins()
    twins.send(twins.frame(b"1"))
    for net in twins.nets:
        net.run(400)
    twins.send(twins.frame(b"2"))
    assert twins.fast == 1
    for seconds, asked in ((400, 0), (201, 1)):
        for net in twins.nets:
            net.run(seconds)
            net.take()
            net.stack.send_datagrams(GATEWAY, twins.port, GUEST, 3000, [bytes(100)])
            net.run(0.001)
            kinds = [frame.type for frame in net.take()]
            assert sorted(kinds) == [0x0800, *[0x0806] * asked]
