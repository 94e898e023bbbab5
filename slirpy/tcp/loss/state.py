"""State of loss detection and recovery of one connection (RFC 8985, section 5.3)."""

from __future__ import annotations

import enum

from slirpy.mypyc import Final
from slirpy.tcp.loss.prr import ProportionalRate
from slirpy.tcp.loss.spans import Spans

__all__ = ["PERSIST", "PROBE", "REORDER", "Episode", "LossTimer", "RackState"]

PERSIST: Final = 16
"""Number of recoveries after which a reordering window that D-SACKs have widened is reset (section 6.2, step 4)."""


class LossTimer(enum.Enum):
    """Purposes of the loss timer, which expires before the retransmission timer."""

    PROBE = 0
    REORDER = 1


PROBE: Final = LossTimer.PROBE
REORDER: Final = LossTimer.REORDER


class Episode:
    """A reaction to losses, which may turn out to be spurious, see :mod:`slirpy.tcp.loss.undo`."""

    __slots__ = ("end", "ranges", "stamp", "timeout", "una")

    def __init__(self, una: int, end: int, stamp: int | None, timeout: bool) -> None:
        self.una = una
        """SND.UNA when it began."""
        self.end = end
        """Sequence number at which it is over: when SND.UNA has passed it, D-SACKs refer to something else."""
        self.stamp = stamp
        """Timestamp of the first retransmission, until the first answer; None: there are no timestamps."""
        self.timeout = timeout
        """The cause was the retransmission timer."""
        self.ranges: list[tuple[int, int]] | None = []
        """Retransmitted data without a D-SACK yet, as distances from ``una``; None: there are too many ranges."""


class RackState:
    """State of loss detection and recovery of one connection. Names are those of RFC 8985, section 5.3."""

    __slots__ = (
        "delivered", "dsack_round", "dsacks", "end_seq", "episode", "has_lost", "has_news", "loss_timer", "min_rtt",
        "prr", "reo_wnd_mult", "reo_wnd_persist", "reordering_seen", "resent", "rtt", "safe_ack", "seen_nxt",
        "seen_una", "spans", "timer_expired", "tlp_end", "tlp_is_retrans", "xmit_at",
    )  # fmt: skip

    def __init__(self) -> None:
        self.spans = Spans()
        self.xmit_at, self.end_seq = -1, 0
        """Time of sending, and end, of the data that was sent last of all that has arrived."""
        self.rtt = 0
        """Round-trip time of that data."""
        self.min_rtt = 0
        """Shortest such round-trip time; 0 before the first."""
        self.reordering_seen = False
        self.reo_wnd_mult = 1
        self.reo_wnd_persist = PERSIST
        self.dsack_round: int | None = None
        """Number that SND.UNA must reach before a D-SACK may widen the window again."""
        self.resent = self.dsacks = 0
        """Number of retransmitted segments, rounded up; number of D-SACKs from the peer."""
        self.has_news = False
        """An ACK or the timer may allow losses to be detected."""
        self.has_lost = False
        """Some span counts as lost."""
        self.delivered = 0
        """Number of bytes that have arrived since recovery last sent data."""
        self.safe_ack = False
        """SND.UNA has moved since then, and no more losses were detected (SafeACK of RFC 9937)."""
        self.prr = ProportionalRate()
        self.episode: Episode | None = None
        """Latest reaction to losses, while it may be undone."""
        self.loss_timer = PROBE
        """Purpose of ``Connection.loss_timer_at``."""
        self.seen_una = self.seen_nxt = 0
        """SND.UNA and SND.NXT when the timer for a probe was last considered."""
        self.timer_expired = False
        """The loss timer has expired, and output must act on it."""
        self.tlp_end: int | None = None
        """TLP.end_seq, the end of the outstanding probe; None: there is none."""
        self.tlp_is_retrans = False
        """TLP.is_retrans: the probe was a retransmission."""

    def restart(self) -> None:
        """Discard what is known about data in flight, because everything is sent again from SND.UNA."""
        self.spans.items.clear()
        self.has_news = self.has_lost = self.timer_expired = False
        if self.episode is not None:
            self.episode.stamp = None
        self.delivered = 0
        self.tlp_end = None

    @property
    def unsettled(self) -> bool:
        """True if the next ACKs need the slow path, because of a probe, a timer, or the first echo after
        a loss.
        """
        episode = self.episode
        echo_awaited = episode is not None and episode.stamp is not None
        return echo_awaited or self.tlp_end is not None or self.timer_expired

    def reordering_window(self, srtt: int, certain: bool) -> int:
        """Return the reordering window in nanoseconds (section 6.2, step 4).

        Args:
            srtt: smoothed round-trip time, in nanoseconds.
            certain: enough has arrived to conclude a loss, if the path does not reorder.
        """
        if certain and not self.reordering_seen:
            return 0
        return min(self.reo_wnd_mult * self.min_rtt >> 2, srtt)

    def recovery_ended(self) -> None:
        """Reset a widened reordering window after enough recoveries."""
        self.reo_wnd_persist -= 1
        if self.reo_wnd_persist <= 0:
            self.reo_wnd_mult = 1
