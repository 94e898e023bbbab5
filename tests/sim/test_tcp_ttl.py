"""The time to live of a guest's segments: what ends at the gateway, what at a router further on, and what goes on."""

from __future__ import annotations

import errno
from typing import Any

import dpkt
import pytest

from slirpy.interfaces import Action, Verdict
from slirpy.tcp.states import TIME_WAIT
from slirpy.testing import Echo, Source
from tests.support.harness import (
    ACK,
    FIN,
    GATEWAY,
    GATEWAY_MAC,
    GUEST,
    PSH,
    RST,
    SYN,
    WORLD,
    Net,
    Peer,
    arp,
    config,
    eth,
    icmp_echo,
    ip,
    ipv4,
    options,
    rfc1071,
)

ROUTERS = (ip("192.0.2.254"), ip("192.0.2.253"))
LOOPBACK = ip("127.0.0.1")
DNS = ip("10.0.2.3")


def with_ttl(frame: bytes, ttl: int) -> bytes:
    """The frame with another time to live, and the right header checksum."""
    header = frame[14:22] + bytes((ttl,)) + frame[23:24] + b"\0\0" + frame[26:34]
    return frame[:22] + bytes((ttl,)) + frame[23:24] + rfc1071(header).to_bytes(2, "big") + frame[26:]


def syn(
    net: Net, ttl: int, *, sport: int = 40000, port: int = 80, address: bytes = WORLD, seq: int = 1_000_000
) -> bytes:
    peer = Peer(net, port, address=address, sport=sport, seq=seq)
    return with_ttl(peer.frame(SYN, opts=options()), ttl)


def exceeded(frame: Any, source: bytes, *, ttl: int | None = None) -> Any:
    """Check a time exceeded message; the packet that it quotes, its header verified."""
    raw = bytes(frame.data)
    assert (frame.data.src, frame.data.dst, raw[20], raw[21]) == (source, GUEST, 11, 0), frame
    if ttl is not None:
        assert frame.data.ttl == ttl
    quoted = raw[28:]
    assert rfc1071(quoted[:20]) == 0
    assert len(quoted) >= 28
    sport, dport, seq = (
        int.from_bytes(quoted[20:22], "big"),
        int.from_bytes(quoted[22:24], "big"),
        quoted[24:28],
    )
    return dpkt.ip.IP(quoted[:20]), sport, dport, int.from_bytes(seq, "big")


def ttl_outward(net: Net) -> int:
    """Of the one connection that the host has been asked for."""
    (flow,) = net.stack.tcp_flows.values()
    ttl: int = flow.peer.ttl  # type: ignore[attr-defined] # the peer is a SimStream
    return ttl


def test_traceroute() -> None:
    net = Net()
    net.host.path(None, ROUTERS)
    net.host.serve_tcp(WORLD, 80)
    for ttl in range(1, 5):
        net.send(syn(net, ttl, sport=40000 + ttl, seq=ttl * 1000))
        net.run(0.01)
    first, second, third, answer = net.take()
    for frame, source, number, left in (
        (first, GATEWAY, 1, 255),
        (second, ROUTERS[0], 2, 254),
        (third, ROUTERS[1], 3, 253),
    ):
        quoted, sport, dport, seq = exceeded(frame, source, ttl=left)
        assert (quoted.src, quoted.dst, quoted.ttl, sport, dport, seq) == (
            GUEST,
            WORLD,
            1,
            40000 + number,
            80,
            number * 1000,
        )
    assert answer.data.data.flags == SYN | ACK
    assert net.stats.drop_ip_ttl == 1
    assert len(net.stack.tcp_flows) == 1
    assert [call.address for call in net.calls("connect_tcp")] == [WORLD] * 3


def test_a_syn_that_ends_here_opens_nothing() -> None:
    net = Net()
    frame = syn(net, 1)
    net.send(frame)
    message = net.one()
    exceeded(message, GATEWAY)
    assert bytes(message.data)[28:] == frame[14:]
    assert net.calls("connect_tcp") == []
    assert net.stack.tcp_flows == {}
    net.send(syn(net, 0))
    net.silence()
    assert net.stats.drop_ip_ttl == 2


@pytest.mark.parametrize("ttl", [2, 30, 63, 64, 65, 128, 255])
def test_one_is_taken_off(ttl: int) -> None:
    net = Net()
    net.send(syn(net, ttl))
    assert ttl_outward(net) == ttl - 1


def test_addresses_of_ours_are_the_last_hop() -> None:
    """The gateway stands for the host's loopback; a service answers where it is."""
    net = Net(config(guestfwd=["tcp:10.0.2.100:80-tcp:127.0.0.1:8080"]))
    net.host.serve_tcp(LOOPBACK, None)
    for number, address in enumerate((GATEWAY, ip("10.0.2.100"))):
        net.send(syn(net, 1, sport=40000 + number, address=address))
        net.run(0.01)
        assert net.one().data.data.flags == SYN | ACK
    net.send(syn(net, 1, sport=40003, address=DNS, port=99))
    assert net.one().data.data.flags == RST | ACK
    assert net.stats.drop_ip_ttl == 0


def test_a_refusal_precedes_time_exceeded() -> None:
    for plan, flags in (
        ({"restrict": True}, RST | ACK),
        ({"policy": lambda request: Verdict(Action.REJECT)}, RST | ACK),
    ):
        net = Net(config(**plan))
        net.send(syn(net, 1))
        assert net.one().data.data.flags == flags
        assert net.stats.drop_ip_ttl == 0
    net = Net(config(policy=lambda request: Verdict(Action.DROP)))
    net.send(syn(net, 1))
    net.silence()


@pytest.mark.parametrize(
    ("target", "ends"), [(LOOPBACK, False), (bytes(15) + b"\1", False), (ip("198.51.100.8"), True)]
)
def test_a_redirection_counts_by_where_it_leads(target: bytes, ends: bool) -> None:
    net = Net(config(policy=lambda request: Verdict(Action.ALLOW, (target, 99))))
    net.host.serve_tcp(target, 99)
    net.send(syn(net, 1))
    net.run(0.01)
    answer = net.one()
    if ends:
        exceeded(answer, GATEWAY)
    else:
        assert answer.data.data.flags == SYN | ACK


def test_the_error_of_a_redirected_syn_quotes_its_destination() -> None:
    other = ip("198.51.100.8")
    net = Net(config(policy=lambda request: Verdict(Action.ALLOW, (other, 99))))
    net.host.path(other, ROUTERS)
    net.send(syn(net, 2))
    net.run(0.01)
    quoted, _, dport, _ = exceeded(net.one(), ROUTERS[0])
    assert (quoted.dst, dport) == (WORLD, 80)


def test_a_redirected_echo_counts_by_where_it_leads() -> None:
    net = Net(config(policy=lambda request: Verdict(Action.ALLOW, (LOOPBACK, 0))))
    net.send(eth(ipv4(1, icmp_echo(b"well?"), ttl=1)))
    net.run(0.01)
    assert bytes(net.one().data.data.data.data) == b"well?"


def test_a_trace_from_one_port_past_a_router_that_is_silent() -> None:
    """The guest's next SYN, with another time to live, is a probe of its own and not the old one again."""
    net = Net()
    net.host.path(None, ROUTERS)
    net.host.serve_tcp(WORLD, 80)
    net.host.black_hole(WORLD, 80)
    net.send(syn(net, 9))
    net.run(0.01)
    net.silence()
    net.send(syn(net, 9))  # sent again
    assert len(net.calls("connect_tcp")) == 1
    net.host.reachable(WORLD, 80)
    net.send(syn(net, 2))
    net.run(0.01)
    exceeded(net.one(), ROUTERS[0])
    net.send(syn(net, 1))
    exceeded(net.one(), GATEWAY)
    net.send(syn(net, 10, seq=77))
    net.run(0.01)
    assert net.one().data.data.ack == 78
    assert len(net.stack.tcp_flows) == 1


@pytest.mark.parametrize("fastpath", [True, False])
def test_a_later_segment_that_ends_here(fastpath: bool) -> None:
    net = Net(fastpath=fastpath)
    net.host.serve_tcp(WORLD, 80, Echo)
    peer = Peer(net)
    peer.open()
    peer.send(ACK | PSH, b"one")
    net.run(0.01)
    assert peer.receive() == b"one"
    frame = with_ttl(peer.frame(ACK | PSH, b"two"), 1)
    net.send(frame)
    message = net.one()
    exceeded(message, GATEWAY)
    assert bytes(message.data)[28:] == frame[14 : 14 + 43]
    net.send(with_ttl(peer.frame(ACK | PSH, b"two"), 2))  # whose way it is, it goes as the first one did
    net.run(0.01)
    peer.seq += 3
    assert peer.receive() == b"two"
    assert net.stats.drop_ip_ttl == 1


@pytest.mark.parametrize("fastpath", [True, False])
def test_later_segments_to_the_gateway(fastpath: bool) -> None:
    net = Net(fastpath=fastpath)
    net.host.serve_tcp(LOOPBACK, 80, Echo)
    peer = Peer(net, address=GATEWAY)
    peer.open()
    net.send(with_ttl(peer.frame(ACK | PSH, b"near"), 1))
    peer.seq += 4
    net.run(0.01)
    assert peer.receive() == b"near"
    assert net.stats.drop_ip_ttl == 0


@pytest.mark.parametrize("flags", [ACK, FIN | ACK, SYN | ACK, FIN, RST, 0])
def test_a_segment_of_no_connection_that_ends_here(flags: int) -> None:
    """A trace by ACKs: the answer of the target is not to be had from the first router."""
    net = Net()
    frame = with_ttl(Peer(net).frame(flags), 1)
    net.send(frame)
    message = net.one()
    exceeded(message, GATEWAY)
    assert bytes(message.data)[28:] == frame[14:54]
    assert (net.stats.drop_ip_ttl, net.stats.tcp_resets_out) == (1, 0)


def test_a_segment_of_no_connection_that_gets_to_its_end() -> None:
    for address, ttl in ((GATEWAY, 1), (ip("10.0.2.77"), 1), (WORLD, 2)):
        net = Net()
        net.send(with_ttl(Peer(net, address=address).frame(ACK), ttl))
        assert net.one().data.data.flags == RST
    net = Net(config(restrict=True))
    net.send(with_ttl(Peer(net).frame(ACK), 1))
    assert net.one().data.data.flags == RST


def test_forwards() -> None:
    """An answer of a guest's has to go on to who called, unless that is the host."""
    net = Net(config(hostfwd=["tcp::8080-10.0.2.15:80"]))
    net.send(arp(2, to=GATEWAY_MAC))
    for source, ends in ((WORLD, True), (LOOPBACK, False)):
        net.host.connect(ip("127.0.0.1"), 8080, source=(source, 5000))
        net.run(0.01)
        tcp = net.one().data.data
        assert tcp.flags == SYN
        peer = Peer(net, 5000, address=GATEWAY if source == LOOPBACK else source, sport=80)
        peer.ack = tcp.seq + 1
        net.send(with_ttl(peer.frame(SYN | ACK, opts=options()), 1))
        net.run(0.01)
        frames = net.take()
        if ends:
            exceeded(frames[0], GATEWAY)
        else:
            assert frames[0].data.data.flags == ACK


def test_a_syn_that_ends_here_leaves_time_wait_alone() -> None:
    net = Net()
    net.host.serve_tcp(WORLD, 80, lambda: Source(b"all"))
    peer = Peer(net)
    peer.open()
    net.run(0.01)
    peer.receive()  # the end of the server's data comes first: we wait
    peer.send(ACK)
    peer.send(FIN | ACK)
    net.run(0.01)
    net.take()
    (flow,) = net.stack.tcp_flows.values()
    assert flow.conn.state is TIME_WAIT
    net.send(syn(net, 1, seq=peer.seq + 100_000))
    exceeded(net.one(), GATEWAY)
    assert list(net.stack.tcp_flows.values()) == [flow]


@pytest.mark.parametrize("error", [errno.EHOSTUNREACH, errno.ENETUNREACH])
def test_without_a_report_it_is_the_gateway_that_says_so(error: int) -> None:
    net = Net()
    net.host.unreachable(WORLD, error=error)
    net.send(syn(net, 3))
    net.run(0.01)
    raw = bytes(net.one().data)
    assert (raw[12:16], raw[20]) == (GATEWAY, 3)
