"""Determinism: a seed gives the same frames in each run, byte for byte; another seed gives others.

The scenario has everything in it that could be left to chance: DHCP, DNS over a resolver that fails at first, UDP,
TCP in both directions through a lossy link, a forward, short writes, resets and refusals of the simulated host.
"""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from random import Random

import dnslib
import pytest

from slirpy import Config
from slirpy.config.hostfwd import parse_hostfwd
from slirpy.config.resolver import parse_resolver
from slirpy.testing import Captured, Echo, Resetter, Sink, Source, VirtualNetwork
from slirpy.wire.tcp import RST
from tests.support.repository import REPOSITORY

SECOND = 1_000_000_000
MS = 1_000_000
WEB = bytes((192, 0, 2, 7))
LOOPBACK = bytes((127, 0, 0, 1))


def resolver(message: bytes, address: object, port: int) -> bytes:
    query = dnslib.DNSRecord.parse(message)
    answer = query.reply()
    answer.add_answer(*dnslib.RR.fromZone(f"{query.q.qname} 60 A 192.0.2.7"))
    return bytes(answer.pack())


def world(seed: int, fastpath: bool) -> VirtualNetwork:
    """A network with a flawed world behind it."""
    config = Config(
        hostfwd=[parse_hostfwd("tcp:127.0.0.1:8080-:80"), parse_hostfwd("udp:127.0.0.1:5353-:53")],
        resolvers=[parse_resolver("192.0.2.52"), parse_resolver("192.0.2.53")],
    )
    net = VirtualNetwork(config, seed=seed, fastpath=fastpath, latency_ns=7 * MS, link_latency_ns=MS)
    host = net.host
    host.short_sends = host.short_recvs = 0.2
    host.black_hole(bytes((192, 0, 2, 52)))
    host.unreachable(bytes((192, 0, 2, 99)), error=errno.EHOSTUNREACH)
    host.serve_udp(bytes((192, 0, 2, 53)), 53, resolver)
    host.serve_udp(WEB, 7, lambda payload, address, port: payload[::-1])
    host.serve_tcp(WEB, 7, Echo)
    host.serve_tcp(WEB, 9, Sink)
    host.serve_tcp(WEB, 80, lambda: Source(bytes(range(256)) * 1000))
    host.serve_tcp(WEB, 666, lambda: Resetter(after=5000))
    return net


def scenario(seed: int, *, fastpath: bool = True) -> VirtualNetwork:
    """Everything at once; checks that it came to its end, and returns the network."""
    net = world(seed, fastpath)
    other = net.add_guest()
    net.boot()
    net.boot(other)
    guest = net.guest
    flaws = Random(seed)

    def fault(direction: str, frame: bytes) -> int | None:
        chance = flaws.random()
        if frame[23:24] == b"\x06" and frame[47] & RST:
            return 0  # nobody sends a lost reset again, and the scenario would not come to its end
        return None if chance < 0.01 else 3 * MS if chance < 0.03 else 0

    net.fault = fault
    lookup = guest.resolve("web.test")
    ping = guest.ping("10.0.2.2")
    socket = guest.udp()
    for size in (1, 1400, 5000):
        socket.send(bytes(size), "192.0.2.7", 7)
    echo, upload = guest.connect("192.0.2.7", 7), guest.connect("192.0.2.7", 9)
    downloads = [each.connect("192.0.2.7", 80) for each in net.guests for _ in range(3)]
    doomed = guest.connect("192.0.2.7", 666)
    refused, unreachable = guest.connect("192.0.2.7", 1), other.connect("192.0.2.99", 1)
    listener = guest.listen(80)
    caller = net.host.connect(LOOPBACK, 8080)
    net.host.send_udp(b"knock", LOOPBACK, 5353)
    for stream, size in ((echo, 100_000), (upload, 300_000), (doomed, 50_000)):
        stream.write(bytes(size))
        stream.shutdown()
    caller.write(b"hello")
    net.run_until(lambda: listener.accepted and listener.accepted[0].received == b"hello", 300 * SECOND)
    listener.accepted[0].abort()

    def over() -> bool:
        ends = all(stream.eof for stream in (echo, upload, *downloads))
        return (
            ends and lookup.done and bool(doomed.error and refused.error and unreachable.error and caller.error)
        )

    net.run_until(over, 600 * SECOND)
    assert [len(stream.received) for stream in downloads] == [256_000] * 6
    assert (len(echo.received), lookup.answers, ping.reply is not None) == (100_000, ["192.0.2.7"], True)
    errors = [stream.error for stream in (doomed, refused, unreachable)]
    assert errors == [errno.ECONNRESET, errno.ECONNREFUSED, errno.EHOSTUNREACH]
    guest.dhcp().release()
    net.run(300 * SECOND)
    net.stack.close()
    net.run(SECOND)
    return net


def digest(transcript: list[Captured]) -> str:
    whole = hashlib.sha256()
    for time, direction, frame in transcript:
        whole.update(b"%d %s %d " % (time, direction.encode("ascii"), len(frame)) + frame)
    return whole.hexdigest()


@pytest.mark.parametrize("seed", [0, 1, 20261122])
def test_the_same_seed_gives_the_same_frames_at_the_same_times(seed: int) -> None:
    first, second = scenario(seed), scenario(seed)
    assert len(first.transcript) > 1000
    for one, two in zip(first.transcript, second.transcript, strict=True):
        assert one == two
    assert first.stack.stats == second.stack.stats
    assert first.host.calls == second.host.calls
    assert [guest.counters for guest in first.guests] == [guest.counters for guest in second.guests]


def test_another_seed_gives_other_frames() -> None:
    transcripts = [scenario(seed).transcript for seed in range(3)]
    tcp = [{frame for _, _, frame in transcript if frame[23:24] == b"\x06"} for transcript in transcripts]
    assert not tcp[0] & tcp[1] | tcp[1] & tcp[2] | tcp[2] & tcp[0]  # sequence numbers and ports are random
    assert len({digest(transcript) for transcript in transcripts}) == 3


def test_the_scenario_has_everything_in_it() -> None:
    runs = [scenario(seed).stack.stats for seed in range(3)]
    for name in ("tcp_undone", "tcp_fast_retransmits", "tcp_out_of_order", "tcp_resets_out", "dns_retries",
                 "dhcp_release", "icmp_errors_out", "udp_flows", "tcp_flows_refused", "tcp_fastpath"):  # fmt: skip
        assert any(getattr(stats, name) > 0 for stats in runs), name


def test_the_fast_path_changes_no_frame() -> None:
    fast, slow = scenario(3), scenario(3, fastpath=False)
    assert fast.stack.stats.tcp_fastpath > 0
    assert slow.stack.stats.tcp_fastpath == 0
    for one, two in zip(fast.transcript, slow.transcript, strict=True):
        assert one == two


@pytest.mark.long
def test_processes_with_different_hash_seeds_give_the_same_frames() -> None:
    program = "from tests.sim.test_determinism import digest, scenario\nprint(digest(scenario(5).transcript))"
    results = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout
        for hash_seed in ("1", "2", "31337")
    }
    assert results == {digest(scenario(5).transcript) + "\n"}
