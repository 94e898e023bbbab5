"""Transmission control block: the state of one connection (RFC 9293, section 3.3.1).

Theory. A connection is two streams that are nearly independent, and one state machine that opens and closes them. The
send side is a buffer that starts at SND.UNA, with SND.NXT as a cursor. After a timeout SND.NXT goes back to SND.UNA,
and SND.MAX keeps the previous position, so that acknowledgements of data sent earlier remain acceptable. SYN and FIN
take a sequence number each, but no room in the buffer: SYN precedes its start, FIN follows its end. The receive side
delivers data in order (``rcv_queue``). Data that the user has not consumed counts against the window, and the
window's right edge (``rcv_adv``) never moves back.

This module contains the state and its transitions. :mod:`~slirpy.tcp.connection` has the user's calls,
:mod:`~slirpy.tcp.receive` processes segments, and :mod:`~slirpy.tcp.sending` sends; they and
:mod:`slirpy.core.fastpath` write the fields.
"""

from __future__ import annotations

import errno
import os

from slirpy.checks import instance, whole
from slirpy.interfaces import Buffer
from slirpy.mypyc import Final, mypyc_attr
from slirpy.tcp.congestion import CongestionControl
from slirpy.tcp.ecnstate import EcnState
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
from slirpy.tcp.window import ORDINARY, WindowPool, most_for
from slirpy.units import MS, SECOND
from slirpy.wire.tcp import ACK, RST

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from slirpy.stats import Stats
    from slirpy.tcp.settings import Settings

__all__ = ["DUPACK_THRESHOLD", "MIN_MSS", "ControlBlock"]

DUPACK_THRESHOLD: Final = 3
"""Number of duplicate ACKs that indicate a loss (RFC 5681, section 3.2)."""

MIN_MSS: Final = 8
"""Smallest segment size that we use, whatever the peer announces: without room for data, connections would stall."""

RTO_AFTER_LOST_SYN: Final = 3 * SECOND
"""RTO until the first measurement if our SYN was lost (RFC 6298, (5.7))."""


_RIGHT: Final[set[tuple[type, type]]] = set()
"""Classes of settings and counters that were found right: the imports for the comparison take microseconds."""


def _check_kinds(settings: Settings, stats: Stats) -> None:
    from slirpy.stats import Stats
    from slirpy.tcp.settings import Settings

    instance("settings", settings, Settings, "a Settings")
    instance("stats", stats, Stats, "a Stats")
    _RIGHT.add((type(settings), type(stats)))


@mypyc_attr(allow_interpreted_subclasses=True)
class ControlBlock:
    """State of one end of a connection.

    Attributes named as in RFC 9293, section 3.3.1, have the meaning defined there. Sequence numbers are 0 to 2**32-1;
    ``snd_wnd`` and ``rcv_wnd`` are real numbers of bytes, not those of the header field.

    Args:
        settings: sizes and times; None: the defaults.
        iss: initial send sequence number, 0 to 2**32-1; None: a random one. Real stacks use
            :func:`~slirpy.tcp.isn.initial_sequence_number` (RFC 6528); repeatable tests choose one.
        ts_offset: added to the millisecond clock that timestamps carry, 0 to 2**32-1 (RFC 7323, section 5.4).
        stats: counters of unusual events; None: new ones.
        pool: limit of the receive windows of many connections together.

    Raises:
        ConfigError: an argument of another type, or ``iss`` or ``ts_offset`` is out of range.
    """

    __slots__ = (
        "ack_now",
        "cc",
        "challenge_after",
        "cwnd_filled",
        "delack_at",
        "dsack",
        "dupacks",
        "ecn",
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
        "rcv_round",
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
        "snd_limit",
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
        "undisturbed",
        "unreachable",
        "window_grown",
        "window_look",
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
        if stats is None:
            from slirpy.stats import Stats

            stats = Stats()
        if (type(settings), type(stats)) not in _RIGHT:
            _check_kinds(settings, stats)
        if pool is not None:
            instance("pool", pool, WindowPool, "a WindowPool")
        if iss is None:
            iss = int.from_bytes(os.urandom(4), "big")
        elif type(iss) is not int or not 0 <= iss <= MASK:
            whole("iss", iss, 0, MASK)
        if type(ts_offset) is not int or not 0 <= ts_offset <= MASK:
            whole("ts_offset", ts_offset, 0, MASK)
        self.settings = settings
        self.stats = stats
        self.state = CLOSED
        self.passive = False
        self.error = 0
        """Reason for the end of the connection: 0, or ECONNRESET, ECONNREFUSED, ETIMEDOUT or ECONNABORTED of
        ``errno``, or the value of :attr:`soft_error` when the connection was given up."""
        self.peer_reset = False
        """The peer sent a RST."""
        self.reset: tuple[int, int, int] | None = None
        """SEQ, ACK and flags of a RST that is due, also on a closed connection."""
        # Send side.
        self.iss = self.snd_una = self.snd_nxt = self.snd_max = iss
        self.snd_wnd = 0
        self.snd_wnd_max = 0
        self.snd_wl1 = self.snd_wl2 = 0
        self.snd_wscale = 0
        self.snd_buf = SendBuffer()
        self.snd_limit = min(settings.snd_buffer, ORDINARY)
        """Maximum number of bytes that are written and not acknowledged, on this path."""
        self.fin_queued = False
        """The user has shut down: FIN follows the last byte of the buffer."""
        self.syn_acked = False
        """SND.UNA is after our SYN. Sequence numbers alone do not show this, because they wrap after 4 GiB."""
        self.snd_up: int | None = None
        """SND.UP, the sequence number after the urgent data; None: there is none."""
        self.mss = min(settings.peer_mss, settings.mss)  # until the peer's SYN arrives
        """Maximum payload of a segment that we send, options subtracted."""
        self.cc: CongestionControl = settings.congestion(self.mss)
        self.cwnd_filled: int | None = None
        """SND.MAX when the congestion window was last full; acknowledgements of data before it let the window grow.
        None: it was not full when any of the data in flight was sent."""
        self.sent_at = 0
        """Time when data was last sent."""
        self.dupacks = 0
        self.in_recovery = False
        self.slow_path_only = False
        """The fast path must not be used: there is a recovery, or another state that only the slow path handles.
        Derived by :meth:`update_fast_path`. May be set a little longer than necessary."""
        self.undisturbed = False
        """Since this was set, nothing has happened but what a small exchange consists of, see
        :mod:`slirpy.nat.exchange`."""
        self.rack: RackState | None = None
        """State of loss detection by time; None: the peer does not permit SACK, or ``Settings.rack`` is off."""
        self.ecn: EcnState | None = None
        """State of explicit congestion notification; None: the peer did not offer it."""
        self.recover = iss
        """SND.MAX when recovery began, or when the retransmission timer expired."""
        self.prior_max = iss
        """SND.MAX at the first duplicate ACK. Data that limited transmit sends after it does not count as flight."""
        self.inflation = 0
        """Bytes added to the congestion window by duplicate ACKs in a recovery without SACK."""
        self.sacked: list[tuple[int, int]] = []
        """Ranges that the peer has reported, see :mod:`slirpy.tcp.loss.sack`."""
        self.high_rxt = self.rescue_rxt = iss
        """HighRxt and RescueRxt of RFC 6675, section 2: the end of the data retransmitted in this recovery, and the
        number that SND.UNA must pass before the last segment may be retransmitted, too."""
        self.resend_head = False
        """A retransmission of the first unacknowledged segment is due."""
        self.probe = False
        """A probe of the peer's closed window is due."""
        self.unreachable: tuple[int, int] | None = None
        """``errno`` value of the last ICMP error, and SND.UNA at that time."""
        self.probes = 0
        """Number of unanswered window probes and keep-alives."""
        # Receive side.
        self.irs = self.rcv_nxt = 0
        self.rcv_adv = 0
        """Right edge of the advertised window."""
        self.rcv_wscale = 0
        self.rcv_limit = settings.rcv_buffer_initial
        """Maximum number of bytes that the window offers now."""
        self.rcv_limit_max = settings.rcv_buffer
        """Maximum number of bytes that it can grow to on this path, also limited by the scaled header field."""
        self.rcv_round: tuple[int, int, int] | None = None
        """Start of a round trip, in which a window beyond the ordinary is measured: time, RCV.NXT, and the bytes of
        the round before; None: it has not grown so far."""
        self.pool = pool
        self.window_grown = False
        """The window has grown, and the connection is a member of the pool."""
        self.window_look = 0
        """Time from which on the pool has to know again that the connection is active."""
        self.last_ack = 0
        """RCV.NXT in the last segment that we sent."""
        self.rcv_queue: list[Buffer] = []
        """Data in order for the user. These are views of frames; :meth:`Connection.copy_received
        <slirpy.tcp.connection.Connection.copy_received>` copies what must survive the flush."""
        self.rcv_pending = 0
        """Number of bytes in ``rcv_queue``."""
        self.rcv_up: int | None = None
        """RCV.UP, the sequence number after the peer's urgent data; None: the user has taken it, or there is none."""
        self.reassembly = Reassembly()
        self.sack_recent: list[int] = []
        """Sequence numbers of the latest segments that arrived out of order, the latest first."""
        self.spare_acks = False
        """ACKs probably get lost, so batches get a second one, see :func:`slirpy.tcp.emit.acknowledge_twice`."""
        self.dsack: tuple[int, int] | None = None
        """Edges of data that has arrived twice, to be reported with the next ACK."""
        self.fin_seq: int | None = None
        """Sequence number of the peer's FIN, once it has arrived."""
        self.ack_now = False
        """An ACK is due."""
        self.noted_acks: list[tuple[int, bytes]] = []
        """SEG.ACK and options of ACKs to be sent before anything else, see :mod:`slirpy.tcp.answers`."""
        self.challenge_after = 0
        """Time from which another challenge ACK may be sent."""
        # Options.
        self.sack_ok = self.ts_ok = self.wscale_ok = False
        self.ts_recent = 0
        self.ts_offset = ts_offset
        # Timers.
        self.rtt = RtoEstimator(settings.rto_margin)
        self.rtt_seq: int | None = None
        self.rtt_time = 0
        self.retries = 0
        self.opened_at = -1
        """Time of opening, which happens once; -1: not yet."""
        self.progress_at = 0
        """Time of the last acknowledgement of new data, or the start of waiting for one, or for answers to probes, or
        the time of the last keep-alive."""
        self.heard_at = 0
        """Time of the last acceptable ACK."""
        self.timer_kind = NO_TIMER
        self.timer_at = 0
        self.loss_timer_at = 0
        """Deadline of loss detection by time, which is before that of the retransmission timer; 0: none."""
        self.delack_at = 0
        """Deadline of a delayed acknowledgement; 0: none."""

    # ------------------------------------------------------------------------------------- state

    def enter(self, state: State) -> None:
        """Change the state. All transitions happen here."""
        assert (self.state, state) in TRANSITIONS, f"{self.state} -> {state}"
        self.undisturbed = False
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
        """Enter ESTABLISHED, since both SYNs are acknowledged. A shutdown that waited for this takes effect."""
        if self.retries:  # our SYN was lost
            self.rtt.base = max(self.rtt.base, RTO_AFTER_LOST_SYN)
            self.cc.cwnd = self.mss  # RFC 5681, section 3.1
        self.enter(ESTABLISHED)
        if self.fin_queued:
            self.enter(FIN_WAIT_1)

    def measure_path(self) -> None:
        """Derive the largest windows from the handshake's round-trip time, see :mod:`slirpy.tcp.window`."""
        rtt, settings = self.rtt.srtt, self.settings
        self.snd_limit = most_for(rtt, settings.snd_buffer)
        self.rcv_limit_max = most_for(rtt, self.rcv_limit_max)

    @property
    def rcv_wnd(self) -> int:
        """Number of bytes from RCV.NXT to the right edge of the advertised window."""
        return (self.rcv_adv - self.rcv_nxt) & MASK

    @property
    def flight(self) -> int:
        """Number of sequence numbers that are sent and not acknowledged."""
        return (self.snd_nxt - self.snd_una) & MASK

    @property
    def fin_sent(self) -> bool:
        """True if SND.NXT is after our FIN."""
        return self.fin_queued and (self.snd_nxt - self.snd_una) & MASK > self.snd_buf.length

    @property
    def fin_received(self) -> bool:
        """True if everything that the peer will ever send has arrived."""
        return self.fin_seq is not None and (self.rcv_nxt - self.fin_seq) & MASK == 1

    def timestamp(self, now: int) -> int:
        """Return TSval: milliseconds, with the connection's own offset."""
        return (now // MS + self.ts_offset) & MASK

    def close_with(self, error: int) -> None:
        """Close because of ``error``, without sending anything."""
        if self.state is not CLOSED:
            self.error = error
            self.enter(CLOSED)

    def give_up(self, error: int) -> None:
        """Close because of ``error``. If the peer knows the connection, the next output is a RST."""
        known = self.state in SYNCHRONIZED or (self.state is SYN_RECEIVED and self.snd_max != self.iss)
        if known and self.state is not TIME_WAIT:
            # With the next sequence number and an ACK, so that every peer accepts it.
            self.reset = self.snd_max, self.rcv_nxt, RST | ACK
        self.close_with(error)

    @property
    def soft_error(self) -> int:
        """Problem of a connection that is still open: a value of ``errno``; 0: none.

        ETIMEDOUT: R1 has been reached (RFC 9293, MUST-20, SHLD-9). ENETUNREACH, EHOSTUNREACH or EPROTO: an ICMP error
        about data in flight (MUST-47, SHLD-25). The next answer of the peer resets it to 0. Users need not check it.
        The stack below should check whether the route to the peer is still valid.
        """
        if self.unreachable is not None and self.unreachable[1] == self.snd_una:
            return self.unreachable[0]
        limit = self.settings.r1
        silent = self.probes >= limit and self.heard_at < self.progress_at
        return errno.ETIMEDOUT if self.retries >= limit or silent else 0

    def deadline(self) -> int | None:
        """Return when :meth:`~slirpy.tcp.connection.Connection.handle_timeout` is due, on the clock of ``now``.

        None: never, unless a segment arrives or the user makes a call.
        """
        when = self.delack_at
        early = self.loss_timer_at
        if early and (not when or early < when):
            when = early
        if self.timer_kind is NO_TIMER:
            return when or None
        return when if when and when < self.timer_at else self.timer_at

    # ---------------------------------------------------------------------------- shared operations

    def take_syn_options(self, options: TcpOptions, window: int) -> None:
        """Process the options of the peer's SYN; ``window`` is that of its header."""
        settings = self.settings
        mss, wscale, sack_permitted, timestamps, _, _ = options
        if mss is None:
            mss = settings.peer_mss  # MUST-15
        self.wscale_ok = settings.window_scaling and wscale is not None
        if self.wscale_ok:
            self.snd_wscale = wscale or 0
        else:
            self.snd_wscale = 0
            self.rcv_wscale = 0
            self.rcv_limit_max = min(self.rcv_limit_max, 0xFFFF)
            self.rcv_limit = min(self.rcv_limit, 0xFFFF)
        if settings.timestamps and timestamps is not None:
            self.ts_ok = True
            self.ts_recent = timestamps[0]
        else:
            self.ts_ok = False
        self.sack_ok = settings.sack and sack_permitted
        self.rack = RackState() if self.sack_ok and settings.rack else None
        # MUST-16: the peer's limit and ours, less the options in every segment.
        self.mss = max(min(mss, settings.mss) - (12 if self.ts_ok else 0), MIN_MSS)
        self.cc = settings.congestion(self.mss)
        self.snd_wnd = self.snd_wnd_max = window  # never scaled in a SYN

    def go_back(self) -> None:
        """Prepare to send everything from SND.UNA again, except what the peer has reported by SACK."""
        self.undisturbed = False
        self.rtt_seq = None  # Karn's rule
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
        """Derive ``slow_path_only``, when a recovery begins or ends, or when the loss timer has expired."""
        self.slow_path_only = self.in_recovery or (self.rack is not None and self.rack.unsettled)
        if self.slow_path_only:
            self.undisturbed = False

    def flight_before(self, end: int) -> int:
        """Return how many bytes up to ``end`` were in flight when a loss occurred, to reduce the window from.

        ACKs arrive in batches. If one has moved SND.UNA and a later one of the same batch reports a loss, the data
        that the first one permits was not sent in between. It is counted nevertheless; otherwise the window would
        shrink by the data that the first ACK has acknowledged, in addition to the reduction.
        """
        return max((end - self.snd_una) & MASK, min(self.cc.cwnd, self.snd_wnd, self.snd_buf.length))

    def burst(self) -> int:
        """Return the maximum payload of one emitted piece, a multiple of the MSS."""
        if self.snd_up is not None:
            return self.mss  # a link that segments data would repeat the same urgent pointer in all segments
        mss = self.mss
        pieces = self.settings.max_burst // mss
        return pieces * mss if pieces > 1 else mss
