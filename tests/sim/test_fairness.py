"""Fairness at a limit: the heaviest user loses entries, and established connections outlive half-open ones."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from slirpy.nat import icmp as icmp_module
from slirpy.nat import tcp as tcp_module
from slirpy.nat import udp as udp_module
from slirpy.nat.limits import IDLE
from slirpy.tcp import Settings
from slirpy.testing import Remote
from tests.support.frames6 import WORLD6, know6, udp6
from tests.support.harness import (
    ACK,
    DNS,
    FIN,
    GUEST,
    PSH,
    RST,
    SYN,
    WORLD,
    Net,
    Peer,
    config,
    echo,
    ip,
    options,
    udp,
)

OTHER, OTHER_MAC = ip("10.0.2.77"), bytes.fromhex("525400000077")
BLACK = ip("198.51.100.99")
SECOND = 1_000_000_000


def two_guests(**given: Any) -> tuple[Net, Any]:
    net = Net(config(**given))
    wire = net.attach()
    net.know(address=OTHER, mac=OTHER_MAC, wire=wire)
    return net, wire


def others_udp(**more: Any) -> bytes:
    return udp(b"x", source=OTHER, mac=OTHER_MAC, **more)


def of(net: Net, guest: bytes) -> list[int]:
    return sorted(flow.guest[1] for flow in net.stack.flows() if flow.guest[0].packed == guest)


def test_udp_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp_module, "MAX_FLOWS", 20)
    net, wire = two_guests()
    for n in range(5):
        net.send(others_udp(sport=100 + n), wire=wire)
    net.run(60)
    for n in range(100):
        net.send(udp(b"x", sport=1000 + n))
    assert of(net, OTHER) == [100, 101, 102, 103, 104]  # idle for longest, and in nobody's way
    assert of(net, GUEST) == list(range(1085, 1100))
    for n in range(50):
        net.send(others_udp(sport=200 + n), wire=wire)
    assert abs(len(of(net, OTHER)) - 10) <= 1
    assert len(net.stack.flows()) == 20


def test_ping_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(icmp_module, "MAX_FLOWS", 10)
    net, wire = two_guests()
    net.send(*[echo(ident=n, to=WORLD) for n in range(10)])
    assert len(net.stack._ping._shares) == 10
    from_other = echo(ident=3, to=WORLD).replace(GUEST, OTHER)
    assert from_other.count(OTHER) == 1
    header = bytearray(from_other)
    header[6:12] = OTHER_MAC
    header[24:26] = ((int.from_bytes(header[24:26], "big") - (77 - 15)) & 0xFFFF).to_bytes(2, "big")
    net.send(bytes(header), wire=wire)
    assert of(net, OTHER) == [3]
    assert of(net, GUEST) == list(range(1, 10))


def test_connections_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_module, "MAX_FLOWS", 8)
    net, wire = two_guests()
    net.host.serve_tcp(WORLD, 80)
    quiet = Peer(net, guest=OTHER, mac=OTHER_MAC, sport=5)
    net.send(quiet.frame(SYN, opts=options()), wire=wire)
    net.run(0.01)
    (answer,) = [frame.data.data for frame in net.take(wire)]
    quiet.seq, quiet.ack = quiet.seq + 1, answer.seq + 1
    net.send(quiet.frame(ACK), wire=wire)
    for n in range(20):
        peer = Peer(net, sport=1000 + n)
        peer.open()
        net.run(0.001)
        net.wire.sent.clear()  # the reset of another
    assert of(net, OTHER) == [5]
    assert len(net.stack.tcp_flows) == 8
    assert net.stats.tcp_flows_evicted == 13


def test_established_connections_outlive_a_flood_of_their_own_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_module, "MAX_OPENING", 50)
    net = Net()
    server = net.host.serve_tcp(WORLD, 80)
    net.host.black_hole(BLACK)
    peer = Peer(net)
    peer.open()
    net.run(600)  # nobody was idle for longer
    for n in range(500):
        Peer(net, sport=1000 + n, address=BLACK).send(SYN, opts=options())
    for n in range(500):
        Peer(net, sport=1000 + n).send(SYN, opts=options())  # answered, and never acknowledged
        net.run(0.003)
    net.take()
    server.connections[0].write(b"still here")
    net.run(0.01)
    net.wire.sent = [frame for frame in net.wire.sent if b"still here" in frame.parts[0]]
    assert peer.receive() == b"still here"
    assert len(net.stack.tcp_flows) == 51


def test_time_wait_has_a_bound_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_module, "MAX_TIME_WAIT", 5)
    net = Net()
    server = net.host.serve_tcp(WORLD, 80)
    idle = Peer(net, sport=2)
    idle.open()
    for n in range(20):
        peer = Peer(net, sport=1000 + n)
        peer.open()
        net.run(0.01)
        server.connections[-1].finish()
        net.run(0.01)
        peer.receive()
        peer.send(ACK | FIN)
        net.run(0.01)
        net.take()
    states = [flow.state for flow in net.stack.flows()]
    assert sorted(states) == ["ESTABLISHED"] + ["TIME-WAIT"] * 5
    assert net.stats.tcp_flows_evicted == 15
    net.silence()  # they were over: nobody hears of it
    net.run(70)
    assert [flow.state for flow in net.stack.flows()] == ["ESTABLISHED"]
    assert len(net.stack._tcp.over) == len(net.stack._tcp.opening) == 0


def upload(net: Net, sport: int = 1000) -> Peer:
    peer = Peer(net, sport=sport)
    peer.open()
    net.run(0.01)
    return peer


def test_a_far_side_that_takes_little_gets_a_small_window() -> None:
    net = Net()
    net.host.buffer_bytes = 20_000
    server = net.host.serve_tcp(WORLD, 80, Remote)
    peer = upload(net)
    server.connections[0].paused = True
    sent = 0
    while peer.conn.rcv_wnd >= 1000 and sent < 1 << 20:
        peer.send(ACK, bytes(1000))
        net.run(0.02)
        net.take()
        sent += 1000
    assert Settings().rcv_buffer_initial - 3000 < peer.conn.rcv_pending <= Settings().rcv_buffer_initial
    server.connections[0].paused = False
    net.run(5)
    assert server.connections[0].received == bytes(sent)


def send_much(net: Net, peer: Peer, pieces: int = 2000) -> None:
    for n in range(pieces):
        peer.send(ACK | PSH, bytes(1000))
        if n % 50 == 0:
            net.run(0.02)
    net.run(0.02)
    net.wire.sent.clear()


def test_windows_share_the_pool_as_the_application_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_module, "WIDE_BYTES", 2 << 20)
    net = Net()
    net.host.serve_tcp(WORLD, 80, Remote)
    peers = [upload(net, sport) for sport in (1, 2, 3, 4)]
    for peer in peers[:3]:
        send_much(net, peer)
    send_much(net, peers[3], 10)
    limits = [peer.conn.rcv_limit for peer in peers]
    assert limits == [1 << 20, 1 << 20, (2 << 20) // 3, Settings().rcv_buffer_initial]
    peers[0].send(RST, seq=peers[0].seq)
    peers[1].send(RST, seq=peers[1].seq)
    send_much(net, peers[2], 500)
    assert peers[2].conn.rcv_limit == 1 << 20
    assert net.stack._tcp.windows.members == 1


def test_without_window_scaling_no_window_grows() -> None:
    net = Net()
    net.host.serve_tcp(WORLD, 80, Remote)
    peer = Peer(net)
    peer.open(options(wscale=None))
    net.run(0.01)
    send_much(net, peer)
    assert peer.conn.rcv_limit == 0xFFFF


# ------------------------------------------------------------------------------------ from outside


def test_a_crowd_at_a_forward_that_the_guest_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside connections are limited and reset on eviction; the guest's own go on, and it can answer the others."""
    monkeypatch.setattr(tcp_module, "MAX_OPENING", 100)
    net = Net(config(hostfwd=["tcp::8080-:80"]))
    server = net.host.serve_tcp(WORLD, 80)
    peer = Peer(net)
    peer.open()
    net.run(0.01)
    crowd = [net.host.connect(ip("127.0.0.1"), 8080) for _ in range(1000)]
    net.run(0.1)
    assert len(net.stack._tcp.opening) == 100
    assert sum(each.error == errno.ECONNRESET for each in crowd) == 900
    net.take()
    own = Peer(net, sport=6)
    own.send(SYN, opts=options())
    net.run(0.01)
    assert len(net.stack._tcp.opening) == 100  # one of the crowd had to go for it
    assert any(f.data.data.dport == 6 and f.data.data.flags == SYN | ACK for f in net.take())
    server.connections[0].write(b"on")
    net.run(0.01)
    net.run(80)
    assert len(net.stack._tcp.opening) == 0
    assert sum(each.error is not None for each in crowd) == 1000
    assert [flow.state for flow in net.stack.flows()] == ["ESTABLISHED"]


def test_a_crowd_outside_does_not_evict_connections_guests_are_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_module, "MAX_OPENING", 100)
    net = Net(config(hostfwd=["tcp::8080-:80"]))
    net.host.black_hole(BLACK)
    for n in range(30):
        Peer(net, sport=1000 + n, address=BLACK).send(SYN, opts=options())
    net.run(1)
    crowd = [net.host.connect(ip("127.0.0.1"), 8080) for _ in range(300)]
    net.run(0.1)
    states = [flow.state for flow in net.stack.flows()]
    assert (states.count("CONNECTING"), states.count("SYN-SENT")) == (30, 70)
    assert sum(each.error == errno.ECONNRESET for each in crowd) == 230


# --------------------------------------------------------------------------- without descriptors


def test_without_descriptors_new_connections_are_refused_and_later_not() -> None:
    net = Net()
    net.host.serve_tcp(WORLD, 80)
    peers = [Peer(net, sport=1000 + n) for n in range(6)]
    for peer in peers[:5]:
        peer.open()
    net.host.max_sockets = len(net.host._open)
    peers[5].send(SYN, opts=options())
    assert peers[5].one().flags == RST | ACK  # at once, and told
    stats = net.stats
    assert (stats.tcp_flows_no_socket, stats.tcp_flows_refused, stats.flows_evicted_for_descriptors) == (
        1,
        1,
        0,
    )
    net.run(IDLE / SECOND)
    again = Peer(net, sport=7)
    again.send(SYN, opts=options())  # by now somebody was idle for long
    net.run(0.01)
    frames = [f.data.data for f in net.take()]
    assert [(f.dport, f.flags & RST) for f in frames] == [(1000, RST), (7, 0)]
    assert stats.flows_evicted_for_descriptors == 1
    net.host.max_sockets = None
    Peer(net, sport=8).open()
    assert stats.tcp_flows_no_socket == 1


def test_without_descriptors_the_largest_user_gives_way() -> None:
    net, wire = two_guests()
    net.host.serve_tcp(WORLD, 80)
    net.host.answer_ping()
    for n in range(10):
        net.send(udp(b"x", sport=1000 + n))
    net.host.max_sockets = len(net.host._open)
    net.send(others_udp(sport=9), wire=wire)
    assert of(net, OTHER) == [9]
    assert len(net.calls("send_udp")) == 11
    other = Peer(net, guest=OTHER, mac=OTHER_MAC)
    net.send(other.frame(SYN, opts=options()), wire=wire)
    net.run(0.01)
    assert net.take(wire)[-1].data.data.flags == SYN | ACK
    assert of(net, GUEST) == list(range(1002, 1010))
    net.send(udp(b"x", sport=2000))  # who has most has nothing idle, and gets no more
    assert net.stats.drop_udp_no_socket == 1
    net.send(echo(ident=1, to=WORLD))
    assert net.stats.drop_icmp_no_socket == 1
    net.run(IDLE / SECOND)
    net.send(echo(ident=2, to=WORLD))
    assert (net.stats.drop_icmp_no_socket, len(net.calls("send_ping"))) == (1, 1)
    assert net.stats.flows_evicted_for_descriptors == 3


# ------------------------------------------------------------------------------ resolvers' ports


HISTORIES = {
    "Q": 240,
    "QA": 10,
    "QAA": 10,
    "QQA": 240,
    "QQAA": 10,
    "QQQAAA": 10,
    "QAQ": 240,
    "QAQA": 10,
    "XA": 240,
    "QX": 240,
    "QAX": 240,
    "XQA": 240,
    "XQAA": 240,
    "XAQA": 240,
    "QAXAQA": 240,
}
"""Events of a flow, and the seconds for which it is kept after the last: Q, a query to a resolver; X, a datagram to
another port; A, a datagram from the resolver."""


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("family", [4, 6])
def test_after_its_answers_a_resolver_s_port_is_kept_for_ten_seconds(family: int, history: str) -> None:
    net = Net()
    server, build = (WORLD, udp) if family == 4 else (WORLD6, udp6)
    if family == 6:
        know6(net)
    received = [net.host.serve_udp(server, port).received for port in (53, 9999)]
    for event in history:
        if event == "A":
            source = (received[0] or received[1])[0].source
            net.host.send_udp(b"answer", *source, source=(server, 53))
        else:
            net.send(build(b"query", dport=53 if event == "Q" else 9999))
        net.run(0.01)
    lasts = HISTORIES[history]
    net.run(lasts - 1)
    assert len(net.stack.flows()) == 1
    net.run(1.1)
    assert net.stack.flows() == []


def test_a_further_dns_query_keeps_the_flow_for_its_answer() -> None:
    net = Net()
    far = net.host.serve_udp(WORLD, 53)
    for _ in range(3):
        net.send(udp(b"query", dport=53))
        net.run(0.01)
        net.host.send_udp(b"answer", *far.received[-1].source, source=(WORLD, 53))
        net.run(9)
    net.send(udp(b"query", dport=53))
    net.run(200)
    assert len(net.stack.flows()) == 1
    net.run(41)
    assert net.stack.flows() == []


def test_our_own_dns_server_takes_no_port() -> None:
    net = Net()
    net.send(udp(b"\0\1\1\0\0\1\0\0\0\0\0\0\1a\4test\0\0\1\0\1", dport=53, destination=DNS))
    assert net.stack.flows() == []
