"""An observer of a TCP connection from outside, who says what may never happen.

The observer of one end knows what the end's user did, what crossed the path, and what arrived. Its own models are
too simple to be wrong: a set of sequence numbers is an integer with a bit for each. Numbers are *offsets*: from the
initial sequence number of the side that the bytes come from, so that 0 is the SYN, 1 the first byte, and the wrap at
2**32 is nobody's business here. Where the engine's own fields are asserted, it is because they bound what is held.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

from slirpy.tcp import Connection, Segment, Settings, State, TcpOptions, options, reassembly
from slirpy.tcp.connection import READ_AHEAD
from slirpy.tcp.loss import sack, spans
from slirpy.tcp.loss.state import LossTimer
from slirpy.tcp.seq import HALF, MASK
from slirpy.tcp.states import SYNCHRONIZED, TimerKind
from slirpy.wire.tcp import ACK, FIN, PSH, RST, SYN, URG, flag_names

LONGEST_DELAYED_ACK = 500_000_000
"""MUST-58."""
ROOM_OF_SACK = 36
MOST_PIECES = 64 + 1
"""Pieces of unread data, when frames have been given back."""

S = State
FIGURE_5 = frozenset(
    {
        (S.CLOSED, S.LISTEN), (S.CLOSED, S.SYN_SENT),
        (S.LISTEN, S.SYN_SENT), (S.LISTEN, S.SYN_RECEIVED),
        (S.SYN_SENT, S.ESTABLISHED), (S.SYN_SENT, S.SYN_RECEIVED),
        (S.SYN_RECEIVED, S.ESTABLISHED), (S.SYN_RECEIVED, S.FIN_WAIT_1), (S.SYN_RECEIVED, S.LISTEN),
        (S.ESTABLISHED, S.FIN_WAIT_1), (S.ESTABLISHED, S.CLOSE_WAIT),
        (S.FIN_WAIT_1, S.FIN_WAIT_2), (S.FIN_WAIT_1, S.CLOSING), (S.FIN_WAIT_1, S.TIME_WAIT),
        (S.FIN_WAIT_2, S.TIME_WAIT), (S.CLOSING, S.TIME_WAIT), (S.CLOSE_WAIT, S.LAST_ACK),
        *((state, S.CLOSED) for state in S if state is not S.CLOSED),
    }
)  # fmt: skip
"""RFC 9293, figure 5, copied by hand; and every state may end by a reset, a CLOSE or a timeout."""


class Watched(Connection):
    """A connection whose changes of state are compared with the figure of the RFC."""

    def enter(self, state: State) -> None:
        assert (self.state, state) in FIGURE_5, f"{self.state} -> {state} is not in the figure"
        super().enter(state)


def bits(start: int, stop: int) -> int:
    """The set of the offsets from ``start`` to before ``stop``."""
    return (1 << max(stop, start)) - (1 << start)


@dataclass
class Observer:
    """Knowledge about one end from outside."""

    name: str
    conn: Connection
    stream: bytes
    """The data that its user will write, as far as it comes to that."""
    peer: Observer = field(init=False)
    written: int = 0
    shut: bool = False
    urgent: int = 0
    """Offset behind its urgent data."""
    consumed: int = 0
    """Bytes that the user has read."""
    # What it has sent.
    sent_max: int = 0
    """Offset behind the highest that it has sent."""
    ack_told: int = 0
    edge_told: int = 0
    """Right edge of the window, as the peer can read it from its segments."""
    edge_cut: bool = False
    """True if the edge may lie further than 16 bits can express."""
    sack_told: int = 0
    """Offsets that it has reported by SACK."""
    ts_told: int | None = None
    bytes_in_flush: int = 0
    # What has reached it.
    arrived: int = 0
    twice: int = 0
    ts_arrived: set[int] = field(default_factory=lambda: {0})
    syn: TcpOptions | None = None
    """Options of the peer's SYN."""
    acked: int = 0
    """Highest offset that the peer has acknowledged."""
    edge: int = 0
    """Highest right edge that the peer has told of."""
    progress_at: int = 0
    path_mtu: int = 65535
    """Smallest MTU that was reported and may have been accepted."""
    # What held before.
    rcv_adv: int | None = None
    una: int = 0
    highest: int = 0
    """SND.MAX."""
    calm_cwnd: int | None = None
    tail_probe: bool = False
    unacknowledged_since: int | None = None
    owes_dsack: bool = False
    """True if all text of a segment was a duplicate, and the peer permits SACK."""

    # ------------------------------------------------------------------------------------ small words

    @property
    def settings(self) -> Settings:
        return self.conn.settings

    @property
    def wscale(self) -> int:
        """The scale of the windows that reach it."""
        return (self.syn.wscale or 0) if self.syn is not None else 0

    @property
    def mss(self) -> int:
        """Most bytes of text and options that it may put into a segment (RFC 9293, MUST-16; RFC 6691)."""
        return min(self.agreed_mss, self.path_mtu - 40)

    @property
    def agreed_mss(self) -> int:
        """Agreed MSS, before any report about the path."""
        assert self.syn is not None
        told = 536 if self.syn.mss is None else self.syn.mss
        return min(told, self.settings.mss)

    def mine(self, seq: int) -> int:
        """Offset of a number of its own stream."""
        return (seq - self.conn.iss) & MASK

    def theirs(self, seq: int) -> int:
        """Offset of a number of the peer's stream."""
        return (seq - self.peer.conn.iss) & MASK

    def has_all_before(self, offset: int) -> bool:
        everything = (1 << offset) - 1
        return self.arrived & everything == everything

    # ------------------------------------------------------------------------------------ it sends

    def before_output(self) -> None:
        conn = self.conn
        calm = not (conn.slow_path_only or conn.in_recovery or conn.sacked or conn.dupacks)
        self.calm_cwnd = conn.cc.cwnd if calm else None
        self.bytes_in_flush = 0
        state = conn.rack
        self.tail_probe = state is not None and state.timer_expired and state.loss_timer is LossTimer.PROBE

    def sent(self, seq: int, ack: int, flags: int, wnd: int, opts: bytes, data: bytes, urg: int = 0) -> None:
        """Check a segment that is sent, or a piece that the link will cut."""
        conn = self.conn
        assert 0 <= seq <= MASK
        assert 0 <= ack <= MASK
        assert 0 <= wnd <= 0xFFFF
        assert len(opts) <= 40
        assert len(opts) % 4 == 0
        if flags & RST:
            assert flags in (RST, RST | ACK), flag_names(flags)
            assert not data
            return
        parsed = options.parse(opts)
        start = self.mine(seq)
        stop = start + len(data) + bool(flags & SYN) + bool(flags & FIN)
        if flags & SYN:
            assert start == 0, "a SYN has the initial number"
            assert bool(flags & ACK) == (conn.state is S.SYN_RECEIVED)
            assert not data
            assert parsed.mss == min(self.settings.mss, 0xFFFF)
        else:
            assert flags & ACK, "all but the first SYN acknowledge"
            assert conn.state in SYNCHRONIZED or (conn.state is S.SYN_RECEIVED and start == stop)
            self._sent_text(start, stop, flags, opts, data)
        assert bool(flags & URG) == bool(urg)
        assert not urg or start + urg <= self.urgent
        if flags & ACK:
            self._sent_ack(ack, flags, wnd)
            self._sent_sack(parsed.sack, self.theirs(ack))
        self._sent_timestamp(parsed, flags)
        self.sent_max = max(self.sent_max, stop)

    def _sent_text(self, start: int, stop: int, flags: int, opts: bytes, data: bytes) -> None:
        conn, size = self.conn, len(data)
        if size:
            there = self.stream[start - 1 : start - 1 + size]
            assert data == there, f"what is sent is what was written, in its place; {self.name} {start}:{stop}"
            assert start - 1 + size <= self.written, "what is sent was written"
        else:
            assert start <= self.sent_max
        if flags & FIN:
            assert self.shut, "only the user says that no more comes"
            assert stop == self.written + 2, "FIN follows the last byte"
        una = self.mine(conn.snd_una)
        probe = start == una and stop <= start + 1
        assert start == stop or stop <= self.edge or probe, f"{self.name} sends beyond the window"
        if not size:
            return
        segment = min(size, conn.mss)  # what a link would cut from it
        assert segment + len(opts) <= max(self.mss, 8 + len(opts)), "no segment is larger than agreed"
        if size > conn.mss:
            assert size <= max(self.settings.max_burst, conn.mss)
        self.bytes_in_flush += size
        if start < self.sent_max:
            return
        # Never sent before.
        ends = start - 1 + size == self.written
        if not (probe or (start == una and stop > self.edge)):
            assert bool(flags & PSH) == ends, "PSH is on what ends the data, and on nothing else"
        # SACK blocks take their room from the text, of all segments of one output.
        full = size + ROOM_OF_SACK * conn.sack_ok >= conn.mss
        if not full and not ends and not self.tail_probe:
            assert start == una, "a small segment waits for the one before it, or for more data"
        if not full and start != una and not self.settings.nodelay and not self.tail_probe:
            assert self.shut, "Nagle: one small segment at a time"
        if self.calm_cwnd is not None and not probe:
            assert stop - una - (flags & FIN) <= max(self.calm_cwnd, 0), (
                "no more is in flight than the congestion window permits, but for a FIN"
            )

    def _sent_ack(self, ack: int, flags: int, wnd: int) -> None:
        offset = self.theirs(ack)
        assert self.has_all_before(offset), f"{self.name} acknowledges what has not arrived"
        assert offset >= self.ack_told, "acknowledgements never go back"
        self.ack_told = offset
        scale = 0 if flags & SYN else self.conn.rcv_wscale
        edge = offset + (wnd << scale)
        assert edge + (1 << scale) > self.edge_told, (
            "the right edge moves back by what scaling rounds off, at most"
        )
        grown = edge - self.edge_told
        worth = min(2 * self.conn.mss, self.conn.rcv_limit // 2) - (1 << scale)
        cut, self.edge_cut = self.edge_cut, wnd == 0xFFFF
        assert grown < 1 << scale or grown >= worth or cut or wnd == 0xFFFF, (
            "the window opens by what is worth a segment (MUST-39)"
        )
        self.edge_told = max(self.edge_told, edge)

    def _sent_sack(self, blocks: tuple[tuple[int, int], ...], ack: int) -> None:
        if not blocks:
            return
        assert self.peer.syn is not None or self.conn.sack_ok
        assert self.conn.sack_ok, "SACK is sent only if it was permitted"
        sets = [bits(self.theirs(left), self.theirs(right)) for left, right in blocks]
        assert all(sets), "blocks are not empty"
        first = sets[0]
        duplicate = self.theirs(blocks[0][1]) <= ack or (len(sets) > 1 and first & sets[1] == first)
        if duplicate:
            assert first & self.twice == first, "D-SACK tells of what came twice"
            self.owes_dsack = False
            sets = sets[1:]
        union = 0
        for block in sets:
            assert not block & union, "each block is reported once"
            union |= block
        assert union & self.arrived == union, "SACK tells of what has arrived"
        assert not union & bits(0, ack + 1), "and not of what is acknowledged, or would be"
        self.sack_told |= union

    def _sent_timestamp(self, parsed: TcpOptions, flags: int) -> None:
        if self.conn.ts_ok and not flags & SYN:
            assert parsed.timestamps is not None, "RFC 7323, 3.2: once agreed, in every segment"
        if parsed.timestamps is not None:
            value, echo = parsed.timestamps
            if self.ts_told is not None:
                assert (value - self.ts_told) & MASK < HALF, "the timestamp clock does not go back"
            self.ts_told = value
            assert echo in self.ts_arrived, "what is echoed was heard"

    # ------------------------------------------------------------------------------------ it hears

    def hears(self, seg: Segment, now: int) -> None:
        """A segment, whole, is about to reach it."""
        if seg.flags & RST:
            return
        start = self.theirs(seg.seq)
        came = bits(start, start + seg.length)
        self.twice |= self.arrived & came
        conn, stamps = self.conn, seg.options.timestamps
        # RFC 5961, section 5.2, drops what has an older ACK.
        if (
            seg.payload
            and came >> self.theirs(conn.rcv_nxt) == 0
            and conn.state in SYNCHRONIZED
            and conn.sack_ok
            and (conn.snd_max - seg.ack) & MASK <= ((conn.snd_max - conn.snd_una) & MASK) + conn.snd_wnd_max
        ):
            self.owes_dsack |= stamps is None or (stamps[0] - conn.ts_recent) & MASK < HALF
        self.arrived |= came
        if seg.options.timestamps is not None:
            self.ts_arrived.add(seg.options.timestamps[0])
        scale = self.wscale
        if seg.flags & SYN:
            self.syn = seg.options
            scale = 0
            self.edge = max(self.edge, 1 + seg.wnd)
        if seg.flags & ACK:
            acked = self.mine(seg.ack)
            if acked <= self.sent_max:
                self.edge = max(self.edge, acked + (seg.wnd << scale))
                if acked > self.acked:
                    self.acked = acked
                    self.progress_at = now

    def tells_nothing_new(self, seg: Segment) -> bool:
        """Report whether a later segment has arrived already, so that the window of this one is out of date."""
        conn = self.conn
        if conn.state not in SYNCHRONIZED or self.mine(seg.ack) > self.mine(conn.snd_una):
            return False
        order = self.theirs(seg.seq), self.mine(seg.ack)
        return order < (self.theirs(conn.snd_wl1), self.mine(conn.snd_wl2))

    # ------------------------------------------------------------------------------------ after every step

    def check(self, now: int) -> None:
        """Check the rules that hold whenever all that is due was sent."""
        conn, peer = self.conn, self.peer
        unread = b"".join(conn.rcv_queue)
        assert len(unread) == conn.rcv_pending
        assert unread == peer.stream[self.consumed : self.consumed + len(unread)], (
            "what is delivered is what was written"
        )
        assert self.consumed + len(unread) <= peer.written
        self._check_memory()
        deadline = conn.deadline()
        assert deadline is None or deadline > now, "a deadline lies ahead"
        if conn.state is S.CLOSED:
            assert deadline is None
            assert conn.error != errno.ETIMEDOUT or self._may_give_up(now)
            return
        if conn.state is S.LISTEN:
            return
        self._check_send_side(deadline)
        if conn.state is not S.SYN_SENT:
            self._check_receive_side(deadline, now)

    def _may_give_up(self, now: int) -> bool:
        limits = self.settings
        patience = min(limits.user_timeout, limits.syn_timeout)
        if limits.keepalive:
            patience = min(patience, limits.keepalive_interval * limits.keepalive_count)
        return now - self.progress_at >= patience

    def _check_memory(self) -> None:
        conn, limits = self.conn, self.settings
        assert conn.rcv_pending + conn.reassembly.size <= limits.rcv_buffer, "the receive buffer has a bound"
        assert conn.snd_buf.length <= limits.snd_buffer + READ_AHEAD, "the send buffer has a bound"
        assert len(conn.rcv_queue) <= MOST_PIECES
        assert len(conn.sacked) <= sack.MAX_RANGES
        assert len(conn.reassembly.ranges()) <= reassembly.MAX_RANGES
        if conn.rack is not None:
            assert len(conn.rack.spans.items) <= spans.MAX_SPANS
        if conn.state is S.CLOSED:
            assert not conn.snd_buf.length
            assert not conn.sacked
            assert not conn.reassembly

    def _check_send_side(self, deadline: int | None) -> None:
        conn = self.conn
        una, nxt, highest = self.mine(conn.snd_una), self.mine(conn.snd_nxt), self.mine(conn.snd_max)
        assert una <= nxt <= highest, "SND.UNA =< SND.NXT =< SND.MAX"
        assert una >= self.una, "SND.UNA moves forward"
        assert highest >= self.highest, "SND.MAX moves forward"
        assert highest == self.sent_max, "SND.MAX is behind what was sent"
        assert una <= self.acked, "only the peer acknowledges"
        self.una, self.highest = una, highest
        fin_acked = una == self.written + 2
        assert conn.snd_buf.length == self.written - max(una - 1 - fin_acked, 0), (
            "what is not acknowledged is kept"
        )
        at = una
        for left, right in conn.sacked:
            assert at < self.mine(left) < self.mine(right) <= highest, (
                "the scoreboard is sorted, with holes between"
            )
            at = self.mine(right)
        # Whatever waits for an answer, or for room, has a timer: nothing can get stuck.
        last = self.written + 1 + self.shut
        if conn.state is S.TIME_WAIT:
            assert conn.timer_kind is TimerKind.TIME_WAIT
        elif una < highest:
            assert conn.timer_kind in (TimerKind.RETRANSMIT, TimerKind.PERSIST), (
                "what is unacknowledged is timed"
            )
        elif highest < last and conn.state in SYNCHRONIZED:
            assert conn.timer_kind is TimerKind.PERSIST, "what waits for a window asks for it"
        else:
            assert conn.timer_kind not in (TimerKind.RETRANSMIT, TimerKind.PERSIST), "no timer runs for nothing"
        if conn.timer_kind is not TimerKind.NONE:
            assert deadline is not None

    def _check_receive_side(self, deadline: int | None, now: int) -> None:
        conn = self.conn
        nxt, adv = self.theirs(conn.rcv_nxt), self.theirs(conn.rcv_adv)
        assert self.has_all_before(nxt), "what counts as received has arrived"
        assert nxt <= self.peer.sent_max, "nothing is received that was not sent"
        assert nxt <= adv, "nothing is taken beyond the window"
        assert self.edge_told <= adv, "what it promises it will take"
        if self.rcv_adv is not None:
            assert adv >= self.rcv_adv, "the advertised edge never moves back"
        self.rcv_adv = adv
        if conn.state is S.TIME_WAIT:
            return
        held = bits(0, nxt)
        for left, right in conn.reassembly.ranges():
            assert nxt < self.theirs(left), "what is next does not wait"
            held |= bits(self.theirs(left), self.theirs(right))
        assert held & self.arrived == held, "what is held has arrived"
        assert self.sack_told & held == self.sack_told, "SACKed data is kept"
        if self.ack_told < nxt and conn.state in SYNCHRONIZED:
            assert deadline is not None, "what has arrived will be acknowledged"
            assert conn.ack_now or 0 < conn.delack_at - now <= LONGEST_DELAYED_ACK
            assert nxt - self.ack_told < 2 * self.agreed_mss, (
                "every second segment is acknowledged at once (SHLD-19)"
            )
            if self.unacknowledged_since is None:
                self.unacknowledged_since = now
            assert now - self.unacknowledged_since < self.settings.delayed_ack, (
                "what follows puts no ACK off (MUST-58)"
            )
        else:
            self.unacknowledged_since = None
        assert not self.owes_dsack, "duplicates are reported"
        assert conn.fin_received == (self.peer.shut and nxt == self.peer.written + 2)
        if conn.state in (S.ESTABLISHED, S.FIN_WAIT_1, S.FIN_WAIT_2) and nxt > 1:
            known = self.edge_told - nxt + (1 << conn.rcv_wscale)
            room = conn.rcv_limit - conn.rcv_pending
            assert room - known < (conn.rcv_limit + 1) // 2, "who has half of the buffer free says so"
