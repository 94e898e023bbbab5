"""The transmission control block: the state of one connection, and the user's calls (RFC 9293, section 3.10).

Theory. A connection is two streams that know little of each other, and one state machine that opens and
closes them. The send side is a buffer whose start is SND.UNA; SND.NXT is a cursor in it. After a time-out
SND.NXT goes back to SND.UNA and SND.MAX remembers how far we had been, so that acknowledgements of what was
sent before remain acceptable. SYN and FIN take a sequence number each but no room in the buffer: SYN precedes
its start, FIN follows its end. The receive side hands over data in order (``rcv_queue``); what the user has not
consumed counts against the window, and the window's right edge (``rcv_adv``) never moves back.

This module holds state and moves between states. ``receive`` says what a segment changes, ``output`` what is
to be sent; they and ``core/fastpath.py`` write the fields.
"""

from __future__ import annotations

import errno

from slirpy.errors import StateError
from slirpy.interfaces import Buffer
from slirpy.stats import Stats
from slirpy.tcp.congestion import CongestionControl
from slirpy.tcp.lossstate import Rack
from slirpy.tcp.mistakes import mistake
from slirpy.tcp.options import TcpOptions
from slirpy.tcp.reassembly import Reassembly
from slirpy.tcp.rtt import RtoEstimator
from slirpy.tcp.sendbuffer import SendBuffer
from slirpy.tcp.seq import HALF, MASK
from slirpy.tcp.settings import MS, SECOND, Settings
from slirpy.tcp.states import (
    CLOSE_WAIT,
    CLOSED,
    ESTABLISHED,
    FIN_WAIT_1,
    KEEPALIVE,
    LAST_ACK,
    LISTEN,
    NO_TIMER,
    SYN_RECEIVED,
    SYN_SENT,
    SYNCHRONIZED,
    TIME_WAIT,
    TRANSITIONS,
    State,
)
from slirpy.wire.tcp import ACK, RST

__all__ = ["Connection", "Settings"]

READ_AHEAD = 1 << 16
"""Bytes that may be queued beyond what the windows let out. Every ACK opens them by a segment or two; with this, data
is read in large pieces all the same."""
RTO_AFTER_LOST_SYN = 3 * SECOND
"""RFC 6298, (5.7): until there is a measurement."""
DUPACK_THRESHOLD = 3
"""RFC 5681, section 3.2."""
OWNED_PIECES = 64
"""Pieces of received data that are kept apart when they have to be copied."""

_AFTER_SHUTDOWN = {ESTABLISHED: FIN_WAIT_1, CLOSE_WAIT: LAST_ACK}


class Connection:
    """One end of a TCP connection.

    Attributes named as in RFC 9293, section 3.3.1, mean what they mean there. Sequence numbers are 0 to 2**32-1;
    ``snd_wnd`` and ``rcv_wnd`` are bytes, unscaled.

    Args:
        settings: sizes and times.
        iss: initial send sequence number (see RFC 6528 for how to choose it).
        ts_offset: added to the millisecond clock that timestamps carry, 0 to 2**32-1 (RFC 7323, section 5.4).
        stats: where unusual events are counted.
    """

    __slots__ = (
        "ack_now",
        "careful",
        "cc",
        "challenge_after",
        "cwnd_filled",
        "delack_at",
        "dsack",
        "dupacks",
        "early_at",
        "error",
        "fin_queued",
        "fin_seq",
        "heard_at",
        "high_rxt",
        "in_recovery",
        "inflation",
        "irs",
        "iss",
        "last_ack",
        "mss",
        "opened_at",
        "passive",
        "peer_reset",
        "prior_max",
        "probe",
        "probes",
        "progress_at",
        "rack",
        "rcv_adv",
        "rcv_limit",
        "rcv_nxt",
        "rcv_pending",
        "rcv_queue",
        "rcv_up",
        "rcv_wscale",
        "reassembly",
        "recover",
        "rescue_rxt",
        "resend_head",
        "reset",
        "retries",
        "rtt",
        "rtt_seq",
        "rtt_time",
        "sack_ok",
        "sack_recent",
        "sacked",
        "sent_at",
        "settings",
        "snd_buf",
        "snd_max",
        "snd_nxt",
        "snd_una",
        "snd_up",
        "snd_wl1",
        "snd_wl2",
        "snd_wnd",
        "snd_wnd_max",
        "snd_wscale",
        "state",
        "stats",
        "syn_acked",
        "timer_at",
        "timer_kind",
        "ts_offset",
        "ts_ok",
        "ts_recent",
        "unreachable",
        "wscale_ok",
    )  # fmt: skip

    def __init__(self, settings: Settings, iss: int, *, ts_offset: int = 0, stats: Stats | None = None) -> None:
        self.settings = settings
        self.stats = stats if stats is not None else Stats()
        self.state = CLOSED
        self.passive = False
        self.error = 0
        """Why the connection closed: 0, or ECONNRESET, ECONNREFUSED, ETIMEDOUT, ECONNABORTED of ``errno``, or what
        :attr:`soft_error` was when it was given up."""
        self.peer_reset = False
        """The peer sent a RST."""
        self.reset: tuple[int, int, int] | None = None
        """A RST that is to be sent: SEQ, ACK and flags. Also a closed connection may owe one."""
        # Send side.
        self.iss = self.snd_una = self.snd_nxt = self.snd_max = iss
        self.snd_wnd = 0
        self.snd_wnd_max = 0
        self.snd_wl1 = self.snd_wl2 = 0
        self.snd_wscale = 0
        self.snd_buf = SendBuffer()
        self.fin_queued = False
        """The user has shut down: FIN follows the last byte of the buffer."""
        self.syn_acked = False
        """SND.UNA is behind our SYN. Its number alone does not tell: after 4 GiB it comes by again."""
        self.snd_up: int | None = None
        """SND.UP, the number behind the urgent data; None: there are none."""
        self.mss = 536  # MUST-15: what to assume before the peer says
        """Most payload bytes in a segment that we send, options subtracted."""
        self.cc: CongestionControl = settings.congestion(self.mss)
        self.cwnd_filled: int | None = None
        """SND.MAX when the congestion window was full last: acknowledgements of data before it let the window grow.
        None: it has not been full for as long as what is on its way is."""
        self.sent_at = 0
        """When something new was sent last."""
        self.dupacks = 0
        self.in_recovery = False
        self.careful = False
        """In recovery, or something else is under way that the fast path knows nothing of."""
        self.rack: Rack | None = None
        """Loss detection by time, with peers that permit SACK."""
        self.recover = iss
        """SND.MAX when recovery began, or when the retransmission timer expired."""
        self.prior_max = iss
        """SND.MAX at the first duplicate ACK: what limited transmit sends after it does not count as flight."""
        self.inflation = 0
        """What duplicate ACKs add to the congestion window in a recovery without SACK."""
        self.sacked: list[tuple[int, int]] = []
        """Ranges that the peer has told of, see :mod:`slirpy.tcp.sack`."""
        self.high_rxt = self.rescue_rxt = iss
        """Where what recovery has sent again ends; what SND.UNA must pass before it may try the last segment too."""
        self.resend_head = False
        """Send the first unacknowledged segment again."""
        self.probe = False
        """Probe the peer's closed window."""
        self.unreachable: tuple[int, int] | None = None
        """What ICMP has said last, as ``errno``, and SND.UNA then."""
        self.probes = 0
        """Probes of its window, and keep-alives, that the peer has not answered."""
        # Receive side.
        self.irs = self.rcv_nxt = 0
        self.rcv_adv = 0
        """Right edge of the window that we have advertised."""
        self.rcv_wscale = 0
        self.rcv_limit = settings.rcv_buffer
        """Most bytes that the window, as scaled, can offer."""
        self.last_ack = 0
        """RCV.NXT in the last segment that we sent."""
        self.rcv_queue: list[Buffer] = []
        """Data in order for the user. Views of frames: copy what is kept after the flush (:meth:`own`)."""
        self.rcv_pending = 0
        """Bytes in ``rcv_queue``."""
        self.rcv_up: int | None = None
        """RCV.UP, the number behind the peer's urgent data; None: the user has taken them, or there were none."""
        self.reassembly = Reassembly()
        self.sack_recent: list[int] = []
        """Numbers of the newest segments in the queue, the newest first."""
        self.dsack: tuple[int, int] | None = None
        """What came twice, to be told with the next ACK."""
        self.fin_seq: int | None = None
        """Sequence number of the peer's FIN, once seen."""
        self.ack_now = False
        self.challenge_after = 0
        """When a challenge ACK may be sent again."""
        # Options.
        self.sack_ok = self.ts_ok = self.wscale_ok = False
        self.ts_recent = 0
        self.ts_offset = ts_offset
        # Timers.
        self.rtt = RtoEstimator()
        self.rtt_seq: int | None = None
        self.rtt_time = 0
        self.retries = 0
        self.opened_at = -1
        """When it was opened, which happens once; -1: it was not."""
        self.progress_at = 0
        """When the peer last acknowledged something new, or we began to wait for that, or for answers to probes; or
        when the last keep-alive was sent."""
        self.heard_at = 0
        """When the last acceptable ACK came."""
        self.timer_kind = NO_TIMER
        self.timer_at = 0
        self.early_at = 0
        """When loss detection wants to act, before the retransmission timer does; 0: it does not."""
        self.delack_at = 0
        """When a delayed acknowledgement is due; 0: none is."""

    # ------------------------------------------------------------------------------------- state

    def enter(self, state: State) -> None:
        """Change state. The one place that does."""
        assert (self.state, state) in TRANSITIONS, f"{self.state} -> {state}"
        self.state = state
        if state is CLOSED:
            self.snd_buf.clear()
            self.sacked = []
            self.reassembly.clear()
            self.timer_kind = NO_TIMER
            self.delack_at = self.early_at = 0
        elif state is TIME_WAIT:
            self.reassembly.clear()
            self.delack_at = 0

    def establish(self) -> None:
        """Both SYNs are acknowledged; a shutdown that waited for this takes effect."""
        if self.retries:  # our SYN was lost
            self.rtt.base = max(self.rtt.base, RTO_AFTER_LOST_SYN)
            self.cc.cwnd = self.mss  # RFC 5681, section 3.1
        self.enter(ESTABLISHED)
        if self.fin_queued:
            self.enter(FIN_WAIT_1)

    @property
    def rcv_wnd(self) -> int:
        """Bytes that we have said we would take, from RCV.NXT on."""
        return (self.rcv_adv - self.rcv_nxt) & MASK

    @property
    def flight(self) -> int:
        """Sequence numbers sent and not acknowledged."""
        return (self.snd_nxt - self.snd_una) & MASK

    @property
    def fin_sent(self) -> bool:
        """Whether SND.NXT is behind our FIN."""
        return self.fin_queued and (self.snd_nxt - self.snd_una) & MASK > self.snd_buf.length

    @property
    def fin_received(self) -> bool:
        """Whether everything that the peer will ever send has arrived."""
        return self.fin_seq is not None and (self.rcv_nxt - self.fin_seq) & MASK == 1

    def timestamp(self, now: int) -> int:
        """TSval: milliseconds, from a start of the connection's own."""
        return (now // MS + self.ts_offset) & MASK

    # -------------------------------------------------------------------------------- user's calls

    def connect(self, now: int) -> None:
        """Active open: the next ``output`` sends a SYN.

        Raises:
            StateError: it was opened before.
        """
        self._open(now, "connect()")
        self.enter(SYN_SENT)

    def listen(self, now: int) -> None:
        """Passive open: the next segment may be a SYN.

        Raises:
            StateError: it was opened before.
        """
        self._open(now, "listen()")
        self.passive = True
        self.enter(LISTEN)

    def _open(self, now: int, call: str) -> None:
        if self.opened_at >= 0:
            raise mistake(self, call)
        self.opened_at = self.progress_at = self.sent_at = now
        self.rcv_wscale = self.settings.wscale
        self.rcv_limit = self.settings.rcv_buffer

    def write_room(self) -> int:
        """How many bytes :meth:`write` may be given now: what can be sent at once, and some that lie ready.

        A little is taken whatever the windows say: a closed window is probed only while there is something to
        send, and the peer's word that it has opened may get lost.
        """
        limit = min(self.snd_wnd, self.cc.cwnd, self.settings.snd_buffer)
        return max(limit + READ_AHEAD - self.snd_buf.length, 0)

    def write(self, data: bytes) -> None:
        """Queue bytes to be sent. The object is kept, not copied; who writes observes :meth:`write_room`.

        They wait until the connection is established, also in LISTEN: who the peer will be is not our concern.

        Raises:
            StateError: the connection is closed, or was never opened, or :meth:`shutdown` was called.
        """
        if self.fin_queued or self.state is CLOSED:
            raise mistake(self, "write()")
        self.snd_buf.append(data)

    def write_urgent(self, data: bytes) -> None:
        """Queue bytes as :meth:`write` does, and tell the peer that the stream is urgent up to their end.

        They stay in their place (RFC 6093). For old protocols: new ones SHOULD NOT use this (RFC 9293, SHLD-13).

        Raises:
            StateError: as of :meth:`write`.
        """
        self.write(data)
        first = self.snd_una + (not self.syn_acked)
        self.snd_up = (first + self.snd_buf.length) & MASK

    @property
    def urgent_ahead(self) -> int:
        """How many of the bytes that come next, received or not, the peer calls urgent (MUST-33); mostly 0."""
        if self.rcv_up is None:
            return 0
        ahead = (self.rcv_up - self.rcv_nxt + self.rcv_pending + self.fin_received) & MASK
        return ahead if ahead < HALF else 0

    def consume(self, count: int) -> None:
        """Take the first ``count`` bytes off ``rcv_queue``. What has arrived can be taken after the end, too.

        Raises:
            StateError: there are not so many.
        """
        if not 0 <= count <= self.rcv_pending:
            raise StateError(f"consume({count}): there are {self.rcv_pending} bytes; take those or less")
        if self.rcv_up is not None and count >= self.urgent_ahead:
            self.rcv_up = None
        self.rcv_pending -= count
        if not self.rcv_pending:
            self.rcv_queue.clear()
            return
        queue = self.rcv_queue
        taken = 0
        while count >= len(queue[taken]):
            count -= len(queue[taken])
            taken += 1
        del queue[:taken]
        if count:
            queue[0] = memoryview(queue[0])[count:]

    def own(self) -> None:
        """Copy what is left in ``rcv_queue``, because the frames that it lies in are about to be reused."""
        queue = self.rcv_queue
        if len(queue) > OWNED_PIECES:
            queue[:] = [b"".join(queue)]  # a thousand one-byte segments must not cost a thousand objects
            return
        for i, piece in enumerate(queue):
            # What the user has begun to take stays as it is, until the rest keeps more than itself in memory.
            if isinstance(piece, memoryview) and not (
                isinstance(piece.obj, bytes) and 2 * len(piece) >= len(piece.obj)
            ):
                queue[i] = bytes(piece)

    def shutdown(self) -> None:
        """No more data: FIN follows what was written. Repeated calls do nothing, nor does one on a closed connection.

        Before the connection is established this waits for that, as far as the handshake has come.

        Raises:
            StateError: the connection was never opened.
        """
        if self.opened_at < 0:
            raise mistake(self, "shutdown()")
        if not self.fin_queued and self.state is not CLOSED:
            self.fin_queued = True
            if self.state in _AFTER_SHUTDOWN:
                self.enter(_AFTER_SHUTDOWN[self.state])

    def close(self) -> None:
        """CLOSE of RFC 9293, section 3.10.4: before a peer has been heard (LISTEN, SYN-SENT) the connection is gone.

        What was written is gone with it, by ECONNABORTED. In all other states it is :meth:`shutdown`; in SYN-RECEIVED
        the FIN waits for the handshake also if there is nothing to send before it.

        Raises:
            StateError: the connection was never opened.
        """
        if self.state is LISTEN or self.state is SYN_SENT:
            self.close_with(errno.ECONNABORTED)
        else:
            self.shutdown()

    def abort(self, error: int = errno.ECONNABORTED) -> None:
        """Close at once; where the peer knows of the connection the next ``output`` sends a RST.

        On a closed connection it does nothing.

        Raises:
            StateError: the connection was never opened.
        """
        if self.opened_at < 0:
            raise mistake(self, "abort()")
        known = self.state in SYNCHRONIZED or (self.state is SYN_RECEIVED and self.snd_max != self.iss)
        if known and self.state is not TIME_WAIT:
            # In sequence, and with an ACK, so that every peer accepts it.
            self.reset = self.snd_max, self.rcv_nxt, RST | ACK
        self.close_with(error)

    def close_with(self, error: int) -> None:
        """Close without a word, because of ``error``."""
        if self.state is not CLOSED:
            self.error = error
            self.enter(CLOSED)

    def configure(self, settings: Settings) -> None:
        """Take other settings at any time (RFC 9293, MUST-21, MUST-24). What the handshake agreed on stays."""
        self.settings = settings
        if self.timer_kind is KEEPALIVE:
            self.timer_kind = NO_TIMER  # output begins anew
        elif (self.retries or self.probes) and self.state in SYNCHRONIZED:
            self.timer_at = min(self.timer_at, self.progress_at + settings.user_timeout)

    @property
    def soft_error(self) -> int:
        """What is wrong while the connection goes on: 0, or a value of ``errno``.

        ETIMEDOUT when R1 has been reached (RFC 9293, MUST-20, SHLD-9); ENETUNREACH, EHOSTUNREACH or EPROTO when ICMP
        has said so about what is on its way (MUST-47, SHLD-25). The next answer makes it 0 again. The user may ask,
        and need not; who carries the segments should look whether the way to the peer is still the right one.
        """
        if self.unreachable is not None and self.unreachable[1] == self.snd_una:
            return self.unreachable[0]
        limit = self.settings.r1
        return errno.ETIMEDOUT if self.retries >= limit or self.probes >= limit else 0

    def deadline(self) -> int | None:
        """When :func:`~slirpy.tcp.output.expire` wants to be called."""
        when = self.delack_at
        early = self.early_at
        if early and (not when or early < when):
            when = early
        if self.timer_kind is NO_TIMER:
            return when or None
        return when if when and when < self.timer_at else self.timer_at

    # ---------------------------------------------------------------------------- on both sides

    def take_syn_options(self, options: TcpOptions, window: int) -> None:
        """Agree on options, from the peer's SYN."""
        mss = options.mss if options.mss is not None else 536  # MUST-15
        self.wscale_ok = options.wscale is not None
        self.snd_wscale = options.wscale or 0
        if not self.wscale_ok:
            self.rcv_wscale = 0
            self.rcv_limit = min(self.rcv_limit, 0xFFFF)
        self.ts_ok = options.timestamps is not None
        if options.timestamps is not None:
            self.ts_recent = options.timestamps[0]
        self.sack_ok = options.sack_permitted
        self.rack = Rack() if self.sack_ok and self.settings.rack else None
        # MUST-16, MUST-67: the peer's limit and ours, less the options in every segment. An MSS that leaves no
        # room for data would stall the connection: 8 bytes is what RFC 791's smallest datagram leaves.
        self.mss = max(min(mss, self.settings.mss) - (12 if self.ts_ok else 0), 8)
        self.cc = self.settings.congestion(self.mss)
        self.snd_wnd = self.snd_wnd_max = window  # never scaled in a SYN

    def go_back(self) -> None:
        """Everything from SND.UNA on is to be sent again, but for what the peer has told of."""
        self.rtt_seq = None  # Karn
        self.in_recovery = self.resend_head = self.careful = False
        self.inflation = self.dupacks = 0
        self.recover = self.snd_max
        self.snd_nxt = self.snd_una
        self.snd_buf.rewind()
        if self.rack is not None:
            self.rack.restart()
            self.early_at = 0

    def flight_before(self, end: int) -> int:
        """Bytes that were on their way up to ``end`` when a loss came, to measure the reduction of the window by.

        ACKs come in batches. One of them has moved SND.UNA, the next ones tell of the loss, and what the first has
        let out was not sent in between: on its way counts what would have been. Else a loss that is noticed in the
        same batch would cost the window once more what that ACK has freed.
        """
        return max((end - self.snd_una) & MASK, min(self.cc.cwnd, self.snd_wnd, self.snd_buf.length))

    def burst(self) -> int:
        """Most payload bytes in one emitted piece, a multiple of the MSS."""
        if self.snd_up is not None:
            return self.mss  # a link that cuts would repeat one urgent pointer in all its segments
        return max(self.settings.max_burst // self.mss, 1) * self.mss
