"""The fast path against the slow one: the same traffic into two stacks gives the same frames and the same state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import dpkt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slirpy import __compiled__
from slirpy.core.port import LinkPort
from slirpy.interfaces import LinkFeatures
from slirpy.nat import tcpflow
from slirpy.nat.exchange import at_rest
from slirpy.nat.pumps import PumpedFlow
from slirpy.nat.tcp import TcpNat
from slirpy.nat.tcpflow import NatTcpFlow
from slirpy.stats import Stats
from slirpy.tcp import sending
from slirpy.tcp.emit import Emit
from slirpy.tcp.sendbuffer import SendBuffer
from slirpy.tcp.seq import MASK
from slirpy.tcp.settings import Settings
from slirpy.tcp.states import (
    CLOSE_WAIT,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    NO_TIMER,
    SYN_RECEIVED,
    TIME_WAIT,
    State,
)
from slirpy.tcp.tcb import ControlBlock
from slirpy.testing import Remote
from slirpy.wire.ip import Family
from tests.support.frames6 import DNS6_MAC, GUEST6, WORLD6, echo6, neighbor_advertisement
from tests.support.harness import (
    ACK,
    CWR,
    DNS_MAC,
    ECE,
    FIN,
    GUEST,
    GUEST_MAC,
    PSH,
    RST,
    SYN,
    URG,
    WORLD,
    Peer,
    arp,
    config,
    echo,
    options,
    pseudo,
    rfc1071,
)
from tests.support.slots import slots
from tests.support.twins import Twins

# Functions of compiled modules cannot be replaced: there, both twins send and exchange alike, and differ in the rest.
LISTS = pytest.mark.needs("interpreted", detail="lists the calls of functions that it replaces")
OFFLOAD = LinkFeatures(checksum_offload=True, segmentation_offload=True)
CHECKSUM = LinkFeatures(checksum_offload=True)


@pytest.fixture(autouse=True)
def short_sends(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[ControlBlock]]:
    """Let the slow twin send by the general way only, and segment by segment; returns the connections of all
    short sends of the other, by the function that sent.
    """
    sends: dict[str, list[ControlBlock]] = {"_send_alone": [], "_send_fin": [], "_send_run": []}
    if __compiled__:
        return sends
    for name, connections in sends.items():
        real = getattr(sending, name)

        def send(
            conn: ControlBlock, now: int, emit: Emit, real: Any = real, connections: Any = connections
        ) -> bool:
            done: bool = conn.stats is not TcpTwins.slow and real(conn, now, emit)
            if done:
                connections.append(conn)
            return done

        monkeypatch.setattr(sending, name, send)
    settings_of = TcpNat.settings

    def settings_without_runs(nat: TcpNat, port: LinkPort | None, family: Family) -> Settings:
        chosen = settings_of(nat, port, family)
        return replace(chosen, emit_runs=False) if nat.network.stats is TcpTwins.slow else chosen

    monkeypatch.setattr(TcpNat, "settings", settings_without_runs)
    return sends


@pytest.fixture
def sent_alone(short_sends: dict[str, list[ControlBlock]]) -> list[ControlBlock]:
    """Connections of all sends of single segments."""
    return short_sends["_send_alone"]


@pytest.fixture(autouse=True)
def exchanged(monkeypatch: pytest.MonkeyPatch) -> list[PumpedFlow]:
    """Let the slow twin serve flows by the general way only; returns the flows of all exchanges of the other."""
    served: list[PumpedFlow] = []
    if __compiled__:
        return served
    for name in ("exchange", "exchange6"):
        real = getattr(tcpflow, name)

        def exchange(flow: PumpedFlow, now: int, real: Any = real) -> bool:
            conn = flow.conn
            if conn.undisturbed and conn.timer_kind is NO_TIMER:
                assert at_rest(conn), "a change has not cleared undisturbed"
                assert flow.read_size == flow.size_to_read() <= conn.write_room()
            done: bool = conn.stats is not TcpTwins.slow and real(flow, now)
            if done:
                served.append(flow)
            return done

        monkeypatch.setattr(tcpflow, name, exchange)
    return served


def plain(value: object) -> object:
    """A value that can be compared between two stacks."""
    if isinstance(value, bytearray | memoryview | bytes):
        return bytes(value)
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, SendBuffer):
        return value.length, value.sent, b"".join(map(bytes, value.peek(value.length)))
    if not isinstance(value, int | str) and (names := slots(value)):
        return {name: plain(getattr(value, name)) for name in names}
    return value


_OBJECTS = {
    "head",  # this and the next two: what the fast path alone remembers
    "mac",
    "words",
    "stats",
    "settings",
    "network",
    "neighbors",
    "neighbor",
    "peer",
    "memory",
    "_nat",
    "_arrival",
    "alarm",
    "conn",
    "share",
    "counted",
    "undisturbed",
    "read_size",
}


def flow_state(flow: Any) -> dict[str, object]:
    state = {name: plain(getattr(flow, name)) for name in slots(flow) if name not in _OBJECTS}
    conn = {name: plain(getattr(flow.conn, name)) for name in slots(flow.conn) if name not in _OBJECTS}
    conn["rcv_queue"] = b"".join(map(bytes, flow.conn.rcv_queue))
    return {
        **state,
        "conn": conn,
        "deadline": flow.alarm.when,
        "peer": flow.peer is None,
        "counted": [table is flow.counted for table in (flow._nat.opening, flow._nat.open, flow._nat.over)],
        "neighbor": (flow.neighbor.address, flow.neighbor.mac, flow.neighbor.seen),
    }


class TcpTwins(Twins):
    """Each with a server, and a client that is moved by hand. The state of their flows is compared, too."""

    counter = "tcp_fastpath"
    family = 4
    slow: Stats | None = None
    """Counters of the latest twin without the fast path."""

    def __init__(
        self, features: LinkFeatures | None = None, ts: int | None = None, mtu: int = 1500, seed: int = 1
    ) -> None:
        super().__init__(config(mtu=mtu), features=features, seed=seed)
        TcpTwins.slow = self.nets[1].stats
        world, guest = (WORLD, GUEST) if self.family == 4 else (WORLD6, GUEST6)
        self.servers = [net.host.serve_tcp(world, 80, Remote) for net in self.nets]
        self.peers = [Peer(net, address=world, guest=guest, ts=ts) for net in self.nets]
        for net in self.nets:
            net.checksummed = features is not None

    @property
    def peer(self) -> Peer:
        return self.peers[0]

    def open(self, opts: bytes | None = None, flags: int = SYN) -> None:
        for peer in self.peers:
            peer.open(opts, flags)
            peer.net.run(0.01)
        self.compare()

    def each(self, what: Any) -> None:
        """Do something to either network: ``what(peer, far program)``."""
        for peer, server in zip(self.peers, self.servers, strict=True):
            what(peer, server.connections[0])
        self.compare()

    def segment(self, flags: int, data: bytes = b"", **more: Any) -> None:
        self.each(lambda peer, far: peer.send(flags, data, **more))

    def batch(self, frames: Any) -> None:
        """Frames in one batch: ``frames(peer)`` makes them."""
        self.each(lambda peer, far: peer.net.send(*frames(peer)))

    def run(self, seconds: float) -> None:
        self.each(lambda peer, far: peer.net.run(seconds))

    def receive(self) -> None:
        """Both take what has come."""
        for peer in self.peers:
            _receive(peer)
        a, b = self.peers
        assert (a.ack, a.echo) == (b.ack, b.echo)

    def compare(self) -> None:
        super().compare()
        fast, slow = self.nets
        ours, theirs = fast.stack.tcp_flows, slow.stack.tcp_flows
        assert list(ours) == list(theirs)
        for key in ours:
            assert isinstance(ours[key], NatTcpFlow)
            assert flow_state(ours[key]) == flow_state(theirs[key])
        assert fast.stack.deadline() == slow.stack.deadline()
        for a, b in zip(*(server.connections for server in self.servers), strict=True):
            assert (a.received, a.ended, a.error, a.unsent) == (b.received, b.ended, b.error, b.unsent)

    def drain(self) -> None:
        """The guest acknowledges until nothing comes any more."""
        for _ in range(200):
            before = self.peer.ack
            self.receive()
            if self.peer.ack == before:
                return
            self.segment(ACK)
            self.run(0.005)  # a guest that took longer would be sent a probe


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"], autouse=True)
def family(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The family of all connections."""
    monkeypatch.setattr(TcpTwins, "family", request.param)
    return int(request.param)


def _receive(peer: Peer) -> None:
    """Take what has come, whatever it is, and note what to acknowledge of this connection."""
    for frame in peer.net.take():
        if frame.type not in (0x800, 0x86DD) or frame.data.p != 6 or frame.data.data.dport != peer.sport:
            continue
        tcp = frame.data.data
        if tcp.seq == peer.ack:
            peer.ack = (peer.ack + len(tcp.data) + (tcp.flags & FIN)) & 0xFFFFFFFF
        for kind, value in dpkt.tcp.parse_opts(tcp.opts):
            if kind == 8:
                peer.echo = int.from_bytes(value[:4], "big")


VARIANTS = [
    pytest.param(None, None, id="plain"),
    pytest.param(None, 1000, id="timestamps"),
    pytest.param(CHECKSUM, None, id="checksums"),
    pytest.param(OFFLOAD, None, id="offload"),
    pytest.param(OFFLOAD, 1000, id="offload, timestamps"),
]
variants = pytest.mark.parametrize(("features", "ts"), VARIANTS)


@variants
def test_bulk_from_the_guest(features: LinkFeatures | None, ts: int | None) -> None:
    twins = TcpTwins(features, ts)
    twins.open()
    for n in range(60):
        twins.segment(ACK | (PSH if n % 7 == 0 else 0), bytes([n]) * 1400)
        if n % 5 == 0:
            twins.run(0.003)
            twins.receive()
    twins.run(1)
    assert twins.fast >= 60
    assert len(twins.servers[0].connections[0].received) == 60 * 1400


@variants
def test_bulk_to_the_guest(features: LinkFeatures | None, ts: int | None) -> None:
    twins = TcpTwins(features, ts)
    twins.open()
    twins.each(lambda peer, far: far.write(bytes(range(256)) * 2000))
    twins.run(0.01)
    twins.drain()
    assert twins.fast >= 5


def _hear(twins: TcpTwins, stride: int, window: int, turns: int, lost: int = 0) -> None:
    """Let both guests acknowledge every ``stride`` segments, up to ``turns`` times; number ``lost`` never arrives."""
    queues: list[list[Any]] = [[] for _ in twins.peers]
    heard = 0
    for _ in range(turns):
        for peer, queue in zip(twins.peers, queues, strict=True):
            queue += [tcp for tcp in peer.take() if tcp.data]
        first, second = queues
        assert list(map(bytes, first)) == list(map(bytes, second))
        if not first:
            return
        for peer, queue in zip(twins.peers, queues, strict=True):
            for number, tcp in enumerate(queue[:stride], heard + 1):
                if tcp.seq == peer.ack and number != lost:
                    peer.ack = (peer.ack + len(tcp.data)) & MASK
            del queue[:stride]
        heard += stride
        twins.segment(ACK, wnd=window)
        twins.run(0.0001)


@pytest.mark.parametrize("stride", [1, 2, 3, 40])
@variants
def test_runs_of_full_segments(features: LinkFeatures | None, ts: int | None, stride: int) -> None:
    """The guest acknowledges every so many segments, with windows of many sizes, and loses two."""
    twins = TcpTwins(features, ts, seed=stride)
    twins.open()
    for turn, window in enumerate((65535, 1460, 4000, 2 * 1460 + 1, 700, 30_000, 65535, 50_000)):
        size = 20 * twins.peer.conn.mss if turn % 2 == 0 else 29_000
        twins.each(lambda peer, far, turn=turn, size=size: far.write(bytes([turn]) * size))
        twins.run(0.001)
        _hear(twins, stride, window, 60, lost=turn)
    twins.run(3)
    twins.drain()
    assert twins.servers[0].connections[0].unsent == 0


@pytest.mark.parametrize("stride", [2, 12, 17, 40])
@variants
def test_runs_of_a_guest_that_reports_congestion(
    features: LinkFeatures | None, ts: int | None, stride: int
) -> None:
    """CWR is in the first segment after the report alone."""
    twins = TcpTwins(features, ts)
    twins.open(flags=SYN | ECE | CWR)
    twins.each(lambda peer, far: far.write(bytes(90 * peer.conn.mss)))
    twins.run(0.001)
    _hear(twins, 10, 65535, 1)
    for peer in twins.peers:
        for tcp in [tcp for tcp in peer.take() if tcp.data][:stride]:
            peer.ack = (tcp.seq + len(tcp.data)) & MASK
    twins.segment(ACK | ECE)
    _hear(twins, 2, 65535, 60)
    twins.drain()
    assert twins.nets[0].stats.tcp_ecn_reductions == 1


@pytest.mark.parametrize("mss", [1, 40])
@variants
def test_runs_of_the_smallest_segments(features: LinkFeatures | None, ts: int | None, mss: int) -> None:
    """No frame is shorter than Ethernet allows."""
    twins = TcpTwins(features, ts)
    twins.open(options(mss=mss, ts=None if ts is None else (ts, 0)))
    twins.each(lambda peer, far: far.write(bytes(20 * peer.conn.mss)))
    twins.run(0.001)
    assert min(sum(map(len, frame.parts)) for frame in twins.nets[0].wire.sent) >= 60
    _hear(twins, 2, 65535, 60)


@variants
def test_runs_around_urgent_data(features: LinkFeatures | None, ts: int | None) -> None:
    twins = TcpTwins(features, ts)
    twins.open()
    twins.each(lambda peer, far: far.write(bytes(30 * peer.conn.mss)))
    twins.run(0.001)
    twins.each(lambda peer, far: peer.net.stack.tcp_flows[peer.key].urgent(b"!"))
    _hear(twins, 2, 65535, 60)
    twins.drain()


@variants
def test_text_of_a_guest_whose_window_is_closed(features: LinkFeatures | None, ts: int | None) -> None:
    """Each shows that the guest is there, so that probes go on."""
    twins = TcpTwins(features, ts)
    twins.open()
    twins.segment(ACK, b"open")
    twins.segment(ACK, b"closed", wnd=0)
    twins.run(0.1)
    twins.each(lambda peer, far: far.write(b"data that must wait"))
    for seconds in (0.05, 0.3, 3):
        twins.run(seconds)
        assert bool(twins.peer.conn.probes) == (seconds > 0.1)
        twins.segment(ACK, b"and so on", wnd=0)
    twins.drain()


@LISTS
def test_acknowledged_runs_are_sent_by_the_short_way(short_sends: dict[str, list[ControlBlock]]) -> None:
    twins = TcpTwins(ts=1000)
    twins.open()
    twins.each(lambda peer, far: far.write(bytes(200_000)))
    twins.run(0.01)
    _hear(twins, 2, 65535, 60)
    assert len(short_sends["_send_run"]) >= 30


@variants
def test_large_batches(features: LinkFeatures | None, ts: int | None) -> None:
    twins = TcpTwins(features, ts, mtu=65521)
    twins.open(options(mss=65461, ts=None if ts is None else (ts, 0)))
    size = 60_000
    for count in (1, 2, 4, 5, 5):  # the first window is the SYN's, of 64 KiB; then it doubles
        base = twins.peer.seq
        twins.batch(
            lambda peer, base=base, count=count: [
                peer.frame(ACK, bytes(size), seq=base + i * size) for i in range(count)
            ]
        )
        for peer in twins.peers:
            peer.seq += count * size
        twins.run(0.1)
        twins.receive()
    assert twins.fast >= 16


ODD: dict[str, Any] = {
    "duplicate": lambda p: [p.frame(ACK, b"x" * 100, seq=p.seq - 100)],
    "duplicates around data": lambda p: [
        p.frame(ACK, b"x" * 100, seq=p.seq - 100),
        p.frame(ACK, b"y" * 3000),
        p.frame(ACK, b"x" * 100, seq=p.seq - 100),
    ],
    "half old": lambda p: [p.frame(ACK, b"x" * 100, seq=p.seq - 50)],
    "out of order": lambda p: [p.frame(ACK, b"x" * 100, seq=p.seq + 100), p.frame(ACK, b"y" * 100)],
    "hole stays": lambda p: [p.frame(ACK, b"x" * 100, seq=p.seq + 100), p.frame(ACK, b"y" * 50)],
    "beyond the window": lambda p: [p.frame(ACK, b"x" * 100, seq=p.seq + (1 << 21))],
    "overlong": lambda p: [p.frame(ACK, b"x" * 1400, seq=p.seq + 65535 - 700)],
    "window update": lambda p: [p.frame(ACK, wnd=1000), p.frame(ACK, wnd=2000)],
    "zero window": lambda p: [p.frame(ACK, wnd=0)],
    "window with data": lambda p: [p.frame(ACK, b"abc", wnd=7)],
    "duplicate acks": lambda p: [p.frame(ACK)] * 5,
    "ack of the future": lambda p: [p.frame(ACK, b"data", ack=p.ack + 1000)],
    "ack of the past": lambda p: [p.frame(ACK, b"data", ack=p.ack - 1)],
    "ack of long ago": lambda p: [p.frame(ACK, b"data", ack=p.ack - 100_000_000)],
    "no ack": lambda p: [p.frame(0, b"data"), p.frame(PSH, b"data")],
    "urgent": lambda p: [p.frame(ACK | URG, b"data", urg=2)],
    "fin": lambda p: [p.frame(FIN | ACK, b"last")],
    "fin early": lambda p: [p.frame(FIN | ACK, b"last", seq=p.seq + 4), p.frame(ACK, b"but 1")],
    "fin, then data": lambda p: [p.frame(FIN | ACK), p.frame(ACK, b"after", seq=p.seq + 1)],
    "rst": lambda p: [p.frame(RST), p.frame(ACK, b"after")],
    "rst in the window": lambda p: [p.frame(RST, seq=p.seq + 10), p.frame(ACK, b"after")],
    "syn": lambda p: [p.frame(SYN, opts=options()), p.frame(ACK, b"after")],
    "syn,ack": lambda p: [p.frame(SYN | ACK), p.frame(ACK, b"after")],
    "other options": lambda p: [p.frame(ACK, b"data", opts=b"\1\1\1\1")],
    "sack": lambda p: [p.frame(ACK, b"data", opts=b"\1\1\5\x0a" + bytes(8))],
    "no timestamps": lambda p: [p.frame(ACK, b"data", opts=b"")],
    "odd layout": lambda p: [p.frame(ACK, b"data", opts=b"\x08\x0a" + bytes(8) + b"\1\1")],
    "old timestamp": lambda p: [p.frame(ACK, b"data", opts=b"\1\1\x08\x0a" + (5).to_bytes(4, "big") + bytes(4))],
    "unasked timestamp": lambda p: [
        p.frame(ACK, b"data", opts=b"\1\1\x08\x0a" + (5000).to_bytes(4, "big") + bytes(4))
    ],
    "ip options": lambda p: [
        p.frame(ACK, b"data", ip_options=b"\1\1\1\0" if _at(p) == 34 else b"\6\0\1\4\0\0\0\0")
    ],
    "empty": lambda p: [p.frame(ACK)],
    "push alone": lambda p: [p.frame(ACK | PSH)],
    "keep-alive": lambda p: [p.frame(ACK, seq=p.seq - 1), p.frame(ACK, b"\0", seq=p.seq - 1)],
    "all flags": lambda p: [p.frame(255, b"data")],
    "ece, cwr": lambda p: [p.frame(ACK | 64, b"data"), p.frame(ACK | 128, b"more", seq=p.seq + 4)],
    "two then a hole": lambda p: [
        p.frame(ACK, b"1"), p.frame(ACK, b"3", seq=p.seq + 2), p.frame(ACK, b"23", seq=p.seq + 1)
    ],
    "other flow's port": lambda p: [_put(p.frame(ACK, b"data"), _at(p) + 2, b"\0\x51")],
    "broadcast": lambda p: [p.frame(ACK, b"data", to=b"\xff" * 6)],
    "to the DNS server's MAC": lambda p: [
        p.frame(ACK, b"data", to=DNS_MAC if _at(p) == 34 else DNS6_MAC), p.frame(ACK, b"dataX")
    ],
    "not for us": lambda p: [p.frame(ACK, b"data", to=b"\2\2\2\2\2\2")],
    "from elsewhere": lambda p: [
        p.frame(ACK, b"data")[:6] + b"\2\2\2\2\2\3" + p.frame(ACK, b"data")[12:], p.frame(ACK, b"data more")
    ],
    "cut short": lambda p: [p.frame(ACK, b"data" * 20)[:-7], p.frame(ACK, b"data" * 20)[:60], p.frame(ACK)[:50]],
    "trailer": lambda p: [p.frame(ACK, b"data" * 20) + b"trailer"],
    "bad sum": lambda p: [p.frame(ACK, b"data" * 20)[:-1] + b"!"],
    "fin, bad sum": lambda p: [p.frame(FIN | ACK, b"data" * 20)[:-1] + b"!", p.frame(FIN | ACK)[:-20] + bytes(20)],
    "early, bad sum": lambda p: [p.frame(ACK, b"data" * 20, seq=p.seq + 9)[:-1] + b"!", p.frame(ACK, b"but 1")],
    "no hop limit": lambda p: [_ip_byte(p.frame(ACK, b"data"), 8 if _at(p) == 34 else 7, n) for n in (0, 1)],
    "traffic class": lambda p: [_ip_byte(p.frame(ACK, b"data"), 1, 0xB8)],
    "length too small": lambda p: [
        _ip_byte(p.frame(ACK, b"data"), 3 if _at(p) == 34 else 5, n - (0 if _at(p) == 34 else 20)) for n in (39, 41)
    ],
    "next to nothing": lambda p: [p.frame(ACK, b"data")[: _at(p) + n] for n in (0, 8, 19, 20)],
    "offset lies": lambda p: [
        _tcp_byte(p.frame(ACK, b"data" * 9), 12, n) for n in (0x00, 0x40, 0x60, 0x80, 0xF0, 0x51)
    ],
    "timestamps rise in a batch": lambda p: [
        p.frame(ACK, b"%d" % n, seq=p.seq + n, opts=_stamp(p, n)) for n in range(4)
    ],
    "other layout of timestamps": lambda p: [p.frame(ACK, b"data", opts=_stamp(p, 1)[2:] + b"\1\1")],
    "what looks like timestamps": lambda p: [p.frame(ACK, b"data", opts=b"\1\1\5\x0a" + _stamp(p, 1)[4:])],
    "bare fin early": lambda p: [p.frame(FIN | ACK, seq=p.seq + 5), p.frame(ACK, b"but 1")],
    "version": lambda p: [_ip_byte(p.frame(ACK, b"data"), 0, n) for n in (0x44, 0x46, 0x55, 0x65)],
    "the other family's type": lambda p: [
        _put(p.frame(ACK, b"data"), 12, b"\x86\xdd" if _at(p) == 34 else b"\x08\0")
    ],
    "new card": lambda p: [_claim(p, b"\2\2\2\2\2\3"), p.frame(ACK, b"data"), echo() if _at(p) == 34 else echo6()],
    # With IPv4 alone:
    "bad ip sum": lambda p: [_put(p.frame(ACK, b"data"), 24, b"\xaa\xbb")],
    "fin, bad ip sum": lambda p: [_put(p.frame(FIN | ACK, b"data"), 24, b"\xaa\xbb"), p.frame(ACK, b"but 1")],
    "a fragment": lambda p: [_ip_byte(p.frame(ACK, b"data"), 6, 0x20)],
    "don't fragment": lambda p: [_ip_byte(p.frame(ACK, b"data"), 6, 0x40)],
    "reserved bit": lambda p: [_ip_byte(p.frame(ACK, b"data"), 6, 0x80)],
    # With IPv6 alone:
    "flow label": lambda p: [_ip_byte(p.frame(ACK, b"data"), n, 0x77) for n in (2, 3)],
    "an atomic fragment": lambda p: [_with_fragment_header(p.frame(ACK, b"data"))],
}  # fmt: skip
OF_ONE_FAMILY = {
    "bad ip sum": 4,
    "fin, bad ip sum": 4,
    "a fragment": 4,
    "don't fragment": 4,
    "reserved bit": 4,
    "flow label": 6,
    "an atomic fragment": 6,
}


def _at(peer: Peer) -> int:
    """Offset of the TCP header in a frame of this connection."""
    return 34 if len(peer.guest) == 4 else 54


def _put(frame: bytes, at: int, value: bytes) -> bytes:
    return frame[:at] + value + frame[at + len(value) :]


def _claim(peer: Peer, mac: bytes) -> bytes:
    """Let another host claim the address."""
    if len(peer.guest) == 4:
        return arp(1, sender_mac=mac)
    return neighbor_advertisement(peer.guest, mac=mac)


def _with_fragment_header(frame: bytes) -> bytes:
    length = int.from_bytes(frame[18:20], "big") + 8
    header = frame[14:18] + length.to_bytes(2, "big") + b"\x2c" + frame[21:54]
    return frame[:14] + header + b"\6\0\0\0\0\0\0\1" + frame[54:]


def _stamp(peer: Peer, later: int) -> bytes:
    """Timestamps in their usual place, some milliseconds later."""
    value = ((peer.ts or 0) + later & 0xFFFFFFFF).to_bytes(4, "big")
    return b"\1\1\x08\x0a" + value + peer.echo.to_bytes(4, "big")


def _filling(peer: Peer, more: int, flags: int = FIN) -> list[bytes]:
    """Data as long as the window, and ``more`` bytes, with ``flags`` in the last segment."""
    length = peer.conn.rcv_wnd + more
    starts = range(0, length, 1400)
    return [
        peer.frame(
            ACK | (flags if start == starts[-1] else 0), bytes(min(1400, length - start)), seq=peer.seq + start
        )
        for start in starts
    ]


def _ip_byte(frame: bytes, at: int, value: int) -> bytes:
    """The frame with one byte of its IP header changed, and that header's sum made right."""
    frame = _put(frame, 14 + at, bytes((value,)))
    if frame[12] == 0x86:
        return frame
    frame = _put(frame, 24, b"\0\0")
    return _put(frame, 24, rfc1071(frame[14:34]).to_bytes(2, "big"))


def _tcp_byte(frame: bytes, at: int, value: int) -> bytes:
    start = 54 if frame[12] == 0x86 else 34
    frame = _put(_put(frame, start + at, bytes((value,))), start + 16, b"\0\0")
    addresses = frame[22:54] if start == 54 else frame[26:34]
    length = int.from_bytes(frame[18:20] if start == 54 else frame[16:18], "big") - (0 if start == 54 else 20)
    segment = frame[start : start + length]
    return _put(frame, start + 16, rfc1071(pseudo(addresses, length, 6) + segment).to_bytes(2, "big"))


@pytest.mark.parametrize(
    ("features", "ts"),
    [
        pytest.param(None, None, id="plain", marks=pytest.mark.long),
        pytest.param(None, 1000, id="timestamps", marks=pytest.mark.long),
        VARIANTS[4],
    ],
)
@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize(
    ("case", "family"),
    [(case, family) for case in ODD for family in (4, 6) if OF_ONE_FAMILY.get(case, family) == family],
    indirect=["family"],
)
def test_odd_segments(case: str, loaded: bool, features: LinkFeatures | None, ts: int | None) -> None:
    twins = TcpTwins(features, ts)
    twins.open()
    twins.segment(ACK | PSH, b"begin" * 30)
    if loaded:  # data in flight to the guest
        twins.each(lambda peer, far: far.write(bytes(30_000)))
        twins.run(0.01)
    twins.batch(ODD[case])
    twins.receive()
    twins.batch(lambda p: [p.frame(ACK, b"then this", seq=p.seq + 4)])
    twins.run(0.5)
    twins.receive()
    twins.segment(ACK | PSH, b"and that" * 20)
    twins.run(0.5)
    twins.each(lambda peer, far: far.finish())
    twins.run(0.5)
    twins.receive()
    twins.segment(FIN | ACK)
    twins.run(100)


def _opening(twins: TcpTwins) -> None:
    """The handshake up to the SYN,ACK."""
    ts = twins.peer.ts
    for peer in twins.peers:
        peer.send(SYN, opts=options(ts=None if ts is None else (ts, 0)))
        peer.net.run(0.05)
        answer = peer.one(SYN | ACK)
        peer.ack = (answer.seq + 1) & 0xFFFFFFFF
        for kind, value in dpkt.tcp.parse_opts(answer.opts):
            if kind == 8:
                peer.echo = int.from_bytes(value[:4], "big")
    twins.compare()


def _open(twins: TcpTwins) -> None:
    twins.open()


def _data_in_flight(twins: TcpTwins) -> None:
    twins.open()
    twins.each(lambda peer, far: far.write(b"data"))
    twins.run(0.01)


def _data_in_flight_without_sack(twins: TcpTwins) -> None:
    ts = twins.peer.ts
    twins.open(options(sack=False, ts=None if ts is None else (ts, 0)))
    twins.each(lambda peer, far: far.write(b"data"))
    twins.run(0.01)


def _probed(twins: TcpTwins) -> None:
    """The end of the data is sent again, since no acknowledgement comes (RFC 8985, section 7)."""
    _data_in_flight(twins)
    (flow,) = twins.nets[0].stack.tcp_flows.values()
    for _ in range(100):
        if flow.conn.rack is not None and flow.conn.rack.tlp_end is not None:
            twins.receive()
            return
        twins.run(0.01)
    raise AssertionError("no probe was sent")


def _marked(twins: TcpTwins) -> None:
    """Open with ECN."""
    ts = twins.peer.ts
    for peer in twins.peers:
        peer.send(SYN | 0xC0, opts=options(ts=None if ts is None else (ts, 0)))
        peer.net.run(0.05)
        peer.established(peer.one(SYN | ACK | 0x40))
        peer.net.run(0.01)
    twins.compare()


def _far_end_closed(twins: TcpTwins) -> None:
    twins.open()
    twins.each(lambda peer, far: far.finish())
    twins.run(0.01)


def _far_end_closed_and_acknowledged(twins: TcpTwins) -> None:
    _far_end_closed(twins)
    twins.receive()
    twins.segment(ACK)


def _guest_closed(twins: TcpTwins) -> None:
    twins.open()
    twins.segment(FIN | ACK)
    twins.run(0.01)


def _both_closed_at_once(twins: TcpTwins) -> None:
    _far_end_closed(twins)
    twins.segment(FIN | ACK)


def _guest_closed_first(twins: TcpTwins) -> None:
    _guest_closed(twins)
    twins.receive()
    twins.each(lambda peer, far: far.finish())
    twins.run(0.01)


def _all_closed(twins: TcpTwins) -> None:
    _far_end_closed_and_acknowledged(twins)
    twins.segment(FIN | ACK)
    twins.run(0.01)


STAGES: dict[str, tuple[Callable[[TcpTwins], None], State]] = {
    "opening": (_opening, SYN_RECEIVED),
    "open": (_open, ESTABLISHED),
    "open with ECN": (_marked, ESTABLISHED),
    "data in flight": (_data_in_flight, ESTABLISHED),
    "data in flight, no SACK": (_data_in_flight_without_sack, ESTABLISHED),
    "data in flight, probed": (_probed, ESTABLISHED),
    "far end closed": (_far_end_closed, FIN_WAIT_1),
    "far end closed, acknowledged": (_far_end_closed_and_acknowledged, FIN_WAIT_2),
    "guest closed": (_guest_closed, CLOSE_WAIT),
    "both closed at once": (_both_closed_at_once, CLOSING),
    "guest closed first": (_guest_closed_first, LAST_ACK),
    "all closed": (_all_closed, TIME_WAIT),
}
USUAL: dict[str, Any] = {
    "ack": lambda p: [p.frame(ACK)],
    "two acks": lambda p: [p.frame(ACK), p.frame(ACK)],
    "ack of one more": lambda p: [p.frame(ACK, ack=p.ack + 1)],
    "ack of two more": lambda p: [p.frame(ACK, ack=p.ack + 2)],
    "old ack": lambda p: [p.frame(ACK, ack=p.ack - 1)],
    "window": lambda p: [p.frame(ACK, wnd=500), p.frame(ACK, wnd=9)],
    "data": lambda p: [p.frame(ACK, b"data"), p.frame(ACK, b"more", seq=p.seq + 4)],
    "fin": lambda p: [p.frame(FIN | ACK)],
    "fin of one more": lambda p: [p.frame(FIN | ACK, ack=p.ack + 1), p.frame(ACK, ack=p.ack + 1, seq=p.seq + 1)],
    "data and fin": lambda p: [p.frame(FIN | ACK | PSH, b"data"), p.frame(FIN | ACK | PSH, b"data")],
    "fin, then data": lambda p: [p.frame(FIN | ACK), p.frame(ACK, b"data", seq=p.seq + 1)],
    "two fins": lambda p: [p.frame(FIN | ACK), p.frame(FIN | ACK, seq=p.seq + 1)],
    "fin again": lambda p: [p.frame(FIN | ACK, seq=p.seq - 1)],
    "a hole, then all": lambda p: [p.frame(ACK, b"data", seq=p.seq + 4), p.frame(FIN | ACK, b"data")],
    "a fin behind a hole": lambda p: [p.frame(FIN | ACK, seq=p.seq + 4), p.frame(ACK, b"data")],
    "more than the window": lambda p: [p.frame(ACK, bytes(1400), seq=p.seq + n * 1400) for n in range(48)],
    "as much as the window": lambda p: _filling(p, 0, PSH),
    "as much as the window with a fin": lambda p: _filling(p, -1),
    "a fin behind the window": lambda p: _filling(p, 0),
    "marks": lambda p: [_ip_byte(p.frame(ACK, b"data"), 1, 3 if _at(p) == 34 else 0x30), p.frame(ACK | 0xC0)],
    "later timestamp": lambda p: [p.frame(ACK, opts=_stamp(p, 5)), p.frame(FIN | ACK, opts=_stamp(p, 6))],
    "later timestamp behind data": lambda p: [
        p.frame(ACK, b"data", opts=_stamp(p, 5)), p.frame(FIN | ACK, opts=_stamp(p, 6), seq=p.seq + 4)
    ],
    "old timestamp": lambda p: [p.frame(ACK, opts=_stamp(p, -500)), p.frame(FIN | ACK, opts=_stamp(p, -500))],
    "no timestamp": lambda p: [p.frame(ACK, opts=b""), p.frame(FIN | ACK, opts=b"")],
    "reset": lambda p: [p.frame(RST), p.frame(ACK)],
    "syn": lambda p: [p.frame(SYN, seq=p.seq - 1), p.frame(ACK)],
}  # fmt: skip


@pytest.mark.parametrize(
    ("features", "ts", "family"),
    [(OFFLOAD, 1000, 4), pytest.param(None, None, 6, marks=pytest.mark.long)],
    indirect=["family"],
)
@pytest.mark.parametrize("case", USUAL)
@pytest.mark.parametrize("stage", STAGES)
def test_segments_at_each_stage(stage: str, case: str, features: LinkFeatures | None, ts: int | None) -> None:
    """Segments in order take :func:`~slirpy.tcp.inorder.in_order`, in every state of the connection."""
    twins = TcpTwins(features, ts)
    reach, state = STAGES[stage]
    reach(twins)
    (flow,) = twins.nets[0].stack.tcp_flows.values()
    assert flow.conn.state is state
    twins.batch(USUAL[case])
    twins.run(0.01)
    twins.batch(lambda p: [p.frame(FIN | ACK, b"rest", seq=p.seq + 4)])
    twins.receive()
    twins.segment(ACK)
    twins.run(0.5)
    twins.each(lambda peer, far: far.finish())
    twins.run(100)


@variants
def test_zero_window_and_probes(features: LinkFeatures | None, ts: int | None) -> None:
    twins = TcpTwins(features, ts)
    twins.open()
    twins.segment(ACK, wnd=0)
    twins.each(lambda peer, far: far.write(b"w" * 5000))
    for _ in range(5):
        twins.run(3)
        twins.segment(ACK, b"still here", wnd=0)
    for wnd in (1, 100, 1000, 65535):
        twins.receive()
        twins.segment(ACK, wnd=wnd)
        twins.run(0.3)
    twins.drain()


@variants
def test_a_slow_far_end(features: LinkFeatures | None, ts: int | None) -> None:
    twins = TcpTwins(features, ts)
    twins.open()
    twins.each(lambda peer, far: setattr(far, "paused", True))
    for _ in range(30):  # more than the window, in the end
        twins.batch(lambda p: [p.frame(ACK, bytes(1400), seq=p.seq + i * 1400) for i in range(40)])
        for peer in twins.peers:
            peer.seq += 40 * 1400
        twins.run(0.01)
        twins.receive()
    assert twins.nets[0].stats.drop_tcp_out_of_window > 0
    twins.run(1)
    twins.each(lambda peer, far: setattr(far, "paused", False))
    twins.run(1)


# ---------------------------------------------------------------------------------------------- made by Hypothesis

STEP = st.one_of(
    st.tuples(
        st.just("segment"),
        st.sampled_from([ACK, ACK | PSH, ACK, ACK | PSH, FIN | ACK, RST, RST | ACK, SYN, 0, ACK | URG]),
        st.integers(0, 1400),
        st.sampled_from([0, 0, 0, 0, -1, 1, 100, -100, 1400, 60_000, -70_000, 1 << 31]),
        st.sampled_from([0, 0, 0, 0, -1, 1, -1000, 1 << 31]),
        st.sampled_from([65535, 65535, 0, 1, 3000]),
    ),
    st.tuples(st.just("receive")),
    st.tuples(st.just("run"), st.sampled_from([0.0, 0.0005, 0.002, 0.02, 0.3, 5.0])),
    st.tuples(st.just("write"), st.integers(1, 20_000)),
    st.tuples(st.just("finish")),
    st.tuples(st.just("pause"), st.booleans()),
    st.tuples(st.just("tick"), st.integers(-5, 500)),
    st.tuples(st.just("room"), st.none() | st.integers(0, 3)),
    st.tuples(st.just("odd"), st.sampled_from(sorted(ODD))),
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    st.sampled_from([None, CHECKSUM, OFFLOAD]),
    st.booleans(),
    st.sampled_from([0, 3]),
    st.lists(STEP, max_size=40),
)
def test_any_traffic(features: LinkFeatures | None, ts: bool, short: int, steps: list[tuple[Any, ...]]) -> None:
    twins = TcpTwins(features, 1000 if ts else None)
    for net in twins.nets:
        net.host.random = Random(9)
        net.host.short_sends = net.host.short_recvs = short / 10
    twins.open()
    for step, *arguments in steps:
        if step == "segment":
            flags, length, seq, ack, wnd = arguments
            data = (b"%d" % length * 400)[:length] if not flags & (SYN | RST) else b""
            peer = twins.peer
            more = {"seq": peer.seq + seq} if seq else {}
            twins.segment(flags, data, ack=peer.ack + ack, wnd=wnd, **more)
        elif step == "receive":
            twins.receive()
        elif step == "run":
            twins.run(arguments[0])
        elif step == "write":
            twins.each(lambda peer, far, size=arguments[0]: far.write(bytes(size)))
        elif step == "finish":
            twins.each(lambda peer, far: far.finish())
        elif step == "pause":
            twins.each(lambda peer, far, value=arguments[0]: setattr(far, "paused", value))
        elif step == "tick" and ts:
            for peer in twins.peers:
                peer.ts = (peer.ts or 0) + arguments[0]
        elif step == "room":
            twins.each(lambda peer, far, room=arguments[0]: peer.net.wire.give(room))
        elif step == "odd" and OF_ONE_FAMILY.get(arguments[0], twins.family) == twins.family:
            twins.batch(ODD[arguments[0]])
    twins.each(lambda peer, far: peer.net.wire.give(None))
    twins.run(200)


def test_a_guest_that_moves_to_another_link() -> None:
    twins = TcpTwins()
    twins.open()
    wires = [net.attach() for net in twins.nets]
    twins.run(4)  # at once it would be somebody else who takes its place
    for peer, wire in zip(twins.peers, wires, strict=True):
        peer.net.send(peer.frame(ACK | PSH, b"here now"), wire=wire)
        peer.seq += 8
    twins.compare()
    twins.each(lambda peer, far: far.write(b"there you are"))
    twins.run(0.1)
    for peer, wire in zip(twins.peers, wires, strict=True):
        peer.net.silence()
        assert b"there you are" in b"".join(peer.net.raw(wire))


@variants
@pytest.mark.parametrize("sack", [True, False], ids=["SACK", "no SACK"])
def test_small_answers(
    features: LinkFeatures | None,
    ts: int | None,
    sack: bool,
    sent_alone: list[ControlBlock],
    exchanged: list[PumpedFlow],
) -> None:
    twins = TcpTwins(features, ts)
    twins.open(options(ts=None if ts is None else (ts, 0), sack=sack))
    for size in (1, 100, 1400, 1429, 1449, 1461, 3000, 1, 1):
        for pause in (0.001, 0.01, 0.5):
            twins.segment(ACK | PSH, b"ask" * min(size, 400))
            twins.each(lambda peer, far, size=size: far.write(bytes(size)))
            twins.run(0.0005)
            twins.receive()
            twins.segment(ACK)
            twins.run(pause)
    answers = sum(flow.packets_out for flow in exchanged[-1:])
    if not __compiled__:
        assert len(sent_alone) >= 9 if ts is None else answers >= 9
        assert bool(exchanged) == (ts is not None)
    twins.drain()


@variants
def test_a_small_answer_after_much_data_and_a_pause(features: LinkFeatures | None, ts: int | None) -> None:
    """The congestion window begins anew."""
    twins = TcpTwins(features, ts)
    twins.open(options(ts=None if ts is None else (ts, 0)))
    twins.each(lambda peer, far: far.write(bytes(300_000)))
    twins.run(0.01)
    twins.drain()
    twins.run(10)
    for _ in range(2):
        twins.segment(ACK | PSH, b"ask")
        twins.each(lambda peer, far: far.write(b"answer"))
        twins.run(0.005)
        twins.drain()


@pytest.mark.parametrize("data", [b"", b"next"], ids=["bare", "with data"])
@pytest.mark.parametrize("point", ["begin", "all sent", "all"])
@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_an_ack_of_what_the_window_holds_back(point: str, beyond: int, data: bytes) -> None:
    """Of an answer of 3000 bytes, one segment is sent."""
    twins = TcpTwins(ts=1)
    twins.open()
    (flow,) = twins.nets[0].stack.tcp_flows.values()
    conn = flow.conn
    window = -(-conn.mss >> conn.snd_wscale)
    for answer in (5, 3000):
        twins.receive()
        twins.segment(ACK | PSH, b"ask", wnd=window)
        twins.each(lambda peer, far, answer=answer: far.write(bytes(answer)))
        twins.run(0.002)
    begin = conn.snd_una
    assert ((conn.snd_max - begin) & MASK, conn.snd_buf.length) == (conn.mss, 3000)
    assert conn.undisturbed
    ack = begin + {"begin": 0, "all sent": conn.mss, "all": 3000}[point] + beyond
    twins.segment(ACK, data, ack=ack, wnd=window)
    accepted = (point, beyond) in (("begin", 1), ("all sent", -1), ("all sent", 0))
    assert conn.snd_una == (ack if accepted else begin) & MASK
    twins.run(0.5)
    twins.drain()


@variants
def test_small_answers_while_the_link_has_no_room(features: LinkFeatures | None, ts: int | None) -> None:
    twins = TcpTwins(features, ts)
    twins.open(options(ts=None if ts is None else (ts, 0)))
    twins.segment(ACK | PSH, b"ask")
    twins.each(lambda peer, far: setattr(peer.net.wire, "room", 0))
    for _ in range(3):  # the first one finds out
        twins.segment(ACK | PSH, b"ask")
        twins.run(0.1)
        twins.each(lambda peer, far: far.write(b"answer"))
        twins.run(0.005)
    twins.each(lambda peer, far: peer.net.wire.give(None))
    twins.drain()


@LISTS
def test_the_fast_path_is_taken(sent_alone: list[ControlBlock], exchanged: list[PumpedFlow]) -> None:
    """Else everything above compares the slow path with itself."""
    twins = TcpTwins(ts=1)
    twins.open()
    before = twins.fast
    exchanged.clear()
    twins.segment(ACK | PSH, b"data")
    assert twins.fast == before + 1
    assert len(exchanged) == 1
    twins.each(lambda peer, far: far.write(b"answer"))
    twins.run(0.05)
    assert (len(exchanged), sent_alone) == (2, [])


@LISTS
def test_an_answer_without_timestamps_is_sent_alone(sent_alone: list[ControlBlock]) -> None:
    twins = TcpTwins()
    twins.open()
    twins.segment(ACK | PSH, b"data")
    twins.each(lambda peer, far: far.write(b"answer"))
    twins.run(0.05)
    assert len(sent_alone) == 1


@pytest.mark.needs("interpreted", detail="replaces a method")
@pytest.mark.parametrize("features", [None, OFFLOAD])
def test_only_the_syn_of_a_usual_connection_takes_the_slow_path(
    features: LinkFeatures | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that vouches for the checksums has frames without one."""
    twins = TcpTwins(features, ts=1)
    slow = [0, 0]
    for index, net in enumerate(twins.nets):
        for name in ("ipv4", "ipv6"):
            real = getattr(net.stack._input, name)

            def counting(*arguments: Any, real: Any = real, index: int = index) -> None:
                slow[index] += 1
                real(*arguments)

            monkeypatch.setattr(net.stack._input, name, counting)
    twins.open(options(ts=(1, 0)))
    twins.segment(ACK | PSH, b"data")
    twins.each(lambda peer, far: far.finish())
    twins.run(0.01)
    twins.receive()
    twins.segment(FIN | ACK)  # which acknowledges the far end's
    twins.run(0.01)
    (flow,) = twins.nets[0].stack.tcp_flows.values()
    assert flow.conn.state is TIME_WAIT
    assert slow == [1, 4]


def test_a_flow_is_serviced_once_a_batch() -> None:
    twins = TcpTwins()
    twins.open()
    net, peer = twins.nets[0], twins.peer
    assert net.wire.sink is not None
    before = twins.fast
    for number in range(3):
        net.wire.sink.input(peer.frame(ACK, b"x", seq=peer.seq + number))
    assert twins.fast == before + 3
    (flow,) = net.stack.tcp_flows.values()
    assert net.stack.network.dirty == [flow]
    assert flow.dirty


def test_another_mac_that_claims_the_address_loses_it_to_the_next_segment() -> None:
    twins = TcpTwins()
    twins.open()
    twins.segment(ACK | PSH, b"one")
    twins.batch(lambda peer: [_claim(peer, bytes.fromhex("525400000099"))])
    before = twins.fast
    twins.segment(ACK | PSH, b"two")
    assert twins.fast == before
    twins.each(lambda peer, far: far.write(b"back"))
    twins.run(0.05)
    assert twins.nets[0].wire.sent[-1].parts[0][:6] == GUEST_MAC
    twins.segment(ACK | PSH, b"three")
    assert twins.fast == before + 1
