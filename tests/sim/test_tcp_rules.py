"""Rules about TCP that the stack obeys, not the engine: IP options, fragments, ICMP, reports of problems."""

from __future__ import annotations

import errno
from typing import Any

import dpkt
import pytest

from slirpy.interfaces import LinkFeatures
from slirpy.testing import Echo, Remote, Sink, Source
from tests.support.harness import (
    ACK,
    GUEST,
    PSH,
    SYN,
    WORLD,
    Net,
    Peer,
    arp,
    config,
    eth,
    ip,
    ipv4,
    options,
    rfc1071,
)

ODDITIES = {
    "nop": b"\1\1\1\0",
    "record-route": bytes((7, 7, 4, 0, 0, 0, 0, 0)),
    "timestamp": bytes((68, 12, 5, 0)) + bytes(8),
    "router-alert": bytes((148, 4, 0, 0)),
    "loose-source-route": bytes((131, 7, 8)) + ip("203.0.113.1") + b"\0",
    "unknown": bytes((0x9E, 4, 0xAA, 0xAA)),
}
SOFT = {
    "network unreachable": (3, 0, errno.ENETUNREACH),
    "host unreachable": (3, 1, errno.EHOSTUNREACH),
    "source route failed": (3, 5, errno.EHOSTUNREACH),
    "time exceeded": (11, 0, errno.EHOSTUNREACH),
    "not put together in time": (11, 1, errno.EHOSTUNREACH),
    "parameter problem": (12, 0, errno.EPROTO),
}


def opened(net: Net, program: Any = Remote, **more: Any) -> Peer:
    net.host.serve_tcp(WORLD, 80, program)
    peer = Peer(net, **more)
    peer.open()
    net.run(0.01)
    return peer


def error(kind: int, code: int, quoted: bytes, to: bytes = WORLD) -> bytes:
    """An ICMP error of the guest's about a packet that it has got."""
    message = bytes((kind, code, 0, 0)) + bytes(4) + quoted
    message = message[:2] + rfc1071(message).to_bytes(2, "big") + message[4:]
    return eth(ipv4(1, message, source=GUEST, destination=to))


# ------------------------------------------------------------------------------------ acknowledgements


@pytest.mark.rfc("9293", "MUST-58")
@pytest.mark.rfc("9293", "MUST-59")
@pytest.mark.parametrize("fastpath", [True, False])
def test_a_batch_is_acknowledged_once(fastpath: bool) -> None:
    """But for segments behind a hole and those that fill it, which get an ACK each."""
    net = Net(fastpath=fastpath)
    peer = opened(net, Sink)
    net.silence()
    orders: dict[tuple[int, ...], list[int]] = {
        tuple(range(10)): [10],
        (3, 1, 0, 2, 9, 4, 8, 5, 7, 6): [0, 0, 2, 4, 4, 5, 5, 6, 6, 10],
        (0, 1, 2, 4, 5, 6, 3, 7, 8, 9): [3, 3, 3, 3, 10],
    }
    for order, acks in orders.items():
        net.send(*(peer.frame(ACK | PSH, bytes(1000), seq=peer.seq + 1000 * n) for n in order))
        assert [(tcp.ack - peer.seq) // 1000 for tcp in peer.take() if tcp.flags == ACK] == acks
        peer.seq += 10_000
        net.run(0.05)
        assert all(not tcp.data for tcp in peer.take()), "windows at most"


# ---------------------------------------------------------------------------------------- IP's options


@pytest.mark.rfc("9293", "MUST-50")
@pytest.mark.rfc("9293", "MUST-53")
@pytest.mark.parametrize("odd", ODDITIES.values(), ids=list(ODDITIES))
def test_ip_options_change_nothing(net: Net, odd: bytes) -> None:
    """A source route among them: answers go straight back."""
    net.host.serve_tcp(WORLD, 80, Echo)
    peer = Peer(net)
    peer.send(SYN, opts=options(), ip_options=odd)
    net.run(0.01)
    (frame,) = net.take()
    assert frame.data.hl == 5
    assert frame.data.dst == GUEST
    peer.established(frame.data.data)
    peer.send(ACK | PSH, b"there and back", ip_options=odd)
    net.run(0.05)
    assert peer.receive() == b"there and back"


@pytest.mark.rfc("1191", "3 df")
@pytest.mark.parametrize("offload", [False, True])
def test_no_router_may_cut_a_segment(offload: bool) -> None:
    features = LinkFeatures(checksum_offload=True, segmentation_offload=True) if offload else None
    net = Net(features=features)
    net.host.serve_tcp(WORLD, 80, lambda: Source(bytes(20_000)))
    peer = Peer(net)
    peer.send(SYN, opts=options())
    net.run(0.01)
    (frame,) = net.take()
    assert frame.data.df
    peer.established(frame.data.data)
    net.run(0.05)
    frames = net.take()
    assert len(frames) > 5
    assert all(frame.data.df and not frame.data.mf for frame in frames)


# ------------------------------------------------------------------------------------------ ICMP


@pytest.mark.rfc("9293", "MUST-56")
@pytest.mark.rfc("9293", "MUST-56 time exceeded")
@pytest.mark.rfc("9293", "MUST-56 parameter problem")
@pytest.mark.rfc("9293", "SHLD-25")
@pytest.mark.rfc("9293", "MUST-54")
@pytest.mark.parametrize(("kind", "code", "told"), SOFT.values(), ids=list(SOFT))
def test_soft_errors_are_reported_and_do_not_end_a_connection(
    net: Net, kind: int, code: int, told: int
) -> None:
    peer = opened(net, lambda: Source(bytes(5000)))
    packets = [frame[14:] for frame in net.raw()]
    net.send(error(kind, code, packets[0]))
    net.run(0.01)
    assert peer.conn.soft_error == told
    peer.ack = peer.conn.snd_max
    peer.send(ACK)
    assert peer.conn.soft_error == 0
    assert peer.conn.snd_buf.length == 0


@pytest.mark.rfc("9293", "MUST-56")
@pytest.mark.rfc("9293", "MUST-56 time exceeded")
@pytest.mark.rfc("9293", "MUST-56 parameter problem")
@pytest.mark.parametrize(("kind", "code", "told"), SOFT.values(), ids=list(SOFT))
def test_soft_errors_do_not_end_an_opening_connection(kind: int, code: int, told: int) -> None:
    net = Net(config(hostfwd=["tcp:127.0.0.1:0-:80"]))
    net.know()
    source = ip("203.0.113.8")
    client: Remote = net.host.connect(ip("127.0.0.1"), net.stack.hostfwds()[0].host_port, source=(source, 6000))
    net.run(0.01)
    (frame,) = net.raw()
    net.send(error(kind, code, frame[14:], to=source))
    (flow,) = net.stack.tcp_flows.values()
    assert flow.conn.soft_error == told
    answer = dpkt.ethernet.Ethernet(frame).data.data
    guest = Peer(net, 6000, address=source, sport=80, seq=7000)
    guest.send(SYN | ACK, ack=answer.seq + 1, opts=options())
    net.run(0.01)
    assert client.error is None
    assert flow.conn.soft_error == 0
    assert len(net.stack.flows()) == 1


@pytest.mark.rfc("9293", "MUST-55")
@pytest.mark.rfc("5927", "6.1")
def test_source_quench_changes_nothing(net: Net) -> None:
    peer = opened(net, lambda: Source(bytes(50_000)))
    packets = [frame[14:] for frame in net.raw()]
    before = peer.conn.cc.cwnd, peer.conn.mss, peer.conn.snd_nxt
    for packet in packets:
        net.send(error(4, 0, packet))
    net.run(0.01)
    net.silence()
    assert (peer.conn.cc.cwnd, peer.conn.mss, peer.conn.snd_nxt) == before
    assert peer.conn.soft_error == 0


# --------------------------------------------------------------------------------------------- failures


@pytest.mark.rfc("9293", "MUST-20 R1")
@pytest.mark.rfc("9293", "SHLD-10")
def test_after_r1_the_guest_is_resolved_by_arp_again(net: Net) -> None:
    conn = opened(net, lambda: Source(b"hello")).conn
    asked = []
    while conn.retries <= conn.settings.r1:
        net.run(0.05)
        for frame in net.take():
            if frame.type == dpkt.ethernet.ETH_TYPE_ARP:
                assert frame.data.tpa == GUEST
                asked.append(conn.retries)
                net.send(arp(2))  # it is where it was
    assert asked[0] == conn.settings.r1 == 3
    assert conn.soft_error == errno.ETIMEDOUT


@pytest.mark.rfc("9293", "MUST-20")
def test_a_timeout_reports_the_last_soft_error(net: Net) -> None:
    peer = opened(net, lambda: Source(b"hello"))
    conn = peer.conn
    net.send(error(3, 1, net.raw()[0][14:]))
    net.run(conn.settings.user_timeout / 1e9 + 1)
    assert conn.error == errno.EHOSTUNREACH
    assert net.stack.flows() == []
