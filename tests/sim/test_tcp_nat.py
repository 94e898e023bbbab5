"""TCP outward, segment by segment: opening and refusal, resets, half-close, TIME-WAIT, the guest's MSS."""

from __future__ import annotations

import errno
import gc
from random import Random
from typing import Any

import dpkt
import pytest

from slirpy.interfaces import Action, LinkFeatures, Verdict
from slirpy.nat.pumps import READ_SIZE
from slirpy.nat.tcpflow import NatTcpFlow
from slirpy.testing import Echo, Remote, SimServer, Sink, Source
from tests.support.frames6 import GUEST6, WORLD6, know6
from tests.support.harness import (
    ACK,
    BROADCAST,
    DNS,
    DNS_MAC,
    FIN,
    GATEWAY,
    GUEST,
    PSH,
    RST,
    SYN,
    URG,
    WORLD,
    Net,
    Peer,
    config,
    eth,
    ip,
    ipv4,
    options,
    unreachable,
)

MS = 1_000_000


def opened(net: Net, program: Any = Remote, **more: Any) -> tuple[Peer, Any]:
    """A connection of the guest, and the program at its far end."""
    server: SimServer = net.host.serve_tcp(WORLD, 80, program)
    peer = Peer(net, **more)
    peer.open()
    net.run(0.01)
    return peer, server.connections[0]


def stream_calls(net: Net) -> list[str]:
    return [c.name for c in net.host.calls if c.name in ("shutdown", "abort", "close")]


# ------------------------------------------------------------------------------------------------------- opening


def test_syn_ack_comes_only_when_the_host_is_connected() -> None:
    net = Net(latency=50 * MS)
    net.host.serve_tcp(WORLD, 80)
    peer = Peer(net)
    peer.send(SYN, opts=options())
    assert [(c.address, c.port) for c in net.calls("connect_tcp")] == [(WORLD, 80)]
    net.run(0.099)
    net.silence()
    assert [f.state for f in net.stack.flows()] == ["CONNECTING"]
    net.run(0.002)
    answer = peer.one(SYN | ACK)
    assert answer.ack == peer.seq
    peer.established(answer)
    assert [f.state for f in net.stack.flows()] == ["ESTABLISHED"]


def test_refused() -> None:
    net = Net(latency=50 * MS)
    peer = Peer(net, seq=0xFFFFFFFF)
    peer.send(SYN, opts=options())
    net.silence()
    net.run(0.11)
    answer = peer.one(RST | ACK)
    assert (answer.seq, answer.ack, answer.win) == (0, 0, 0)
    assert net.stack.flows() == []
    assert net.stats.tcp_flows_refused == 1


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errno.ENETUNREACH, 0),
        (errno.ENETDOWN, 0),
        (errno.EHOSTUNREACH, 1),
        (errno.EHOSTDOWN, 1),
        (errno.EACCES, 13),
        (errno.EPERM, 13),
    ],
)
def test_unreachable(net: Net, error: int, code: int, at_once: bool) -> None:
    net.host.unreachable(WORLD, error=error, at_once=at_once)
    peer = Peer(net)
    frame = peer.frame(SYN, opts=options(ts=(1, 0)))
    net.send(frame)
    net.run(0.01)
    quoted = unreachable(net.one(), code)
    assert len(quoted) >= 28
    assert frame[14:].startswith(quoted)
    assert net.stack.flows() == []
    assert net.stats.tcp_flows_refused == 1


@pytest.mark.parametrize("kind", ["many options", "data", "IP options"])
def test_unreachable_for_long_syns(net: Net, kind: str) -> None:
    net.host.unreachable(WORLD)
    peer = Peer(net)
    more: dict[str, Any] = {
        "many options": {"opts": options(ts=(1, 0)) + b"\1" * 20},
        "data": {"data": b"early" * 50, "opts": options()},
        "IP options": {"opts": options(), "ip_options": b"\1" * 40},
    }[kind]
    frame = peer.frame(SYN, **more)
    net.send(frame)
    net.run(0.01)
    quoted = unreachable(net.one(), 1)
    assert frame[14:].startswith(quoted)
    assert len(quoted) >= (frame[14] & 15) * 4 + 8


def test_other_errors_are_a_refusal(net: Net) -> None:
    net.host.unreachable(WORLD, error=errno.ECONNRESET)
    Peer(net).send(SYN, opts=options())
    net.run(0.01)
    assert net.one().data.data.flags == RST | ACK


def test_time_out_after_75_seconds(net: Net) -> None:
    net.host.black_hole(WORLD)
    peer = Peer(net)
    peer.send(SYN, opts=options())
    net.run(74.9)
    assert len(net.stack.flows()) == 1
    net.run(0.2)
    net.silence()
    assert net.stack.flows() == []
    assert net.stats.tcp_flows_refused == 1
    assert stream_calls(net) == ["abort"]


def test_the_system_s_own_time_out_is_silent(net: Net) -> None:
    net.host.unreachable(WORLD, error=errno.ETIMEDOUT)
    Peer(net).send(SYN, opts=options())
    net.run(1)
    net.silence()
    assert net.stack.flows() == []


def test_repeated_syns_are_ignored_while_connecting() -> None:
    net = Net(latency=3000 * MS)
    net.host.serve_tcp(WORLD, 80)
    peer = Peer(net)
    for _ in range(4):
        peer.send(SYN, seq=1_000_000, opts=options())
        net.run(1)
    net.silence()
    assert len(net.calls("connect_tcp")) == 1
    net.run(2.5)
    peer.seq = 1_000_001
    peer.one(SYN | ACK)


def test_a_lost_syn_ack_is_sent_again_and_a_repeated_syn_gets_it(net: Net) -> None:
    net.host.serve_tcp(WORLD, 80)
    peer = Peer(net)
    peer.send(SYN, opts=options())
    net.run(0.01)
    first = peer.one(SYN | ACK)
    peer.send(SYN, seq=1_000_000, opts=options())
    again = peer.one(SYN | ACK)
    assert (again.seq, again.ack) == (first.seq, first.ack)
    net.run(1.2)
    assert peer.take()[0].flags == SYN | ACK


def test_a_guest_that_gives_up_while_connecting(net: Net) -> None:
    net.host.black_hole(WORLD)
    peer = Peer(net)
    peer.send(SYN, opts=options())
    peer.send(RST | ACK)  # many systems; RFC 9293 wants it without ACK, in the window
    peer.send(RST)
    net.silence()
    assert net.stack.flows() == []
    assert stream_calls(net) == ["abort"]


def test_no_sockets_left(net: Net) -> None:
    net.host.max_sockets = 0
    Peer(net).send(SYN, opts=options())
    net.run(0.01)
    assert net.one().data.data.flags == RST | ACK
    assert net.stack.flows() == []


@pytest.mark.parametrize("mss", [None, 64, 536, 1460, 65495])
@pytest.mark.parametrize("ts", [None, 77])
def test_the_guest_s_mss_is_honoured(net: Net, mss: int | None, ts: int | None) -> None:
    data = Random(mss).randbytes(50_000)
    net.host.serve_tcp(WORLD, 80, lambda: Source(data))
    peer = Peer(net, ts=ts)
    peer.open(options(mss=mss, ts=None if ts is None else (ts, 0)))
    sizes: list[int] = []
    got = bytearray()
    while len(got) < len(data):
        net.run(0.005)
        frames = [f.data.data for f in net.take()]
        assert frames, "stalled"
        for tcp in frames:
            assert (len(tcp.opts) == 12) == (ts is not None)
            sizes.append(len(tcp.data) + len(tcp.opts))
            if tcp.seq == peer.ack:
                got += bytes(tcp.data)
                peer.ack = (peer.ack + len(tcp.data)) & 0xFFFFFFFF
        peer.send(ACK)
    assert got == data
    assert max(sizes) == min(mss or 1460, 1460)


@pytest.mark.rfc("9293", "MUST-15")
@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize(
    ("mtu", "link", "largest"),
    [
        (1500, None, 1460),
        (1500, 1000, 960),
        (576, None, 536),
        (68, None, 28),
        (9000, None, 1460),
        (65521, 1400, 1360),
    ],
)
def test_a_guest_without_mss_option_gets_segments_that_fit_its_link(
    mtu: int, link: int | None, largest: int, offload: bool
) -> None:
    features = LinkFeatures(mtu=link, checksum_offload=offload, segmentation_offload=offload)
    net = Net(config(mtu=mtu), features=features)
    net.host.serve_tcp(WORLD, 80, lambda: Source(bytes(5 * largest)))
    peer = Peer(net)
    peer.open(b"")
    assert peer.conn.mss == largest
    net.run(0.01)
    for frame in net.wire.sent:
        assert frame.gso_size in (0, largest)
    assert peer.drain() == bytes(5 * largest)


@pytest.mark.rfc("9293", "MUST-15 IPv6")
@pytest.mark.rfc("9293", "SHLD-5 IPv6")
@pytest.mark.parametrize(("mtu", "largest"), [(1500, 1440), (1280, 1220), (9000, 1440)])
def test_so_does_one_with_ipv6(mtu: int, largest: int) -> None:
    net = Net(config(mtu=mtu))
    know6(net)
    net.host.serve_tcp(WORLD6, 80, lambda: Source(bytes(5 * largest)))
    peer = Peer(net, address=WORLD6, guest=GUEST6)
    peer.send(SYN, opts=b"")
    net.run(0.01)
    assert peer.one(SYN | ACK).opts[:4] == b"\2\4" + (mtu - 60).to_bytes(2, "big")
    assert peer.conn.mss == largest


@pytest.mark.parametrize("mss", [0, 1, 7, 8, 11, 12, 13, 20])
def test_absurd_mss_still_works(net: Net, mss: int) -> None:
    net.host.serve_tcp(WORLD, 80, lambda: Source(bytes(range(200))))
    peer = Peer(net, ts=5)
    peer.open(options(mss=mss, ts=(5, 0)))
    assert peer.drain() == bytes(range(200))


@pytest.mark.parametrize(
    ("offered", "expected"),
    [
        (options(), (True, True, False)),
        (options(wscale=None, sack=False), (False, False, False)),
        (options(ts=(9, 0)), (True, True, True)),
        (b"", (False, False, False)),
    ],
)
def test_options_are_answered_only_if_offered(
    net: Net, offered: bytes, expected: tuple[bool, bool, bool]
) -> None:
    net.host.serve_tcp(WORLD, 80)
    answer = Peer(net).open(offered)
    found = dict(dpkt.tcp.parse_opts(answer.opts))
    assert (3 in found, 4 in found, 8 in found) == expected
    assert found[2] == (1460).to_bytes(2, "big")


@pytest.mark.rfc("9293", "SHLD-6")
@pytest.mark.rfc("9293", "MUST-67")
@pytest.mark.rfc("1191", "3.1")
@pytest.mark.parametrize("mtu", [68, 576, 1500, 9000, 65521])
def test_our_mss_is_the_mtu_s(mtu: int) -> None:
    for features in (None, LinkFeatures(checksum_offload=True, segmentation_offload=True)):
        net = Net(config(mtu=mtu), features=features)
        net.host.serve_tcp(WORLD, 80)
        answer = Peer(net).open(options(mss=65495))
        assert dict(dpkt.tcp.parse_opts(answer.opts))[2] == (mtu - 40).to_bytes(2, "big")


def test_initial_numbers_differ() -> None:
    net = Net()
    net.host.serve_tcp(WORLD, 80)
    peers = [Peer(net, sport=40000 + n) for n in range(20)]
    assert len({peer.open().seq >> 16 for peer in peers}) > 10


# --------------------------------------------------------------------------------------- who may not be reached


def test_gateway_is_the_host_s_loopback(net: Net) -> None:
    net.host.serve_tcp(ip("127.0.0.1"), 631, Echo)
    peer = Peer(net, 631, address=GATEWAY)
    peer.open()
    peer.send(ACK | PSH, b"hello")
    net.run(0.05)
    assert peer.receive() == b"hello"


def test_no_host_loopback() -> None:
    net = Net(config(host_loopback=False))
    net.host.serve_tcp(ip("127.0.0.1"), 631)
    Peer(net, 631, address=GATEWAY).send(SYN, opts=options())
    unreachable(net.one(), 0)
    assert net.calls("connect_tcp") == []
    assert net.stack.flows() == []


@pytest.mark.parametrize("where", ["10.0.2.4", "10.0.2.77", "10.0.2.15"])
def test_an_unassigned_address_is_unreachable(net: Net, where: str) -> None:
    Peer(net, address=ip(where)).send(SYN, opts=options())
    unreachable(net.one(), 1)
    assert net.calls("connect_tcp") == []


def test_other_ports_of_the_dns_address(net: Net) -> None:
    peer = Peer(net, 80, address=DNS)
    net.send(peer.frame(SYN, opts=options(), to=DNS_MAC))
    peer.seq += 1
    answer = peer.one(RST | ACK)
    assert (answer.seq, answer.ack) == (0, peer.seq)


@pytest.mark.rfc("9293", "MUST-57 SYN")
@pytest.mark.rfc("9293", "MUST-46")
@pytest.mark.rfc("9293", "MUST-46 invalid")
@pytest.mark.parametrize(
    "where", ["127.0.0.1", "0.0.0.0", "240.1.1.1", "224.0.0.1", "255.255.255.255", "10.0.2.255"]
)
def test_martians_and_broadcasts(net: Net, where: str) -> None:
    peer = Peer(net, address=ip(where))
    net.send(peer.frame(SYN, opts=options(), to=BROADCAST))
    net.silence()
    assert net.stats.drop_ip_destination + net.stats.drop_tcp_broadcast == 1
    assert net.calls("connect_tcp") == []


@pytest.mark.parametrize("action", list(Action))
def test_policy(action: Action) -> None:
    net = Net(config(policy=lambda request: Verdict(action)))
    net.host.serve_tcp(WORLD, 80)
    Peer(net).send(SYN, opts=options())
    net.run(0.01)
    flags = [f.data.data.flags for f in net.take()]
    refused = [RST | ACK]  # also where nobody is there to ask
    answers = {Action.ALLOW: [SYN | ACK], Action.REJECT: refused, Action.DROP: [], Action.ASK: refused}
    assert flags == answers[action]


@pytest.mark.rfc("9293", "3.10.7.1")
@pytest.mark.parametrize(
    "flags", [ACK, ACK | PSH, FIN | ACK, FIN, 0, PSH, SYN | ACK, SYN | FIN, RST, RST | ACK]
)
def test_segments_of_no_connection(net: Net, flags: int) -> None:
    peer = Peer(net)
    net.send(peer.frame(flags, b"data", ack=4711))
    assert net.calls("connect_tcp") == []
    if flags & RST:
        net.silence()
        return
    answer = net.one().data.data
    if flags & ACK:
        assert (answer.flags, answer.seq, answer.ack) == (RST, 4711, 0)
    else:
        length = 4 + bool(flags & FIN) + bool(flags & SYN)
        assert (answer.flags, answer.seq, answer.ack) == (RST | ACK, 0, peer.seq + length)


@pytest.mark.rfc("9293", "MUST-3")
def test_malformed(net: Net) -> None:
    good = Peer(net).frame(SYN, opts=options())
    short_offset = bytearray(good)
    short_offset[46] = 0x40
    long_offset = bytearray(good)
    long_offset[46] = 0xF0
    wrong_sum = bytearray(good)
    wrong_sum[50] ^= 1
    short = eth(ipv4(6, good[34:53], destination=WORLD))
    net.send(bytes(short_offset), bytes(long_offset), bytes(wrong_sum), short)
    assert (net.stats.drop_tcp_offset, net.stats.drop_tcp_checksum, net.stats.drop_tcp_malformed) == (2, 1, 1)
    net.silence()
    assert net.stack.flows() == []


# ------------------------------------------------------------------------------------------------- data, both ways


@pytest.mark.rfc("9293", "MUST-2")
@pytest.mark.rfc("9293", "MUST-45")
@pytest.mark.parametrize("fastpath", [True, False])
@pytest.mark.parametrize("ts", [None, 1])
@pytest.mark.parametrize("offload", [True, False])
def test_echo(fastpath: bool, ts: int | None, offload: bool) -> None:
    features = LinkFeatures(checksum_offload=True, segmentation_offload=True) if offload else None
    net = Net(fastpath=fastpath, features=features)
    peer, _ = opened(net, Echo, ts=ts)
    data = Random(4).randbytes(100_000)
    got = bytearray()
    for offset in range(0, len(data), 1400):
        peer.send(ACK | PSH, data[offset : offset + 1400])
        net.run(0.004)
        got += peer.receive()
    got += peer.drain()
    assert got == data
    assert (net.stats.tcp_fastpath > 0) == fastpath
    assert net.stats.dropped() == 0


def test_data_with_the_last_ack_of_the_handshake(net: Net) -> None:
    net.host.serve_tcp(WORLD, 80, Echo)
    peer = Peer(net)
    peer.send(SYN, opts=options())
    net.run(0.01)
    answer = peer.one(SYN | ACK)
    peer.ack = answer.seq + 1
    peer.send(ACK | PSH, b"early")
    net.run(0.05)
    assert peer.drain() == b"early"


def test_a_slow_far_end_closes_the_window_and_nothing_is_lost() -> None:
    net = Net()
    peer, far = opened(net)
    far.paused = True
    data = Random(4).randbytes(3_000_000)
    sent = 0
    scale = 5
    net.take()
    edge = (peer.seq + 65535) & 0xFFFFFFFF
    for _ in range(20_000):
        room = min((edge - peer.seq) & 0xFFFFFFFF, 1460, len(data) - sent)
        if room > 0:
            peer.send(ACK, data[sent : sent + room])
            sent += room
        else:
            net.run(0.5)
        for tcp in peer.take():
            edge = (tcp.ack + (tcp.win << scale)) & 0xFFFFFFFF
        if sent == len(data):
            break
        if not room:
            if far.paused:
                held = sent
                assert 400_000 < held < 2_000_000  # what we keep beside what the host's socket keeps
                assert len(net.stack.flows()) == 1
            far.paused = False
            net.run(0.05)
    net.run(1)
    assert bytes(far.received) == data


def test_a_slow_guest_holds_up_the_far_end(net: Net) -> None:
    data = bytes(5_000_000)
    peer, far = opened(net, lambda: Source(data))
    net.run(5)
    assert far.unsent > 4_000_000
    (flow,) = net.stack.flows()
    assert flow.queued_out <= 65535
    peer.drain(20_000)
    assert far.unsent == 0


@pytest.mark.parametrize("ready", [READ_SIZE // 2 - 1, READ_SIZE // 2])
@pytest.mark.parametrize("offload", [True, False])
def test_more_is_read_unless_there_is_enough_for_single_segments(ready: int, offload: bool) -> None:
    """Enough is half of a read. A link that segments gets whole bursts in any case."""
    net = Net(features=LinkFeatures(checksum_offload=True, segmentation_offload=True) if offload else None)
    far = net.host.serve_tcp(WORLD, 80, Remote)
    peer = Peer(net)
    peer.open(options(wscale=None))
    net.run(0.01)
    (program,) = far.connections
    program.write(bytes(1_000_000))
    assert len(peer.drain()) == 1_000_000  # which lets the congestion window grow
    small = 2 * 1460
    peer.send(ACK, wnd=small)
    program.write(bytes(small + ready))
    net.run(0.01)
    assert len(peer.receive()) == small
    program.write(b"more")  # which is not read yet: the guest's window is small
    net.run(0.01)
    assert net.stack.flows()[0].queued_out == small + ready
    peer.send(ACK)
    enough = ready == READ_SIZE // 2 and not offload
    assert net.stack.flows()[0].queued_out == (ready if enough else ready + len(b"more"))
    assert len(peer.drain()) == ready + len(b"more")


@pytest.mark.parametrize("address", [WORLD, WORLD6], ids=["IPv4", "IPv6"])
def test_small_exchanges_delay_no_acknowledgement_that_is_due(address: bytes) -> None:
    """Of a request it waits for the answer; a keep-alive behind another one is answered at once."""
    net = Net()
    far = net.host.serve_tcp(address, 80, Remote)
    if address == WORLD6:
        know6(net)
    peer = Peer(net, address=address, guest=GUEST6 if address == WORLD6 else GUEST, ts=1)
    peer.open()
    net.run(0.01)
    (program,) = far.connections
    peer.send(ACK | PSH, b"request")
    assert peer.take() == []  # the acknowledgement is delayed
    program.write(b"answer")
    net.run(0.005)
    answer = peer.one(ACK | PSH)
    assert (answer.ack, bytes(answer.data)) == (peer.seq, b"answer")
    peer.ack += len(b"answer")
    peer.send(ACK)
    net.send(peer.frame(ACK | PSH, b"request"), peer.frame(ACK, seq=peer.seq + 6))
    peer.seq += len(b"request")
    assert peer.one(ACK).ack == peer.seq
    net.run(0.01)
    assert bytes(program.received) == b"requestrequest"


def test_urgent_data_is_data_in_its_place(net: Net) -> None:
    peer, far = opened(net)
    peer.send(ACK | URG | PSH, b"urgent", urg=6)
    net.run(0.05)
    assert bytes(far.received) == b"urgent"


# ---------------------------------------------------------------------------------------------------------- ends


def test_the_guest_ends_first_and_the_other_half_lives_on(net: Net) -> None:
    peer, far = opened(net)
    peer.send(ACK | PSH, b"last words")
    peer.send(FIN | ACK)
    net.run(0.05)
    assert bytes(far.received) == b"last words"
    assert far.ended
    assert stream_calls(net) == ["shutdown"]
    peer.take()
    net.run(3600)  # for as long as the other half is used
    far.write(b"still talking")
    net.run(0.05)
    assert peer.receive() == b"still talking"
    peer.send(ACK)
    far.finish()
    net.run(0.05)
    assert peer.one().flags & FIN
    peer.ack += 1
    peer.send(ACK)
    net.run(0.05)
    assert net.stack.flows() == []
    assert far.error is None


def test_the_far_end_ends_first_and_the_other_half_lives_on(net: Net) -> None:
    peer, far = opened(net)
    far.write(b"bye")
    far.finish()
    net.run(0.05)
    assert peer.drain() == b"bye"
    peer.send(ACK)
    assert [f.state for f in net.stack.flows()] == ["FIN-WAIT-2"]
    net.run(3600)
    peer.send(ACK | PSH, b"more")
    net.run(0.05)
    assert bytes(far.received) == b"more"
    peer.take()
    peer.send(FIN | ACK)
    net.run(0.05)
    assert peer.one(ACK).ack == peer.seq
    assert far.ended
    assert far.error is None
    assert [f.state for f in net.stack.flows()] == ["TIME-WAIT"]
    assert len(net.host._open) == 0  # the socket went at once
    net.run(61)
    assert net.stack.flows() == []


def test_both_end_at_once(net: Net) -> None:
    peer, far = opened(net)
    far.finish()
    net.run(0.003)
    peer.send(FIN | ACK, ack=peer.ack)
    net.run(0.01)
    peer.receive()
    peer.send(ACK)
    net.run(0.05)
    assert [f.state for f in net.stack.flows()] == ["TIME-WAIT"]
    assert far.ended
    assert far.error is None


def test_the_guest_is_done_before_the_host_has_taken_all(net: Net) -> None:
    net.host.buffer_bytes = 1000
    peer, far = opened(net)
    far.paused = True
    far.finish()
    net.run(0.05)
    peer.receive()
    data = Random(8).randbytes(20_000)
    for offset in range(0, len(data), 1000):
        peer.send(ACK, data[offset : offset + 1000])
    peer.send(FIN | ACK)
    peer.take()
    net.run(100)  # the guest has forgotten it all
    assert not far.ended
    far.paused = False
    net.run(5)
    assert bytes(far.received) == data
    assert far.ended
    assert far.error is None
    assert net.stack.flows() == []
    assert len(net.host._open) == 0


def test_the_same_with_the_guest_ending_first(net: Net) -> None:
    net.host.buffer_bytes = 1000
    peer, far = opened(net)
    far.paused = True
    data = Random(8).randbytes(20_000)
    for offset in range(0, len(data), 1000):
        peer.send(ACK, data[offset : offset + 1000])
    peer.send(FIN | ACK)
    peer.take()
    far.finish()
    net.run(0.05)
    peer.receive()
    peer.send(ACK)
    net.run(100)
    far.paused = False
    net.run(5)
    assert bytes(far.received) == data
    assert far.ended
    assert net.stack.flows() == []
    assert len(net.host._open) == 0


def test_a_guest_s_reset_is_a_reset_at_the_host(net: Net) -> None:
    peer, far = opened(net)
    peer.send(ACK | PSH, b"x")
    net.run(0.05)
    peer.take()
    peer.send(RST)
    net.run(0.05)
    net.silence()
    assert far.error == errno.ECONNRESET
    assert not far.ended
    assert net.stack.flows() == []
    assert stream_calls(net) == ["abort"]


def test_a_host_s_reset_is_a_reset_at_the_guest(net: Net) -> None:
    peer, far = opened(net)
    far.reset()
    net.run(0.05)
    answer = peer.one()
    assert answer.flags & RST
    assert answer.seq == peer.ack
    assert net.stack.flows() == []


@pytest.mark.rfc("6146", "5.2 sequence")
def test_a_reset_outside_the_window_does_nothing(net: Net) -> None:
    peer, far = opened(net)
    peer.send(RST, seq=peer.seq - 1)
    peer.send(RST, seq=peer.seq + 5_000_000)
    net.run(0.05)
    assert far.error is None
    net.silence()
    peer.send(RST, seq=peer.seq + 100)  # inside: challenged (RFC 5961)
    assert peer.one(ACK).ack == peer.seq
    assert net.stats.tcp_challenge_acks == 1
    assert len(net.stack.flows()) == 1


def test_a_reset_after_the_guest_s_end(net: Net) -> None:
    peer, far = opened(net)
    peer.send(FIN | ACK)
    net.run(0.05)
    peer.take()
    peer.send(RST)
    net.run(0.05)
    assert far.error == errno.ECONNRESET
    assert net.stack.flows() == []


def test_the_far_end_resets_with_data_on_its_way(net: Net) -> None:
    peer, far = opened(net)
    far.paused = True
    peer.send(ACK | PSH, b"unread")
    net.run(0.05)
    peer.take()
    far.close()  # unread data: the kernel resets
    net.run(0.05)
    assert peer.one().flags & RST
    assert net.stack.flows() == []


def time_wait(net: Net) -> Peer:
    peer, far = opened(net)
    far.finish()
    net.run(0.05)
    peer.drain()
    peer.send(FIN | ACK)
    net.run(0.01)
    peer.take()
    assert peer.conn.state.value == "TIME-WAIT"
    return peer


@pytest.mark.rfc("9293", "3.10.7.4")
def test_time_wait_repeats_its_ack(net: Net) -> None:
    peer = time_wait(net)
    net.run(50)
    peer.send(FIN | ACK, seq=peer.seq - 1)
    assert peer.one(ACK).ack == peer.seq
    net.run(50)
    assert len(net.stack.flows()) == 1  # begun anew
    net.run(11)
    assert net.stack.flows() == []


@pytest.mark.rfc("9293", "MAY-2")
def test_a_new_connection_may_use_the_port_at_once(net: Net) -> None:
    peer = time_wait(net)
    again = Peer(net, seq=peer.seq + 10)
    answer = again.open()
    assert answer.ack == again.seq
    assert again.conn.state.value == "ESTABLISHED"
    assert len(net.stack.flows()) == 1


@pytest.mark.rfc("6191", "2 otherwise")
def test_an_old_syn_does_not_reopen(net: Net) -> None:
    peer = time_wait(net)
    peer.send(SYN, seq=peer.seq - 1000, opts=options())
    assert peer.one(ACK).ack == peer.seq
    assert peer.conn.state.value == "TIME-WAIT"


def test_the_guest_is_gone(net: Net) -> None:
    """Data that nobody acknowledges ends the connection, on both sides."""
    _, far = opened(net)
    far.write(b"anyone?")
    net.run(1000)
    assert net.stack.flows() == []
    assert far.error == errno.ECONNRESET
    assert net.stats.tcp_retransmits > 5


def test_close_resets_everything(net: Net) -> None:
    peer, far = opened(net)
    other = Peer(net, sport=41000)
    other.open()
    net.run(0.01)
    net.take()
    net.stack.close()
    flags = [(f.data.data.dport, f.data.data.flags & RST) for f in net.take()]
    assert sorted(flags) == [(40000, RST), (41000, RST)]
    net.run(0.1)
    assert far.error == errno.ECONNRESET
    assert net.stack.flows() == []
    assert len(net.host._open) == 0
    assert peer.ack


def test_close_tells_those_that_still_connect(net: Net) -> None:
    net.host.black_hole(WORLD)
    peer = Peer(net)
    peer.send(SYN, opts=options())
    net.stack.close()
    answer = peer.one(RST | ACK)
    assert (answer.seq, answer.ack) == (0, peer.seq)
    assert len(net.host._open) == 0


def flow_objects(net: Net) -> list[object]:
    """Flows of this network that exist; those of others may live on in the traceback of a test that failed."""
    return [o for o in gc.get_objects() if isinstance(o, NatTcpFlow) and o.network is net.stack.network]


@pytest.mark.parametrize("how", ["fin", "rst", "refused", "host rst", "time-wait", "timeout"])
def test_nothing_keeps_an_ended_flow_alive(net: Net, how: str) -> None:
    gc.collect()
    if how in ("refused", "timeout"):
        if how == "timeout":
            net.host.black_hole(WORLD)
        peer = Peer(net)
        peer.send(SYN, opts=options())
        far: Any = None
    else:
        peer, far = opened(net, Sink if how == "fin" else Remote)
    assert len(flow_objects(net)) == 1
    gc.disable()
    try:
        if how == "fin":
            peer.send(FIN | ACK)
            net.run(0.05)
            peer.receive()
            peer.send(ACK)
        elif how == "rst":
            peer.send(RST)
        elif how == "host rst":
            far.reset()
        elif how == "time-wait":
            far.finish()
            net.run(0.05)
            peer.receive()
            peer.send(FIN | ACK)
        net.run(100)
        assert net.stack.tcp_flows == {}
        net.host.calls.clear()
        assert flow_objects(net) == []  # without the help of the collector
    finally:
        gc.enable()


def test_flow_table(net: Net) -> None:
    peer, far = opened(net)
    far.paused = True
    peer.send(ACK | PSH, b"x" * 100)
    net.run(2)
    far.write(b"y" * 50)
    net.run(1)
    (flow,) = net.stack.flows()
    assert (flow.protocol, flow.state, flow.inbound) == ("tcp", "ESTABLISHED", False)
    assert (str(flow.guest[0]), flow.guest[1]) == ("10.0.2.15", 40000)
    assert flow.host is not None
    assert (str(flow.host[0]), flow.host[1]) == ("198.51.100.7", 80)
    assert flow.bytes_in == 100
    assert flow.bytes_out >= 50
    assert flow.queued_out == 50
    assert 3.0 < flow.age < 3.1
    assert peer.guest == GUEST


def test_segmentation_without_checksums_is_no_offload() -> None:
    """Cutting a frame takes new checksums, so a link that says it only cuts gets whole segments."""
    net = Net(features=LinkFeatures(segmentation_offload=True))
    peer, far = opened(net)
    far.write(bytes(10_000))
    net.run(0.05)
    assert {(f.gso_size, f.csum_start) for f in net.wire.sent} == {(0, 0)}
    assert len(peer.drain()) == 10_000
