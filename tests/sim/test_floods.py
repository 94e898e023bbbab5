"""Floods of every kind from one guest, while another works: all stays bounded, and the other notices nothing."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from slirpy.core import neighbor as neighbor_module
from slirpy.core.fragments import MAX_BYTES
from slirpy.core.switch import PORT_MACS
from slirpy.nat import icmp as icmp_module
from slirpy.nat import tcp as tcp_module
from slirpy.nat import udp as udp_module
from slirpy.nat.udpflow import MAX_PATHS
from slirpy.testing import Echo
from tests.support.harness import (
    ACK,
    BROADCAST,
    DNS,
    FIN,
    GATEWAY,
    GATEWAY_MAC,
    GUEST,
    GUEST_MAC,
    PSH,
    RST,
    SYN,
    WORLD,
    Net,
    Peer,
    arp,
    check,
    config,
    echo,
    eth,
    icmp_echo,
    ip,
    ipv4,
    options,
    rfc1071,
    udp,
)

BYSTANDER, BYSTANDER_MAC = ip("10.0.2.77"), bytes.fromhex("525400000077")
BLACK = ip("198.51.100.99")
"""Address at which nobody answers."""
BATCH = 250
FLOWS = 400
"""The bounds of flows in these tests; the real ones are checked against the documentation elsewhere."""

Flood = Callable[[], Iterator[bytes]]


def patched(frame: bytes, at: int, number: int) -> bytes:
    """The frame with 16 bits replaced behind its IP header; the link vouches for transport checksums."""
    return frame[:at] + number.to_bytes(2, "big") + frame[at + 2 :]


def from_address(frame: bytes, source: bytes) -> bytes:
    """The frame with another source address, and a right header checksum."""
    header = frame[14:24] + b"\0\0" + source + frame[30:34]
    return frame[:24] + rfc1071(header).to_bytes(2, "big") + source + frame[30:]


class Side:
    """A :class:`Net` as one guest has it: behind a link of its own."""

    def __init__(self, net: Net, wire: Any) -> None:
        self.net, self.wire, self.host, self.stack = net, wire, net.host, net.stack

    def send(self, *frames: bytes) -> None:
        self.net.send(*frames, wire=self.wire)

    def take(self) -> list[Any]:
        # Not what the switch floods from the attacker, which need not be right.
        return [check(frame) for frame in self.net.raw(self.wire) if frame[:6] == BYSTANDER_MAC]

    def run(self, seconds: float) -> None:
        self.net.run(seconds)


class Scene:
    """An attacker behind the first link and a bystander with a connection behind the second."""

    def __init__(self) -> None:
        self.net = net = Net(config(), checksummed=True)
        self.side = Side(net, net.attach())
        net.host.black_hole(BLACK)
        net.host.answer_ping()
        self.server = net.host.serve_tcp(WORLD, 80)
        net.host.serve_tcp(WORLD, 7, Echo)
        net.know(address=BYSTANDER, mac=BYSTANDER_MAC, wire=self.side.wire)
        self.peer = self.connect(40_000)
        self.count = 0
        self.far = self.server.connections[0]

    def connect(self, sport: int, port: int = 80) -> Peer:
        net: Any = self.side
        peer = Peer(net, port, guest=BYSTANDER, mac=BYSTANDER_MAC, sport=sport)
        peer.open()
        self.net.run(0.01)
        return peer

    def works(self) -> None:
        """The bystander's connection carries data both ways, and pings are answered."""
        self.count += 1
        text = b"number %d" % self.count
        peer, net = self.peer, self.net
        peer.send(ACK | PSH, text)
        self.far.write(text)
        net.run(0.02)
        assert bytes(self.far.received[-len(text) :]) == text
        assert peer.receive()[-len(text) :] == text
        peer.send(ACK)
        question = eth(ipv4(1, icmp_echo(text), source=BYSTANDER, destination=GATEWAY), source=BYSTANDER_MAC)
        self.side.send(question)
        (answer,) = self.side.take()
        assert answer.data.data.data.data == text

    def flood(self, frames: Iterator[bytes]) -> int:
        """Everything, in batches, with time and the bystander's work in between; how many there were."""
        batch: list[bytes] = []
        total = 0
        for frame in frames:
            batch.append(frame)
            if len(batch) == BATCH:
                self.net.send(*batch)
                total += len(batch)
                batch.clear()
                self.net.wire.sent.clear()
                if total % (4 * BATCH) == 0:
                    self.works()
        self.net.send(*batch)
        self.works()
        self.net.wire.sent.clear()
        return total + len(batch)

    def bounded(self) -> None:
        """Check the bounds of all tables now."""
        stack = self.net.stack
        assert len(stack.tcp_flows) <= 3 * FLOWS
        assert len(stack._udp.flows) <= FLOWS
        assert len(stack._ping.flows) <= FLOWS
        assert len(stack.udp_paths) <= FLOWS * MAX_PATHS
        assert len(stack.neighbors._table) <= 64
        assert stack.fragments._cost <= MAX_BYTES
        assert len(stack.switch._table) <= 2 * PORT_MACS
        assert len(stack.closed_flows) <= 256
        assert len(self.net.host._open) <= 4 * FLOWS
        assert len(stack.timers.heap) <= 8 * FLOWS + 2000

    def aftermath(self) -> None:
        """A new connection of the bystander's opens, and in time nothing is left but what it has."""
        fresh = self.connect(40_001, 7)
        fresh.send(ACK | PSH, b"new")
        self.net.run(0.02)
        assert fresh.receive() == b"new"
        fresh.send(ACK)
        self.works()
        self.net.run(400)
        self.net.wire.sent.clear()
        assert len(self.net.host._open) <= 2 + len(self.server.connections)
        self.works()


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(tcp_module, "MAX_FLOWS", FLOWS)
    monkeypatch.setattr(tcp_module, "MAX_OPENING", FLOWS)
    monkeypatch.setattr(tcp_module, "MAX_TIME_WAIT", FLOWS)
    monkeypatch.setattr(udp_module, "MAX_FLOWS", FLOWS)
    monkeypatch.setattr(icmp_module, "MAX_FLOWS", FLOWS)
    monkeypatch.setattr(neighbor_module, "MAX_NEIGHBORS", 64)
    return Scene()


def syn(destination: bytes = WORLD, port: int = 80) -> bytes:
    net: Any = None
    return Peer(net, port, address=destination).frame(SYN, opts=options())


def syns_to_an_open_port() -> Iterator[bytes]:
    frame = syn()
    return (patched(frame, 34, 1024 + n) for n in range(4000))


def syns_into_a_black_hole() -> Iterator[bytes]:
    frame = syn(BLACK)
    return (patched(frame, 34, 1024 + n) for n in range(4000))


def syns_to_all_ports() -> Iterator[bytes]:
    frame = syn()
    return (patched(frame, 36, n) for n in range(1, 4001))


def syns_from_invented_addresses() -> Iterator[bytes]:
    """Of the network, also the bystander's own."""
    frames = [from_address(syn(BLACK), bytes((10, 0, 2, host))) for host in range(4, 255)]
    return (patched(frames[n % 251], 34, 1024 + n // 251) for n in range(4000))


def datagrams_to_all_ports() -> Iterator[bytes]:
    frame = udp(b"x")
    return (patched(frame, 36, n) for n in range(1, 65_536))


def datagrams_from_all_ports() -> Iterator[bytes]:
    frame = udp(b"x")
    return (patched(frame, 34, n) for n in range(1, 8001))


def datagrams_from_invented_addresses() -> Iterator[bytes]:
    frames = [from_address(udp(b"x"), bytes((10, 0, 2, host))) for host in range(4, 255)]
    return (patched(frames[n % 251], 34, 1024 + n // 251) for n in range(4000))


def pings() -> Iterator[bytes]:
    for n in range(3000):
        message = struct.pack("!BBHHH", 8, 0, 0, n, 1)
        message = message[:2] + rfc1071(message).to_bytes(2, "big") + message[4:]
        yield eth(ipv4(1, message))


def pings_of_the_gateway() -> Iterator[bytes]:
    frame = echo()
    return (frame for _ in range(4000))


def arp_from_all_addresses() -> Iterator[bytes]:
    random = Random(1)
    for n in range(4000):
        mac = b"\x02" + random.randbytes(5)
        yield arp(1, sender=bytes((10, 0, 2, n % 256)), sender_mac=mac)


def arp_for_all_addresses() -> Iterator[bytes]:
    return (arp(1, target=bytes((10, 0, 2, n % 256))) for n in range(4000))


def unsolicited_arp_replies() -> Iterator[bytes]:
    """The bystander's address, and the gateway's, claimed over and over."""
    return (arp(2, sender=(BYSTANDER, GATEWAY)[n & 1], to=GATEWAY_MAC) for n in range(4000))


def tcp_to_everyone() -> Iterator[bytes]:
    frames = [
        eth(frame[14:], destination=mac)
        for target in ("255.255.255.255", "10.0.2.255", "224.0.0.1", "239.255.255.250")
        for frame in (syn(ip(target)),)
        for mac in (BROADCAST, b"\x01\0\x5e\0\0\x01", GATEWAY_MAC)
    ]
    return (patched(frames[n % len(frames)], 34, 1024 + n) for n in range(4000))


def foreign_sources() -> Iterator[bytes]:
    places = ("192.0.2.1", "127.0.0.1", "0.0.0.0", "255.255.255.255", "10.0.2.255", "10.0.2.0", "10.0.2.2",
              "10.0.2.3", "224.0.0.1")  # fmt: skip
    frames = [from_address(frame, ip(place)) for place in places for frame in (syn(), udp(b"x"), echo())]
    return (frames[n % len(frames)] for n in range(4000))


def wrong_macs() -> Iterator[bytes]:
    body = syn()[14:]
    frames = [
        eth(body, source=GATEWAY_MAC),
        eth(body, source=BROADCAST),
        eth(body, source=b"\x01\0\x5e\0\0\x01"),
        eth(body, destination=b"\x02\x11\x11\x11\x11\x11"),
        eth(body, source=BYSTANDER_MAC),
        eth(body, source=bytes(6), destination=bytes(6)),
    ]
    return (patched(frames[n % len(frames)], 34, 1024 + n) for n in range(4000))


def fragments() -> Iterator[bytes]:
    random = Random(1)
    for n in range(4000):
        offset = random.choice((0, 1, 100, 8189))
        yield (
            eth(ipv4(17, bytes(1024), ident=n, fragment=0x2000 | offset))
            if offset < 8189
            else eth(ipv4(17, b"12345", ident=n, fragment=offset))
        )


def fragments_from_invented_addresses() -> Iterator[bytes]:
    for n in range(4000):
        yield eth(ipv4(17, bytes(1024), source=bytes((10, 0, 2, 100 + n % 150)), ident=n, fragment=0x2000))


def errors_about_nothing() -> Iterator[bytes]:
    random = Random(1)
    for n in range(3000):
        quote = ipv4(6, random.randbytes(20), source=WORLD, destination=(GUEST, BYSTANDER)[n & 1])
        message = struct.pack("!BBHI", 3, n % 16, 0, 1400) + quote
        message = message[:2] + rfc1071(message).to_bytes(2, "big") + message[4:]
        yield eth(ipv4(1, message))


def segments_of_nothing() -> Iterator[bytes]:
    """And of the bystander's connection, from where the bystander is not."""
    net: Any = None
    stray = [Peer(net, sport=sport).frame(flags) for sport in (1, 2) for flags in (ACK, FIN | ACK, RST, PSH)]
    stolen = Peer(net, guest=BYSTANDER, mac=GUEST_MAC, sport=40_000)
    stray += [stolen.frame(RST, seq=n * 30_000) for n in range(100)]
    return (stray[n % len(stray)] for n in range(4000))


def names() -> Iterator[bytes]:
    question = b"\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01"
    frames = [udp(n.to_bytes(2, "big") + question, dport=53, destination=DNS) for n in range(500)]
    return (patched(frames[n % 500], 34, 1024 + n) for n in range(4000))


def noise() -> Iterator[bytes]:
    random = Random(1)
    for _ in range(4000):
        frame = bytearray(random.choice((syn(), b""))[:40] + random.randbytes(random.randrange(80)))
        frame[:6] = random.choice((GATEWAY_MAC, BROADCAST))
        yield bytes(frame)


FLOODS: dict[Flood, str] = {
    syns_to_an_open_port: "tcp_flows_evicted",
    syns_into_a_black_hole: "tcp_flows_evicted",
    syns_to_all_ports: "tcp_flows_refused",
    syns_from_invented_addresses: "tcp_flows_evicted",
    datagrams_to_all_ports: "udp_flows",
    datagrams_from_all_ports: "udp_flows_evicted",
    datagrams_from_invented_addresses: "udp_flows_evicted",
    pings: "icmp_flows_evicted",
    pings_of_the_gateway: "icmp_echo_replies",
    arp_from_all_addresses: "drop_neighbor_spoofed",
    arp_for_all_addresses: "switch_flooded",
    unsolicited_arp_replies: "drop_neighbor_spoofed",
    tcp_to_everyone: "drop_tcp_broadcast",
    foreign_sources: "drop_ip_source",
    wrong_macs: "drop_switch_spoofed",
    fragments: "drop_fragment_overtaken",
    fragments_from_invented_addresses: "drop_fragment_limit",
    errors_about_nothing: "drop_icmp_unmatched",
    segments_of_nothing: "drop_neighbor_spoofed",
    names: "dns_servfail",
    noise: "drop_ethernet_type",
}


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(flood, marks=[pytest.mark.long] if flood is datagrams_to_all_ports else [])
        for flood in FLOODS
    ],
    ids=lambda flood: flood.__name__,
)
def test_flood(scene: Scene, flood: Flood) -> None:
    stats = scene.net.stats
    before = stats.frames_in
    number = scene.flood(flood())
    assert stats.frames_in - before >= number
    assert getattr(stats, FLOODS[flood]) > 0, stats.nonzero()
    scene.bounded()
    scene.aftermath()
