"""Bounds: what a guest can make grow, and a link that has no room."""

from __future__ import annotations

import errno
from random import Random
from typing import Any

import pytest

from slirpy.core import port as port_module
from slirpy.interfaces import LinkFeatures
from slirpy.nat import tcp as tcp_module
from slirpy.nat import udp as udp_module
from slirpy.nat.udpflow import MAX_ROUTES
from slirpy.testing import Remote, Sink, Source
from tests.support.harness import ACK, PSH, RST, SYN, WORLD, Net, Peer, config, echo, ip, options, udp


@pytest.mark.rfc("6146", "5.3")
def test_tcp_flows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_module, "MAX_FLOWS", 4)
    net = Net()
    server = net.host.serve_tcp(WORLD, 80)
    peers = [Peer(net, sport=40000 + n) for n in range(4)]
    for peer in peers:
        peer.open()
        net.run(1)
    peers[0].send(ACK | PSH, b"busy")
    net.run(1)
    peers[0].take()
    fifth = Peer(net, sport=50000)
    fifth.open()
    (reset,) = [f.data.data for f in net.take()]
    assert (reset.dport, reset.flags & RST) == (40001, RST)
    net.run(0.05)
    assert server.connections[1].error == errno.ECONNRESET
    assert [r.error for r in server.connections[:1] + server.connections[2:4]] == [None] * 3
    assert net.stats.tcp_flows_evicted == 1
    assert len(net.stack.tcp_flows) == 4


def test_half_open_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_module, "MAX_OPENING", 100)
    net = Net()
    net.host.black_hole(WORLD)
    for n in range(3000):
        Peer(net, sport=1024 + n).send(SYN, opts=options())
    assert len(net.stack.tcp_flows) == 100
    assert len(net.host._open) == 100
    assert net.stats.tcp_flows_evicted == 2900
    assert {f.data.data.flags for f in net.take()} == {RST | ACK}  # evicted connections are reset
    assert net.timer() < 1100
    net.run(80)
    assert net.stack.tcp_flows == {}
    assert len(net.host._open) == 0
    assert net.timer() == 0


@pytest.mark.rfc("6146", "5.3")
def test_udp_flows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp_module, "MAX_FLOWS", 10)
    net = Net()
    for n in range(10):
        net.send(udp(b"x", sport=1000 + n))
        net.run(1)
    net.send(udp(b"x", sport=1000))
    for n in range(5):
        net.send(udp(b"x", sport=2000 + n))
    ports = sorted(f.guest[1] for f in net.stack.flows())
    assert ports == [1000, 1006, 1007, 1008, 1009, 2000, 2001, 2002, 2003, 2004]
    assert net.stats.udp_flows_evicted == 5
    assert len(net.host._open) == 10


def test_routes_of_one_udp_flow_are_bounded() -> None:
    net = Net()
    for n in range(3000):
        net.send(udp(b"x", destination=ip(f"198.51.{n >> 8}.{n & 255}")))
    (flow,) = net.stack._udp.flows.values()
    assert len(flow._targets) <= MAX_ROUTES
    assert len(net.calls("send_udp")) == 3000


def test_reassembly_of_tcp_is_bounded() -> None:
    net = Net()
    net.host.serve_tcp(WORLD, 80, Sink)
    peer = Peer(net)
    peer.open()
    net.run(0.01)
    for n in range(1000):
        peer.send(ACK, b"x", seq=peer.seq + 2 + 2 * n)
    assert net.stats.drop_tcp_reassembly_full > 0
    assert len(peer.conn.reassembly) == 256


# ---------------------------------------------------------------------------------------------- a link without room

OFFLOAD = LinkFeatures(checksum_offload=True, segmentation_offload=True)


@pytest.mark.parametrize("features", [None, OFFLOAD])
@pytest.mark.parametrize("step", [1, 3, 40])
def test_tcp_loses_nothing(features: LinkFeatures | None, step: int) -> None:
    net = Net(features=features)
    data = Random(1).randbytes(400_000)
    net.host.serve_tcp(WORLD, 80, lambda: Source(data))
    peer = Peer(net)
    peer.open()
    net.wire.room = 0
    got = b""
    for _ in range(3000):
        net.run(0.002)
        before = peer.ack
        got += peer.receive()
        if peer.ack != before:
            net.send(peer.frame(ACK))
        if len(got) >= len(data):
            break
        net.wire.give(step)
    assert got == data
    assert net.stats.drop_link_queue_full == 0
    assert net.stats.tcp_retransmits == 0


def test_output_stops_while_blocked_and_resumes(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net()
    far = net.host.serve_tcp(WORLD, 80)
    peers = [Peer(net, sport=40000 + n) for n in range(50)]
    for peer in peers:
        peer.open()
    net.run(0.01)
    net.wire.room = 0
    for connection in far.connections:
        connection.write(bytes(20_000))
    net.run(0.1)
    held = len(net.port.out)
    assert 0 < held <= 50 * 10
    for _ in range(500):
        for peer in peers:
            net.send(peer.frame(ACK | PSH, b"", wnd=5000 + len(net.port.out)))
    net.run(5)
    assert len(net.port.out) == held  # nothing was added: TCP waits
    assert len(net.port._waiters) <= 50
    net.wire.give(None)
    net.run(0.5)
    sent = [f.data.data for f in net.take()]
    assert len({tcp.dport for tcp in sent}) == 50
    assert net.stats.drop_link_queue_full == 0


def test_the_queue_of_a_blocked_link_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_module, "QUEUE_LIMIT", 20)
    net = Net()
    net.wire.room = 5
    for n in range(100):
        net.send(echo(seq=n))
    assert len(net.take()) == 5
    assert len(net.port.out) == 20
    assert net.stats.drop_link_queue_full == 75
    assert net.stats.frames_out == 25
    net.wire.give(None)
    net.run(0.01)
    assert [f.data.data.data.seq for f in net.take()] == list(range(5, 25))
    net.send(echo(seq=7))
    assert net.one().data.data.data.seq == 7


def test_order_is_kept_over_short_counts() -> None:
    net = Net()
    net.wire.room = 0
    net.send(*[echo(seq=n) for n in range(50)])
    seen: list[int] = []
    for _ in range(60):
        net.wire.give(1)
        net.send(*([echo(seq=100 + len(seen))] if len(seen) % 10 == 0 else []))
        seen += [f.data.data.data.seq for f in net.take()]
    assert seen[:50] == list(range(50))
    assert seen == sorted(seen)


def test_ended_connections_are_not_kept_by_a_blocked_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_module, "MAX_OPENING", 10)
    net = Net()
    net.host.serve_tcp(WORLD, 80)
    net.wire.room = 0
    net.send(echo())  # the link is full
    for n in range(200):
        Peer(net, sport=10000 + n).send(SYN, opts=options())
        net.run(0.01)
    assert len(net.port._waiters) <= 10
    net.wire.give(None)
    net.run(0.01)
    assert len(net.port._waiters) == 0


def test_a_reset_passes_a_blocked_link() -> None:
    net = Net()
    peer, program = far(net)
    net.wire.room = 0
    net.send(echo())
    program.reset()
    net.run(0.1)
    assert net.stack.flows() == []
    net.wire.give(None)
    net.run(0.01)
    assert net.take()[-1].data.data.flags & RST
    assert peer.ack


def test_two_links_do_not_wait_for_each_other() -> None:
    net = Net()
    second = net.attach()
    other_mac = bytes.fromhex("525400000077")
    net.wire.room = 0
    net.send(echo())
    net.know(address=ip("10.0.2.77"), mac=other_mac, wire=second)
    net.host.serve_tcp(WORLD, 80, lambda: Source(b"abc"))
    peer = Peer(net, guest=ip("10.0.2.77"), mac=other_mac)
    net.send(peer.frame(SYN, opts=options()), wire=second)
    net.run(0.01)
    assert len(net.take(second)) == 1
    net.silence()


def test_frames_that_a_link_lost_are_counted() -> None:
    net = Net()
    assert net.wire.sink is not None
    net.wire.sink.lost(3)
    assert net.stats.drop_link_dead == 3


def test_timers_of_a_blocked_connection_run() -> None:
    """A guest that has stopped reading for good does not hold its connections for ever."""
    net = Net()
    server = net.host.serve_tcp(WORLD, 80)
    peer = Peer(net)
    peer.open()
    net.run(0.01)
    net.wire.room = 0
    net.send(echo())  # the link is full
    server.connections[0].write(b"anyone?")
    net.run(2000)
    net.stack.detach(net.port)
    net.run(2000)
    assert net.stack.flows() == []
    assert server.connections[0].error == errno.ECONNRESET


def test_idle_connections_cost_nothing_to_wait_for() -> None:
    net = Net()
    net.host.serve_tcp(WORLD, 80)
    for n in range(300):
        peer = Peer(net, sport=10000 + n)
        peer.open()
    net.run(80)  # deadlines that were moved come up once
    net.take()
    assert len(net.stack.flows()) == 300
    assert net.stack.deadline() is None
    assert net.timer() == 0


def far(net: Net) -> Any:
    server = net.host.serve_tcp(WORLD, 80, Remote)
    peer = Peer(net)
    peer.open()
    net.run(0.01)
    return peer, server.connections[0]


def test_many_small_segments_that_the_host_does_not_take() -> None:
    """Memory is bounded by the window, whatever size the pieces have."""
    net = Net(config())
    net.host.buffer_bytes = 1
    peer, program = far(net)
    program.paused = True
    for _ in range(2000):
        peer.send(ACK, b"z")
    assert len(peer.conn.rcv_queue) <= 70
    net.host.buffer_bytes = 1 << 20
    program.paused = False
    net.run(300)
    assert bytes(program.received) == b"z" * 2000
