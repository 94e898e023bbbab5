"""Two connections, their users and the path between them, in virtual time.

The path loses, repeats, reorders, delays, truncates, corrupts, splits and merges segments, and what it carries are
bytes with a checksum, read by the same codecs as frames are. After each step the observers check what must hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from slirpy.interfaces import Buffer
from slirpy.tcp import Segment, Settings, expire, options, output, pathmtu, reset_for, segment_arrives
from slirpy.tcp.segment import Emit, as_segments
from slirpy.tcp.seq import MASK
from slirpy.wire import icmp
from slirpy.wire.checksum import checksum, ones_sum
from slirpy.wire.tcp import ACK, FIN, HEADER, PSH, RST, SYN, URG, flag_names
from tests.property.tcp_observer import Observer, S, Watched

MS = 1_000_000
SECOND = 1_000 * MS
STREAMS = (Random(1).randbytes(1 << 18), Random(2).randbytes(1 << 18))
LARGEST = 65495
"""Bytes of text in the largest IPv4 packet."""
MOST_SEGMENTS = 250
"""Segments that what one user writes fills, or little more."""
MOST_ROUNDS = 1000
"""Outputs in one flush."""
PSEUDO = bytes((127, 0, 0, 1, 127, 0, 0, 2, 0, 6))


@dataclass(frozen=True)
class Side:
    """Settings of one end."""

    settings: Settings
    iss: int = 0
    ts_offset: int = 0


@dataclass(frozen=True)
class Path:
    """Changes that the path makes to all segments. Options that it strips, it strips from both SYNs."""

    strip_sack: bool = False
    strip_timestamps: bool = False
    strip_wscale: bool = False
    strip_mss: bool = False
    cuts: bool = False
    """Large pieces arrive as segments, not as they were sent."""
    simultaneous: bool = False


def encode(seq: int, ack: int, flags: int, wnd: int, opts: bytes, data: Buffer, urg: int = 0) -> bytes:
    """A TCP segment with its checksum; the ports and addresses are always the same."""
    head = HEADER.pack(1, 2, seq, ack, 0x50 + (len(opts) << 2), flags, wnd, 0, urg)
    raw = head + opts + bytes(data)
    total = checksum(raw, ones_sum(PSEUDO + len(raw).to_bytes(2, "big")))
    return raw[:16] + total.to_bytes(2, "big") + raw[18:]


def decode(raw: bytes) -> Segment | None:
    """Read the result of :func:`encode`. None if the checksum is wrong, or the header is not whole."""
    if len(raw) < 20 or ones_sum(PSEUDO + len(raw).to_bytes(2, "big") + raw) != 0:
        return None
    _, _, seq, ack, offset, flags, wnd, _, urg = HEADER.unpack_from(raw)
    start = offset >> 2 & ~3
    return Segment(seq, ack, flags, wnd, options.parse(raw[20:start]), memoryview(raw)[start:], urg)


class World:
    """The whole of it. ``wire[i]`` holds what is on its way to end ``i``, in the order of sending."""

    def __init__(self, sides: tuple[Side, Side], path: Path, now: int = 1000 * SECOND) -> None:
        self.now = now
        self.path = path
        # Eight bytes a segment, or a buffer of one byte, would take long for no other reason.
        least = min(min(max(side.settings.mss - 12, 8), side.settings.rcv_buffer) for side in sides)
        self.ends = [
            Observer(
                name,
                Watched(side.settings, side.iss, ts_offset=side.ts_offset),
                stream[: MOST_SEGMENTS * least],
                progress_at=now,
            )
            for name, side, stream in zip("AB", sides, STREAMS, strict=True)
        ]
        for end, peer in zip(self.ends, reversed(self.ends), strict=True):
            end.peer = peer
        self.wire: tuple[list[bytes], list[bytes]] = ([], [])
        self.mtu = [65535, 65535]
        """Of the way to each end."""
        self.too_big: list[tuple[int, int, int, int]] = []
        """ICMP on its way: to whom, SEQ, MTU, length of what did not fit."""
        self.broken = False
        """True if a side gave up or was aborted: data may be lost now."""
        self.sent_count = 0
        self.calls = 0
        """Actions of the users so far."""
        self.sane = True
        """True as long as nothing has failed."""
        self.emitters = [self._emitter(0), self._emitter(1)]
        self.ends[0].conn.connect(now)
        if path.simultaneous:
            self.ends[1].conn.connect(now)
        else:
            self.ends[1].conn.listen(now)
        self.flush(0)
        self.flush(1)

    # ------------------------------------------------------------------------------------ the users

    def write(self, i: int, size: int, *, urgent: bool = False) -> None:
        end = self.ends[i]
        size = min(size, end.conn.write_room(), len(end.stream) - end.written)
        if size > 0 and not end.shut and end.conn.state is not S.CLOSED:
            self.calls += 1
            write = end.conn.write_urgent if urgent else end.conn.write
            write(end.stream[end.written : end.written + size])
            end.written += size
            if urgent:
                end.urgent = 1 + end.written

    def read(self, i: int, size: int) -> None:
        end = self.ends[i]
        size = min(size, end.conn.rcv_pending)
        if size:
            data = b"".join(end.conn.rcv_queue)[:size]
            assert data == end.peer.stream[end.consumed : end.consumed + size]
            self.calls += 1
            end.conn.consume(size)
            end.consumed += size

    def shutdown(self, i: int) -> None:
        end = self.ends[i]
        self.calls += 1
        if end.conn.state is not S.CLOSED:
            end.shut = True
        end.conn.shutdown()

    def abort(self, i: int) -> None:
        self.broken = True
        self.ends[i].conn.abort()

    def flush(self, i: int) -> None:
        """Deadlines that have passed are acted on, and what is due is sent, as at the end of a batch."""
        end = self.ends[i]
        self.sane = False
        expire(end.conn, self.now)
        for _ in range(MOST_ROUNDS):
            end.before_output()
            before = end.conn.cc.cwnd + end.conn.inflation
            more = output(end.conn, self.now, self.emitters[i])
            assert end.bytes_in_flush <= max(before, 1) + 4 * max(end.conn.mss, 536), (
                "no burst beyond the window"
            )
            if not more:
                break
        else:
            raise AssertionError("it never has enough")
        count = self.sent_count
        output(end.conn, self.now, self.emitters[i])
        assert self.sent_count == count, "what was sent is not sent again for nothing"
        end.conn.copy_received()
        end.check(self.now)
        self.sane = True
        if end.conn.error:
            self.broken = self.broken or not self.late_reset(end)

    def late_reset(self, end: Observer) -> bool:
        """The peer has left TIME-WAIT, so it has all data; only its last word is missing."""
        peer = end.peer
        has_all = peer.theirs(peer.conn.rcv_nxt) == end.written + 2
        return end.shut and has_all and peer.conn.state is S.CLOSED and not peer.conn.error

    def _emitter(self, i: int) -> Emit:
        end = self.ends[i]

        def send(segment: Segment) -> None:
            seq, ack, flags, wnd, _, payload, urg, _ = segment
            opts, data = segment.options.encode(), bytes(payload)
            length = len(data)
            end.sent(seq, ack, flags, wnd, opts, data, urg)
            if flags & SYN:
                opts = self._strip(opts)
            mss = end.conn.mss
            if length <= mss or not (self.path.cuts or 40 + length + len(opts) > self.mtu[1 - i]):
                self._carry(1 - i, encode(seq, ack, flags, wnd, opts, data, urg))
                return
            for at in range(0, length, mss):
                last = at + mss >= length
                kept = flags if last else flags & ~(FIN | PSH)
                ahead = urg - at
                if ahead <= 0:
                    kept &= ~URG
                raw = encode((seq + at) & MASK, ack, kept, wnd, opts, data[at : at + mss], max(ahead, 0))
                self._carry(1 - i, raw)

        return as_segments(send)

    def _strip(self, opts: bytes) -> bytes:
        """Options of a SYN that a middlebox leaves in place."""
        had, path = options.parse(opts), self.path
        return options.build(
            mss=None if path.strip_mss else had.mss,
            wscale=None if path.strip_wscale else had.wscale,
            sack_permitted=had.sack_permitted and not path.strip_sack,
            timestamps=None if path.strip_timestamps else had.timestamps,
        )

    # ------------------------------------------------------------------------------------ the path

    def _carry(self, to: int, raw: bytes) -> None:
        self.sent_count += 1
        self.wire[to].append(raw)

    def deliver(self, to: int, which: int = 0, *, flush: bool = True) -> None:
        """A segment arrives; ``which`` counts from the oldest one."""
        if self.wire[to]:
            self._arrives(to, self.wire[to].pop(which % len(self.wire[to])))
            if flush:
                self.flush(to)

    def _arrives(self, to: int, raw: bytes) -> None:
        seg = decode(raw)
        if seg is None:
            return
        if 20 + len(raw) > self.mtu[to]:
            self.too_big.append((1 - to, seg.seq, self.mtu[to], 20 + len(raw)))
            return
        end = self.ends[to]
        conn = end.conn
        if conn.state is S.CLOSED:
            answer = reset_for(seg)
            assert answer is None or not seg.flags & RST, "no reset answers a reset"
            if answer is not None:
                seq, ack, flags = answer
                self._carry(1 - to, encode(seq, ack, flags, 0, b"", b""))
            return
        owed = conn.reset
        end.hears(seg, self.now)
        window = conn.snd_wnd if end.tells_nothing_new(seg) else None
        segment_arrives(conn, seg, self.now)
        assert window is None or conn.snd_wnd == window, "the window is the newest segment's"
        if seg.flags & RST:
            assert conn.reset is owed, "no reset answers a reset"

    def lose(self, to: int, which: int = 0) -> None:
        if self.wire[to]:
            del self.wire[to][which % len(self.wire[to])]

    def repeat(self, to: int, which: int = 0) -> None:
        if self.wire[to]:
            self.wire[to].append(self.wire[to][which % len(self.wire[to])])

    def delay(self, to: int, which: int = 0) -> None:
        """Move a segment behind all others in flight."""
        if self.wire[to]:
            self.wire[to].append(self.wire[to].pop(which % len(self.wire[to])))

    def corrupt(self, to: int, bit: int) -> None:
        """One bit of the next segment is flipped, which any checksum sees."""
        if self.wire[to] and decode(self.wire[to][0]) is not None:
            raw = bytearray(self.wire[to][0])
            bit %= 8 * len(raw)
            raw[bit >> 3] ^= 1 << (bit & 7)
            assert decode(bytes(raw)) is None
            self.wire[to][0] = bytes(raw)

    def truncate(self, to: int, size: int) -> None:
        """The next segment loses its end. IP, which knows its length, throws it away; so does a header in pieces."""
        if self.wire[to]:
            self.wire[to][0] = self.wire[to][0][: size % 20]

    def shorten(self, to: int, size: int) -> None:
        """Only the first bytes of the next segment arrive: somebody on the way cut it, and lost the rest."""
        if self.wire[to]:
            seg, opts = self._read(self.wire[to][0])
            if seg is not None and len(seg.payload) > 1:
                text = seg.payload[: 1 + size % (len(seg.payload) - 1)]
                self.wire[to][0] = encode(
                    seg.seq, seg.ack, seg.flags & ~(FIN | PSH), seg.wnd, opts, text, seg.urg
                )

    def split(self, to: int, size: int) -> None:
        """The next segment arrives as two."""
        if not self.wire[to]:
            return
        seg, opts = self._read(self.wire[to][0])
        if seg is None or len(seg.payload) < 2:
            return
        size = 1 + size % (len(seg.payload) - 1)
        self.wire[to][:1] = [
            encode(seg.seq, seg.ack, seg.flags & ~(FIN | PSH), seg.wnd, opts, seg.payload[:size], seg.urg),
            encode((seg.seq + size) & MASK, seg.ack, seg.flags & ~URG, seg.wnd, opts, seg.payload[size:]),
        ]

    def merge(self, to: int) -> None:
        """The next two segments arrive as one, if they differ in nothing but their text."""
        if len(self.wire[to]) < 2:
            return
        (one, opts), (two, more) = self._read(self.wire[to][0]), self._read(self.wire[to][1])
        if (
            one is None
            or two is None
            or opts != more
            or one.flags & ~PSH != ACK
            or two.flags & (SYN | RST | URG)
        ):
            return
        text = bytes(one.payload) + bytes(two.payload)
        alike = one.ack == two.ack and one.wnd == two.wnd
        follows = (one.seq + len(one.payload)) & MASK == two.seq
        if one.payload and two.payload and alike and follows and len(text) < LARGEST:
            self.wire[to][:2] = [encode(one.seq, one.ack, two.flags, one.wnd, opts, text)]

    @staticmethod
    def _read(raw: bytes) -> tuple[Segment | None, bytes]:
        seg = decode(raw)
        return (None, b"") if seg is None else (seg, raw[20 : len(raw) - len(seg.payload)])

    def narrow(self, to: int, mtu: int) -> None:
        """The way to an end carries smaller packets from now on."""
        self.mtu[to] = min(self.mtu[to], mtu)

    def tell_too_big(self) -> None:
        """ICMP arrives about a packet that did not fit."""
        if self.too_big:
            to, seq, mtu, length = self.too_big.pop(0)
            self.complain(to, seq, mtu, length)

    def complain(self, to: int, seq: int, mtu: int, length: int) -> None:
        """Report by ICMP that a packet was too big."""
        end = self.ends[to]
        if end.conn.state is not S.CLOSED and pathmtu.too_big(
            end.conn, seq, mtu, length, ip_header=20, least_mtu=68
        ):
            end.path_mtu = min(end.path_mtu, mtu)

    def refuse(self, to: int, code: int) -> None:
        """Report by ICMP that the last SYN or segment could not be delivered."""
        conn = self.ends[to].conn
        before = conn.state
        trouble = icmp.read_error(3, code, 0)
        pathmtu.refused_by_icmp(conn, conn.snd_una, trouble.error, trouble.hard)
        assert before is S.SYN_SENT or conn.state is before, "an open connection goes on (RFC 5927, 5.2)"
        self.broken = self.broken or conn.state is not before

    # ------------------------------------------------------------------------------------ time

    def pass_time(self, span: int) -> None:
        """Time leaps, over deadlines too."""
        self.now += span
        self.flush(0)
        self.flush(1)

    def next_deadline(self) -> int | None:
        times = [time for end in self.ends if (time := end.conn.deadline()) is not None]
        return min(times, default=None)

    def to_deadline(self) -> None:
        """Time passes to the next deadline."""
        if (time := self.next_deadline()) is not None:
            self.now = time
            self.flush(0)
            self.flush(1)

    # ------------------------------------------------------------------------------------ the end

    def over(self) -> bool:
        states = {end.conn.state for end in self.ends}
        return states <= {S.CLOSED, S.LISTEN} and S.CLOSED in states and not any(self.wire)

    def finish(self, exchange: Callable[[], bool] | None = None) -> None:
        """From now on the path is perfect, and the users read all, and write no more: all of it arrives, in time."""
        began, count = self.now, self.sent_count
        total = sum(end.written for end in self.ends)
        segments = 200 + 8 * sum(end.written // self._least(i) for i, end in enumerate(self.ends))
        while not self.over():
            for i, end in enumerate(self.ends):
                self.read(i, end.conn.rcv_pending)
                self.shutdown(i)
                self.flush(i)
            while self.too_big:
                self.tell_too_big()
            if any(self.wire):
                for i in (0, 1):
                    arriving, self.wire[i][:] = list(self.wire[i]), []
                    for raw in arriving:
                        self._arrives(i, raw)
                        self.ends[i].conn.copy_received()
                        self.read(i, self.ends[i].conn.rcv_pending)
                self.now += MS
            else:
                time = self.next_deadline()
                if time is None:
                    # Who is in FIN-WAIT-2 waits for ever for a peer that was aborted, and whose RST was lost.
                    assert self.over() or self.broken, f"stuck: {self}"
                    break
                self.now = time
            assert self.sent_count - count <= segments, f"they talk and talk: {self}"
            assert self.now - began <= self._patience(segments), f"it takes too long: {self}"
        for i, end in enumerate(self.ends):
            self.read(i, end.conn.rcv_pending)
            assert end.consumed <= end.peer.written
            if not self.broken:
                assert end.conn.state is S.CLOSED
                assert end.consumed == end.peer.written, f"{end.name} lacks data; {total=}"

    def _least(self, i: int) -> int:
        """Bytes in a segment of an end, at worst: what the path carries, or was said to, and what fits into a tiny
        buffer."""
        end = self.ends[i]
        mss = max(min(end.settings.mss, end.peer.settings.mss) - 12, 8)
        return max(min(mss, self.mtu[1 - i] - 52, end.peer.settings.rcv_buffer // 2, end.conn.mss), 1)

    def _patience(self, segments: int) -> int:
        waits = [end.settings.time_wait + 5 * 60 * SECOND for end in self.ends]
        return sum(waits) + segments * (2 * MS + max(end.settings.delayed_ack for end in self.ends))

    def __str__(self) -> str:
        lines = [f"at {self.now / SECOND:.6f} s"]
        for i, end in enumerate(self.ends):
            conn = end.conn
            lines.append(
                f"{end.name} {conn.state.value}: una {end.mine(conn.snd_una)} nxt {end.mine(conn.snd_nxt)} "
                f"max {end.mine(conn.snd_max)} written {end.written} wnd {conn.snd_wnd} cwnd {conn.cc.cwnd} "
                f"rcv_nxt {end.theirs(conn.rcv_nxt)} adv {end.theirs(conn.rcv_adv)} pending {conn.rcv_pending} "
                f"timer {conn.timer_kind.name} {conn.timer_at / SECOND:.6f} error {conn.error}"
            )
            for raw in self.wire[i]:
                seg, _ = self._read(raw)
                if seg is not None:
                    start = (seg.seq - end.peer.conn.iss) & MASK
                    lines.append(
                        f"    to {end.name}: {start}:{start + len(seg.payload)} {flag_names(seg.flags)}"
                    )
        return "\n".join(lines)


def patient(settings: Settings) -> Settings:
    """Return settings with which neither side gives up."""
    return replace(settings, syn_timeout=10**15 * MS, user_timeout=10**15 * MS, keepalive_count=10**9)
