"""One stream over a link of 1 Gbit/s with a round trip of 200 ms fills it within ten seconds, both ways."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slirpy import Config
from slirpy.links import Faults
from slirpy.testing import Remote, Sink, VirtualNetwork

MS, SECOND = 1_000_000, 1_000_000_000
RATE = 1_000_000_000
ENOUGH = RATE // 8 * 8 // 10
"""Bytes a second that are to arrive."""
LINK = Faults(rate=RATE, queue=RATE // 8 // 5, delay=100 * MS, limit=1 << 20)
"""The queue holds what a round trip carries."""
CHUNK = bytes(1 << 16)
WINDOW = 0xFFFF << 9


class Fountain(Remote):
    """Sends without end, and never holds more than a MiB."""

    def on_established(self) -> None:
        while self.unsent < 1 << 20:
            self.write(CHUNK)

    def writable(self) -> None:
        super().writable()
        self.on_established()


class Counter(Sink):
    """Counts what arrives."""

    total = 0

    def on_data(self, data: bytes) -> None:
        self.total += len(data)


def network() -> VirtualNetwork:
    """Jumbo frames, so that ten seconds are ten thousand of them, and not a million."""
    net = VirtualNetwork(Config(mtu=9000, memory="512MiB"), seed=1)
    net.boot()
    net.to_guest = net.from_guest = LINK
    return net


@pytest.mark.long
def test_to_the_guest() -> None:
    net = network()
    net.host.serve_tcp("192.0.2.7", 80, Fountain)
    began = net.now
    stream = net.guest.connect("192.0.2.7", 80, rcv_buffer=WINDOW)
    rate = 0
    while rate < ENOUGH and net.now - began < 10 * SECOND:
        net.run(SECOND // 2)
        net.transcript.clear()
        rate = 2 * len(stream.received)
        stream.received.clear()
    assert rate >= ENOUGH, f"{8e-6 * rate:.0f} Mbit/s"


@pytest.mark.long
def test_from_the_guest() -> None:
    net = network()
    counter = Counter()
    net.host.serve_tcp("192.0.2.7", 80, lambda: counter)
    began = net.now
    stream = net.guest.connect("192.0.2.7", 80)
    net.run_until(lambda: stream.established)
    stream.conn.configure(replace(stream.conn.settings, snd_buffer=WINDOW))
    rate = 0
    while rate < ENOUGH and net.now - began < 10 * SECOND:
        before = counter.total
        end = net.now + SECOND // 2
        while net.now < end:
            while stream.conn.write_room() >= len(CHUNK):
                stream.write(CHUNK)
            net.run(5 * MS)
        net.transcript.clear()
        rate = 2 * (counter.total - before)
    assert rate >= ENOUGH, f"{8e-6 * rate:.0f} Mbit/s"


def test_a_small_budget_keeps_windows_ordinary() -> None:
    """The windows of a connection take a sixteenth of the budget, so one of 16 MiB leaves the usual MiB."""
    for memory, most in (("512MiB", WINDOW), ("256MiB", 16 << 20), ("16MiB", 1 << 20)):
        net = VirtualNetwork(Config(memory=memory))
        net.boot()
        net.host.serve_tcp("192.0.2.7", 80, Fountain)
        net.link_latency_ns = 100 * MS
        net.guest.connect("192.0.2.7", 80)
        net.run(SECOND)
        (flow,) = net.stack._tcp.tables.tcp_flows.values()
        assert flow.conn.snd_limit == flow.conn.rcv_limit_max == most
