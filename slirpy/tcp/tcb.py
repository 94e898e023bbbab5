"""The transmission control block: the state of one connection (RFC 9293, section 3.3.1).

Theory. A connection is two streams that know little of each other, and one state machine that opens and
closes them. The send side is a buffer whose start is SND.UNA; SND.NXT is a cursor in it. After a time-out
SND.NXT goes back to SND.UNA and SND.MAX remembers how far we had been, so that acknowledgements of what was
sent before remain acceptable. SYN and FIN take a sequence number each but no room in the buffer: SYN precedes
its start, FIN follows its end. The receive side hands over data in order (``rcv_queue``); what the user has not
consumed counts against the window, and the window's right edge (``rcv_adv``) never moves back.

This module holds state and moves between states. ``connection`` has the user's calls, ``receive`` says what a segment
changes, ``output`` what is to be sent; they and ``core/fastpath.py`` write the fields.
"""

from __future__ import annotations

import errno
import os

from slirpy.errors import ConfigError
from slirpy.interfaces import Buffer
from slirpy.tcp.congestion import CongestionControl
from slirpy.tcp.loss.state import RackState
from slirpy.tcp.options import TcpOptions
from slirpy.tcp.reassembly import Reassembly
from slirpy.tcp.rtt import RtoEstimator
from slirpy.tcp.sendbuffer import SendBuffer
from slirpy.tcp.seq import MASK
from slirpy.tcp.states import (
    CLOSED,
    ESTABLISHED,
    FIN_WAIT_1,
    NO_TIMER,
    SYN_RECEIVED,
    SYNCHRONIZED,
    TIME_WAIT,
    TRANSITIONS,
    State,
)
from slirpy.tcp.window import WindowPool
from slirpy.units import MS, SECOND
from slirpy.wire.tcp import ACK, RST

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from slirpy.stats import Stats
    from slirpy.tcp.settings import Settings

__all__ = ["DUPACK_THRESHOLD", "ControlBlock"]

DUPACK_THRESHOLD = 3
"""RFC 5681, section 3.2."""

RTO_AFTER_LOST_SYN = 3 * SECOND
"""RFC 6298, (5.7): until there is a measurement."""


class ControlBlock:
    """The state of one end of a connection.

    Attributes named as in RFC 9293, section 3.3.1, mean what they mean there. Sequence numbers are 0 to 2**32-1;
    ``snd_wnd`` and ``rcv_wnd`` are bytes, unscaled.

    Args:
        settings: sizes and times; None: the defaults.
        iss: initial send sequence number, 0 to 2**32-1; None: a random one. Real stacks use
            :func:`~slirpy.tcp.isn.initial_sequence_number` (RFC 6528); repeatable tests choose one.
        ts_offset: added to the millisecond clock that timestamps carry, 0 to 2**32-1 (RFC 7323, section 5.4).
        stats: where unusual events are counted; None: counters of its own.
        pool: what the windows of many connections together may grow to.

    Raises:
        ConfigError: ``iss`` or ``ts_offset`` is out of range.
    """

    __slots__ = (
        "ack_now",
        "cc",
        "challenge_after",
        "cwnd_filled",
        "delack_at",
        "dsack",
        "dupacks",
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
        "loss_timer_at",
        "mss",
        "noted_acks",
        "opened_at",
        "passive",
        "peer_reset",
        "pool",
        "prior_max",
        "probe",
        "probes",
        "progress_at",
        "rack",
        "rcv_adv",
        "rcv_limit",
        "rcv_limit_max",
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
        "slow_path_only",
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
        "spare_acks",
        "state",
        "stats",
        "syn_acked",
        "timer_at",
        "timer_kind",
        "ts_offset",
        "ts_ok",
        "ts_recent",
        "unreachable",
        "window_grown",
        "wscale_ok",
    )  # fmt: skip

    def __init__(
        self,
        settings: Settings | None = None,
        iss: int | None = None,
        *,
        ts_offset: int = 0,
        stats: Stats | None = None,
        pool: WindowPool | None = None,
    ) -> None:
        if settings is None:
            from slirpy.tcp.settings import Settings  # a data class: slow to import, as are the counters below

            settings = Settings()
        if iss is None:
            iss = int.from_bytes(os.urandom(4), "big")
        if not 0 <= iss <= MASK or not 0 <= ts_offset <= MASK:
            raise ConfigError(f"iss {iss} or ts_offset {ts_offset} is not a number from 0 to {MASK}")
        self.settings = settings
        if stats is None:
            from slirpy.stats import Stats

            stats = Stats()
        self.stats = stats
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
        self.mss = min(settings.peer_mss, settings.mss)  # until the peer's SYN arrives
        """Most payload bytes in a segment that we send, options subtracted."""
        self.cc: CongestionControl = settings.congestion(self.mss)
        self.cwnd_filled: int | None = None
        """SND.MAX when the congestion window was full last: acknowledgements of data before it let the window grow.
        None: it has not been full for as long as what is on its way is."""
        self.sent_at = 0
        """When something new was sent last."""
        self.dupacks = 0
        self.in_recovery = False
        self.slow_path_only = False
        """In recovery, or something else is under way that the fast path knows nothing of."""
        self.rack: RackState | None = None
        """Loss detection by time, with peers that permit SACK."""
        self.recover = iss
        """SND.MAX when recovery began, or when the retransmission timer expired."""
        self.prior_max = iss
        """SND.MAX at the first duplicate ACK: what limited transmit sends after it does not count as flight."""
        self.inflation = 0
        """What duplicate ACKs add to the congestion window in a recovery without SACK."""
        self.sacked: list[tuple[int, int]] = []
        """Ranges that the peer has told of, see :mod:`slirpy.tcp.loss.sack`."""
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
        self.rcv_limit = settings.rcv_first
        """Most bytes that the window offers now."""
        self.rcv_limit_max = settings.rcv_buffer
        """Most bytes that it can grow to, and that it can tell, as scaled."""
        self.pool = pool
        self.window_grown = False
        """It has grown, and is counted in the pool."""
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
        self.spare_acks = False
        """ACKs get lost, or will: batches get a second one, see :func:`slirpy.tcp.emit.acknowledge_twice`."""
        self.dsack: tuple[int, int] | None = None
        """What came twice, to be told with the next ACK."""
        self.fin_seq: int | None = None
        """Sequence number of the peer's FIN, once seen."""
        self.ack_now = False
        self.noted_acks: list[tuple[int, bytes]] = []
        """ACKs to be sent before all else, see :mod:`slirpy.tcp.answers`: SEG.ACK and options."""
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
        self.loss_timer_at = 0
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
            self.rack = None
            self.reassembly.clear()
            self.noted_acks.clear()
            self.timer_kind = NO_TIMER
            self.delack_at = self.loss_timer_at = 0
        elif state is TIME_WAIT:
            self.reassembly.clear()
            self.delack_at = 0
        else:
            return
        if self.window_grown and self.pool is not None:
            self.window_grown = False
            self.pool.members -= 1

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

    def close_with(self, error: int) -> None:
        """Close without a word, because of ``error``."""
        if self.state is not CLOSED:
            self.error = error
            self.enter(CLOSED)

    def give_up(self, error: int) -> None:
        """Close because of ``error``; where the peer knows of the connection the next ``output`` sends a RST."""
        known = self.state in SYNCHRONIZED or (self.state is SYN_RECEIVED and self.snd_max != self.iss)
        if known and self.state is not TIME_WAIT:
            # In sequence, and with an ACK, so that every peer accepts it.
            self.reset = self.snd_max, self.rcv_nxt, RST | ACK
        self.close_with(error)

    @property
    def soft_error(self) -> int:
        """What is wrong while the connection goes on: 0, or a value of ``errno``.

        ETIMEDOUT when R1 has been reached (RFC 9293, MUST-20, SHLD-9); ENETUNREACH, EHOSTUNREACH or EPROTO when ICMP
        has reported that about data in flight (MUST-47, SHLD-25). The next answer of the peer makes it 0 again. Users
        need not ask. Whoever carries the segments should check whether the route to the peer is still right.
        """
        if self.unreachable is not None and self.unreachable[1] == self.snd_una:
            return self.unreachable[0]
        limit = self.settings.r1
        silent = self.probes >= limit and self.heard_at < self.progress_at
        return errno.ETIMEDOUT if self.retries >= limit or silent else 0

    def deadline(self) -> int | None:
        """When the connection next has something to do unasked, on the clock of ``now``; None: never.

        Then :meth:`~slirpy.tcp.connection.Connection.handle_timeout` is due (:func:`~slirpy.tcp.output.expire`).
        """
        when = self.delack_at
        early = self.loss_timer_at
        if early and (not when or early < when):
            when = early
        if self.timer_kind is NO_TIMER:
            return when or None
        return when if when and when < self.timer_at else self.timer_at

    # ---------------------------------------------------------------------------- on both sides

    def take_syn_options(self, options: TcpOptions, window: int) -> None:
        """Agree on options, from the peer's SYN."""
        settings = self.settings
        mss = options.mss if options.mss is not None else settings.peer_mss  # MUST-15
        self.wscale_ok = settings.window_scaling and options.wscale is not None
        if self.wscale_ok:
            self.snd_wscale = options.wscale or 0
        else:
            self.snd_wscale = 0
            self.rcv_wscale = 0
            self.rcv_limit_max = min(self.rcv_limit_max, 0xFFFF)
            self.rcv_limit = min(self.rcv_limit, 0xFFFF)
        if settings.timestamps and options.timestamps is not None:
            self.ts_ok = True
            self.ts_recent = options.timestamps[0]
        else:
            self.ts_ok = False
        self.sack_ok = settings.sack and options.sack_permitted
        self.rack = RackState() if self.sack_ok and settings.rack else None
        # MUST-16: the peer's limit and ours, less the options in every segment. An MSS that leaves no
        # room for data would stall the connection: 8 bytes is what RFC 791's smallest datagram leaves.
        self.mss = max(min(mss, settings.mss) - (12 if self.ts_ok else 0), 8)
        self.cc = settings.congestion(self.mss)
        self.snd_wnd = self.snd_wnd_max = window  # never scaled in a SYN

    def go_back(self) -> None:
        """Everything from SND.UNA on is to be sent again, but for what the peer has told of."""
        self.rtt_seq = None  # Karn
        self.in_recovery = self.resend_head = False
        self.inflation = self.dupacks = 0
        self.recover = self.snd_max
        self.snd_nxt = self.snd_una
        self.snd_buf.rewind()
        if self.rack is not None:
            self.rack.restart()
            self.loss_timer_at = 0
        self.update_fast_path()

    def update_fast_path(self) -> None:
        """Derive ``slow_path_only``. Call this when a recovery begins or ends, or when the loss timer expires."""
        self.slow_path_only = self.in_recovery or (self.rack is not None and self.rack.unsettled)

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
