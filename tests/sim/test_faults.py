"""TCP through a bad link: whatever it loses, delays, doubles, disorders and damages, every byte arrives."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from random import Random

import pytest

from slirpy import Config
from slirpy.interfaces import Frame, LinkFeatures, LinkSink, Poller
from slirpy.links import FaultLink, Faults
from slirpy.testing import Echo, Guest, Source, VirtualNetwork
from tests.support.harness import NoPoller

SECOND = 1_000_000_000
MS = 1_000_000
WORLD = bytes((192, 0, 2, 7))
DATA = Random(7).randbytes(1_000_000)


class Cable:
    """A guest of a network in virtual time, whose link can be wrapped."""

    features = LinkFeatures()

    def __init__(self, net: VirtualNetwork) -> None:
        self.net = net
        self.sink: LinkSink | None = None
        self.guest = Guest(
            self._from_guest, random=Random(3), now=net.now, mac=bytes.fromhex("525400000099"), hostname="far"
        )
        net.guests.append(self.guest)

    def _from_guest(self, frame: bytes) -> None:
        assert self.sink is not None
        self.net.carry("in", frame, self.sink.input)

    def start(self, sink: LinkSink, poller: Poller) -> None:
        self.sink = sink

    def send(self, frames: Sequence[Frame]) -> int:
        for frame in frames:
            self.net.carry("out", b"".join(frame.parts), self.guest.input)
        return len(frames)

    def close(self) -> None: ...


def network(seed: int = 1) -> tuple[VirtualNetwork, Guest, FaultLink]:
    """A network with a guest behind a link of faults, none of which is switched on yet."""
    net = VirtualNetwork(seed=seed, link_latency_ns=MS)
    net.host.serve_tcp(WORLD, 7, Echo)
    net.host.serve_tcp(WORLD, 80, lambda: Source(DATA))
    cable = Cable(net)
    link = FaultLink(cable, Random(seed))
    net.stack.attach(link, NoPoller())
    net.boot(cable.guest)
    return net, cable.guest, link


def transfer(faults: Faults, seed: int = 1) -> tuple[VirtualNetwork, FaultLink]:
    """A megabyte there and back again, and one down, at once."""
    net, guest, link = network(seed)
    link.to_guest = link.from_guest = faults
    echo, download = guest.connect("192.0.2.7", 7), guest.connect("192.0.2.7", 80)
    echo.write(DATA)
    echo.shutdown()
    net.run_until(lambda: echo.eof and download.eof, 3600 * SECOND)
    assert bytes(echo.received) == bytes(download.received) == DATA
    return net, link


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("loss", [0.01, 0.05, 0.10])
def test_loss(loss: float, seed: int) -> None:
    net, link = transfer(Faults(loss=loss, delay=5 * MS), seed)
    assert link.to_guest_counters.lost > 0 < link.from_guest_counters.lost
    stats = net.stack.stats
    assert stats.tcp_retransmits + stats.tcp_fast_retransmits > 0


def test_reordering() -> None:
    net, link = transfer(Faults(reorder=0.1, delay=2 * MS))
    assert link.from_guest_counters.reordered > 10
    assert net.stack.stats.tcp_out_of_order > 0


def test_duplication() -> None:
    _, link = transfer(Faults(duplicate=0.3))
    assert link.to_guest_counters.duplicated > 20 < link.from_guest_counters.duplicated


@pytest.mark.parametrize("seed", range(4))
def test_corruption(seed: int) -> None:
    net, link = transfer(Faults(corrupt=0.05), seed)
    assert link.to_guest_counters.corrupted > 5 < link.from_guest_counters.corrupted
    assert net.stack.stats.drop_tcp_checksum > 0


def test_a_mac_address_from_a_corrupted_frame_is_resolved_again() -> None:
    net, guest, link = network(1)
    download = guest.connect("192.0.2.7", 80)
    net.run_until(lambda: download.count > 100_000, 60 * SECOND)
    neighbor = net.stack.neighbors.get(guest.ipv4.addresses[0])
    link.from_guest = Faults(loss=1.0)
    neighbor.mac = bytes.fromhex("527400000099")  # as if the last frame before the silence had said so
    net.run(SECOND)
    link.from_guest = Faults()
    net.run_until(lambda: download.eof, 30 * SECOND)
    assert neighbor.mac == guest.mac


def test_a_slow_link_is_as_slow_as_it_says() -> None:
    net, guest, link = network()
    link.to_guest = Faults(rate=8_000_000, queue=2_000_000)  # a byte a microsecond
    start = net.now
    download = guest.connect("192.0.2.7", 80)
    net.run_until(lambda: download.eof, 60 * SECOND)
    assert download.received == DATA
    needed = len(DATA) * 1000
    assert 0.9 * needed < net.now - start < 1.2 * needed  # the bucket's 64 KiB went at once
    assert link.to_guest_counters.delayed > 0


def test_all_of_it_twice_the_same() -> None:
    faults = Faults(0.03, 0.03, 0.02, 10 * MS, 5 * MS, 0.03, rate=20_000_000)
    runs = [transfer(faults, seed) for seed in (5, 5, 6)]
    digests = []
    for net, link in runs:
        whole = hashlib.sha256()
        for time, direction, frame in net.transcript:
            whole.update(b"%d %s " % (time, direction.encode()) + frame)
        digests.append((whole.digest(), str(link.to_guest_counters), str(link.from_guest_counters)))
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("faults", "counter"),
    [
        (Faults(loss=0.05, delay=5 * MS), "lost"),
        (Faults(reorder=0.1, delay=2 * MS), "reordered"),
        (Faults(duplicate=0.3), "duplicated"),
        (Faults(corrupt=0.05), "corrupted"),
    ],
)
def test_a_guest_with_ipv6_alone(faults: Faults, counter: str) -> None:
    """Router discovery, DHCPv6, a name and a megabyte each way through such a link."""
    net = VirtualNetwork(Config(ipv4=False), seed=5, link_latency_ns=MS, faults=faults)
    net.host.serve_tcp("2001:db8::7", 7, Echo)
    guest = net.boot()
    client = guest.dhcp6()
    net.run_until(lambda: client.bound, 600 * SECOND)
    lookup = guest.resolve("gateway.internal", "AAAA")
    net.run_until(lambda: lookup.done, 600 * SECOND)
    assert lookup.answers == ["fec0::2"]
    echo = guest.connect("2001:db8::7", 7)
    echo.write(DATA)
    echo.shutdown()
    net.run_until(lambda: echo.eof, 3600 * SECOND)
    assert bytes(echo.received) == DATA
    for counters in (net.to_guest_counters, net.from_guest_counters):
        assert getattr(counters, counter) > 5
