"""What loss detection and recovery remember of one connection (RFC 8985, section 5.3)."""

from __future__ import annotations

import enum

from slirpy.tcp.loss.prr import ProportionalRate
from slirpy.tcp.loss.spans import Spans

__all__ = ["PERSIST", "Episode", "LossTimer", "RackState"]

PERSIST = 16
"""Recoveries for which a reordering window that D-SACK has widened stays (section 6.2, step 4)."""


class LossTimer(enum.Enum):
    """What the timer that comes before the retransmission timer is for."""

    PROBE = 0
    REORDER = 1


class Episode:
    """A reaction to losses that may turn out to have been none, see :mod:`slirpy.tcp.loss.undo`."""

    __slots__ = ("end", "ranges", "stamp", "timeout", "una")

    def __init__(self, una: int, end: int, stamp: int | None, timeout: bool) -> None:
        self.una = una
        """SND.UNA when it began."""
        self.end = end
        """What SND.UNA passes when reports about it come no more."""
        self.stamp = stamp
        """Timestamp of the first retransmission, until the first answer. None: there are no timestamps."""
        self.timeout = timeout
        """The retransmission timer began it."""
        self.ranges: list[tuple[int, int]] | None = []
        """Sent again, and not told to have come twice: distances from ``una``. None: there are too many."""


class RackState:
    """What loss detection and recovery remember of one connection; names as in RFC 8985, section 5.3."""

    __slots__ = (
        "delivered", "dsack_round", "dsacks", "end_seq", "episode", "has_lost", "has_news", "loss_timer", "min_rtt",
        "prr", "reo_wnd_mult", "reo_wnd_persist", "reordering_seen", "resent", "rtt", "safe_ack", "seen_nxt",
        "seen_una", "spans", "timer_expired", "tlp_end", "tlp_is_retrans", "xmit_at",
    )  # fmt: skip

    def __init__(self) -> None:
        self.spans = Spans()
        self.xmit_at, self.end_seq = -1, 0
        """Of all that has arrived, what was sent last: when, and where it ended."""
        self.rtt = 0
        """How long that took."""
        self.min_rtt = 0
        """The shortest of those; 0 before the first."""
        self.reordering_seen = False
        self.reo_wnd_mult = 1
        self.reo_wnd_persist = PERSIST
        self.dsack_round: int | None = None
        """What SND.UNA must reach before a D-SACK may widen the window again."""
        self.resent = self.dsacks = 0
        """Segments sent again, or more; reports of the peer that something came twice."""
        self.has_news = False
        """There is news that may tell of losses."""
        self.has_lost = False
        """Some span counts as lost."""
        self.delivered = 0
        """Bytes that have arrived since recovery last sent something."""
        self.safe_ack = False
        """SND.UNA has moved since then, and nothing more was found lost."""
        self.prr = ProportionalRate()
        self.episode: Episode | None = None
        """The latest reaction to losses, while it may be undone."""
        self.loss_timer = LossTimer.PROBE
        """What ``Connection.early_at`` is for."""
        self.seen_una = self.seen_nxt = 0
        """SND.UNA and SND.NXT when the probe was last thought of."""
        self.timer_expired = False
        """The loss timer has expired, and output must act on it."""
        self.tlp_end: int | None = None
        """Where the probe ended that is not accounted for; one at a time."""
        self.tlp_is_retrans = False
        """It was a retransmission."""

    def restart(self) -> None:
        """Everything is sent again from SND.UNA on: what was known of what is on its way is void."""
        self.spans.items.clear()
        self.has_news = self.has_lost = self.timer_expired = False
        if self.episode is not None:
            self.episode.stamp = None
        self.delivered = 0
        self.tlp_end = None

    @property
    def unsettled(self) -> bool:
        """Whether the next acknowledgements must be examined: a probe or an answer to a retransmission is pending."""
        episode = self.episode
        echo_awaited = episode is not None and episode.stamp is not None
        return echo_awaited or self.tlp_end is not None or self.timer_expired

    def reordering_window(self, srtt: int, certain: bool) -> int:
        """Section 6.2, step 4; ``certain``: enough has arrived, or been lost, for a path that keeps the order."""
        if certain and not self.reordering_seen:
            return 0
        return min(self.reo_wnd_mult * self.min_rtt >> 2, srtt)

    def recovery_ended(self) -> None:
        """A recovery has ended: a wide window does not stay for ever."""
        self.reo_wnd_persist -= 1
        if self.reo_wnd_persist <= 0:
            self.reo_wnd_mult = 1
