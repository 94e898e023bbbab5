"""Settings of a connection: sizes, times, and switches."""

from __future__ import annotations

from typing import Final

from slirpy.checks import is_whole, nanoseconds, switch
from slirpy.errors import ConfigError
from slirpy.tcp.congestion import CongestionFactory, Cubic
from slirpy.tcp.options import MAX_WSCALE
from slirpy.units import MS, SECOND

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from slirpy.records import dataclass

__all__ = ["Settings"]

ACK_LIMIT: Final = 500 * MS
"""Acknowledgements are delayed for less than this (RFC 9293, MUST-40)."""

_MINIMA: Final = {
    "mss": 1, "peer_mss": 1, "max_burst": 0, "rcv_buffer": 1, "rcv_buffer_initial": 1, "snd_buffer": 1, "r1": 1,
    "time_wait": 0, "syn_timeout": 0, "user_timeout": 0, "keepalive_idle": 1, "keepalive_interval": 1,
    "keepalive_count": 1, "syn_linear_timeouts": 0, "rto_margin": 0, "peer_ack_delay": 0,
}  # fmt: skip
_SIZES: Final = (
    "mss",
    "peer_mss",
    "max_burst",
    "rcv_buffer",
    "rcv_buffer_initial",
    "snd_buffer",
    "r1",
    "keepalive_count",
    "syn_linear_timeouts",
)
_SWITCHES: Final = (
    "emit_runs",
    "nodelay",
    "timestamps",
    "sack",
    "window_scaling",
    "rack",
    "ecn",
    "keepalive",
    "idle_restart",
)
_TIMES: Final = (
    "delayed_ack",
    "syn_timeout",
    "user_timeout",
    "keepalive_idle",
    "keepalive_interval",
    "time_wait",
    "rto_margin",
    "peer_ack_delay",
)
_MAX_MSS: Final = 0xFFFF
"""Largest value of the option."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a connection. Times are nanoseconds, sizes bytes.

    Raises:
        ConfigError: a value is of the wrong kind or outside its range.
    """

    mss: int = 1460
    """Largest segment that we can receive: the link's MTU less the headers (40 bytes with IPv4, 60 with IPv6)."""
    peer_mss: int = 536
    """Largest segment that the peer can receive if its SYN has no MSS option: 536 with IPv4, 1220 with IPv6
    (RFC 9293, MUST-15). Choose more only if the peer's link is known."""
    max_burst: int = 0
    """Maximum payload of one emitted piece: more than a segment if the link segments data itself; 0: one segment."""
    emit_runs: bool = False
    """Emit new data that fills several segments as one piece, for callers that cut it themselves: the first segments
    of the piece are full, and PSH and FIN belong to the last one. Retransmissions are still emitted one by one."""
    rcv_buffer: int = 1 << 20
    """Maximum number of received bytes waiting for the user; limits the window. More than 1 MiB serves long paths:
    how much of it is used depends on the round-trip time, see :mod:`slirpy.tcp.window`."""
    rcv_buffer_initial: int = 1 << 16
    """Initial value of that limit. It grows with the data that the user takes."""
    snd_buffer: int = 1 << 20
    """Maximum number of bytes that are written and not acknowledged. What exceeds 1 MiB serves long paths only."""
    nodelay: bool = True
    """Send small segments at once, without Nagle's algorithm (RFC 9293, section 3.7.4)."""
    timestamps: bool = True
    """Offer timestamps, and accept those of the peer (RFC 7323, section 3)."""
    sack: bool = True
    """Offer selective acknowledgements, and accept those of the peer (RFC 2018)."""
    window_scaling: bool = True
    """Offer window scaling, and accept that of the peer (RFC 7323, section 2). Without it, windows are limited to
    65,535 bytes."""
    delayed_ack: int = 10 * MS
    """Longest delay of an acknowledgement: less than 500 ms (RFC 9293, MUST-40). Short, because a guest waits."""
    rack: bool = True
    """Detect losses by time (RFC 8985) if the peer permits SACK; otherwise by counting alone (RFC 6675)."""
    ecn: bool = False
    """Accept explicit congestion notification if the peer's SYN offers it (RFC 3168)."""
    rto_margin: int = 1 * MS
    """Minimum difference between the retransmission timeout and the smoothed round-trip time: G of RFC 6298, section
    2. Linux has 200 ms."""
    peer_ack_delay: int = 50 * MS
    """Longest delay of the acknowledgement of a lone segment that a tail loss probe allows for: TLP.max_ack_delay of
    RFC 8985, section 7.2. Linux and Windows delay for 40 ms; if a peer takes longer, a probe is sent in vain, which
    costs one segment. As a sender, Linux allows for 200 ms."""
    syn_linear_timeouts: int = 0
    """Number of times that a SYN is sent again without doubling the timeout. Linux has 4 since version 6.5."""
    syn_timeout: int = 180 * SECOND
    """Time after which an attempt to connect fails: R2 of a SYN, at least three minutes (RFC 9293, MUST-23)."""
    user_timeout: int = 900 * SECOND
    """Time for which data is retransmitted, or a closed window probed, without any answer: R2 of RFC 9293,
    section 3.8.3, and the user timeout of its section 3.9.1."""
    r1: int = 3
    """Number of timeouts of the same data, or of unanswered probes, after which the peer may be gone, and
    :attr:`Connection.soft_error` reports it: R1 of RFC 9293, section 3.8.3."""
    keepalive: bool = False
    """Check whether a silent peer is still there (RFC 9293, section 3.8.4)."""
    keepalive_idle: int = 7200 * SECOND
    """Silence after which the first keep-alive is sent; the RFC demands a default of at least two hours (MUST-28)."""
    keepalive_interval: int = 75 * SECOND
    """Time between unanswered keep-alives."""
    keepalive_count: int = 9
    """Number of unanswered keep-alives after which the connection ends with ETIMEDOUT; with ``keepalive`` at least 2,
    since one answer may get lost (MUST-29)."""
    time_wait: int = 60 * SECOND
    """2 MSL. The RFC's MSL of two minutes is for paths through the Internet; this path is one virtual cable."""
    idle_restart: bool = True
    """Restart with the initial window when nothing was sent for a retransmission timeout (RFC 5681, section 4.1)."""
    congestion: CongestionFactory = Cubic
    """Factory of the congestion control, a class or function of the segment size; see
    :mod:`slirpy.tcp.congestion`."""

    def __post_init__(self) -> None:
        for name in _TIMES:
            nanoseconds(name, getattr(self, name), lowest=None)  # their ranges are checked below
        for name in _SIZES:
            if not is_whole(value := getattr(self, name)):
                raise ConfigError(f"{name} {value!r} is not a whole number")
        for name in _SWITCHES:
            switch(name, getattr(self, name))
        for name, least in _MINIMA.items():
            if (value := getattr(self, name)) < least:
                raise ConfigError(f"{name} {value} is too small; choose {least} or more")
        for name in ("mss", "peer_mss"):
            if (value := getattr(self, name)) > _MAX_MSS:
                raise ConfigError(f"{name} {value} is too large; choose {_MAX_MSS} or less")
        if not 0 <= self.delayed_ack < ACK_LIMIT:
            raise ConfigError(
                f"delayed_ack {self.delayed_ack} ns is not less than {ACK_LIMIT // MS} ms, which RFC 9293 demands"
                " (MUST-40); choose from 0 to 499 ms"
            )
        if self.keepalive and self.keepalive_count < 2:
            raise ConfigError(
                f"keepalive_count {self.keepalive_count} must be at least 2: one answer may be lost"
            )
        if not callable(self.congestion):
            raise ConfigError(f"congestion {self.congestion!r} is not a class or function of the segment size")

    @property
    def wscale(self) -> int:
        """Smallest window scale that can express the receive buffer."""
        most = self.rcv_buffer + 0xFFFE  # rounded up to units of 65,535 bytes
        return min((most // 0xFFFF - 1).bit_length(), MAX_WSCALE)
