"""What a connection is made with: sizes, times, and switches."""

from __future__ import annotations

from dataclasses import dataclass

from slirpy.config.numbers import is_whole, nanoseconds, switch
from slirpy.errors import ConfigError
from slirpy.tcp.congestion import CongestionFactory, Cubic
from slirpy.tcp.options import MAX_WSCALE
from slirpy.units import MS, SECOND

__all__ = ["Settings"]

ACK_LIMIT = 500 * MS
"""No acknowledgement is delayed for so long (RFC 9293, MUST-40)."""


_LEAST = {
    "mss": 1, "peer_mss": 1, "max_burst": 0, "rcv_buffer": 1, "rcv_first": 1, "snd_buffer": 1, "r1": 1,
    "time_wait": 0, "syn_timeout": 0, "user_timeout": 0,
}  # fmt: skip
_SIZES = ("mss", "peer_mss", "max_burst", "rcv_buffer", "rcv_first", "snd_buffer", "r1", "keepalive_count")
_SWITCHES = ("nodelay", "timestamps", "sack", "window_scaling", "rack", "keepalive", "idle_restart")
_MOST_MSS = 0xFFFF
"""What the option can say."""
_TIMES = ("delayed_ack", "syn_timeout", "user_timeout", "keepalive_idle", "keepalive_interval", "time_wait")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a connection is made with. Times are nanoseconds, sizes bytes.

    Raises:
        ConfigError: acknowledgements would be delayed for longer than the RFC allows.
    """

    mss: int = 1460
    """Largest segment that we can receive: the link's MTU less 40."""
    peer_mss: int = 536
    """Largest segment that a peer can receive whose SYN has no MSS option: 536 (RFC 9293, MUST-15). Choose more only
    where the peer's link is known."""
    max_burst: int = 0
    """Most payload bytes in one emitted piece: more than a segment where the link segments; 0: one segment."""
    rcv_buffer: int = 1 << 20
    """Bytes received and not consumed that we keep, at the most; bounds the window."""
    rcv_first: int = 1 << 16
    """The same for a user who has not taken so many yet. From there it grows with what the user takes."""
    snd_buffer: int = 1 << 20
    """Bytes written and not acknowledged that we keep."""
    nodelay: bool = True
    """Send small segments at once, without Nagle's algorithm (RFC 9293, section 3.7.4)."""
    timestamps: bool = True
    """Offer timestamps, and agree to those of the peer (RFC 7323, section 3)."""
    sack: bool = True
    """Offer selective acknowledgements, and agree to those of the peer (RFC 2018)."""
    window_scaling: bool = True
    """Offer window scaling, and agree to that of the peer (RFC 7323, section 2). Without it no window is larger than
    65,535 bytes."""
    delayed_ack: int = 10 * MS
    """Longest delay of an acknowledgement: less than 500 ms (RFC 9293, MUST-40); a guest waits for it here."""
    rack: bool = True
    """Notice losses by time (RFC 8985), where the peer permits SACK; else by RFC 6675's counting alone."""
    syn_timeout: int = 180 * SECOND
    """How long opening is tried: R2 of a SYN, three minutes at least (RFC 9293, MUST-23)."""
    user_timeout: int = 900 * SECOND
    """How long data is sent again, or a closed window probed, without any answer: R2 of RFC 9293, section 3.8.3, and
    the user time-out of its section 3.9.1."""
    r1: int = 3
    """Time-outs of the same data without an answer, or unanswered probes, after which the peer may be gone, and
    :attr:`Connection.soft_error` says so: R1 of RFC 9293, section 3.8.3."""
    keepalive: bool = False
    """Ask whether a silent peer is still there (RFC 9293, section 3.8.4)."""
    keepalive_idle: int = 7200 * SECOND
    """Silence after which it is asked first: two hours or more, says the RFC of the default (MUST-28)."""
    keepalive_interval: int = 75 * SECOND
    """Time between two questions without an answer."""
    keepalive_count: int = 9
    """Questions without an answer after which the connection ends by ETIMEDOUT; 2 at least, for one answer may be
    lost (MUST-29)."""
    time_wait: int = 60 * SECOND
    """2 MSL. The RFC's MSL of two minutes is for paths through the Internet; this path is one virtual cable."""
    idle_restart: bool = True
    """Start over with the initial window when nothing was sent for a retransmission time-out (RFC 5681, 4.1)."""
    congestion: CongestionFactory = Cubic
    """Makes the congestion control: a class or function of the segment size; see :mod:`slirpy.tcp.congestion`."""

    def __post_init__(self) -> None:
        for name in _TIMES:
            nanoseconds(name, getattr(self, name), lowest=None)  # of its bounds below
        for name in _SIZES:
            if not is_whole(value := getattr(self, name)):
                raise ConfigError(f"{name} {value!r} is not a whole number")
        for name in _SWITCHES:
            switch(name, getattr(self, name))
        for name, least in _LEAST.items():
            if (value := getattr(self, name)) < least:
                raise ConfigError(f"{name} {value} is too small; choose {least} or more")
        for name in ("mss", "peer_mss"):
            if (value := getattr(self, name)) > _MOST_MSS:
                raise ConfigError(f"{name} {value} is too large; choose {_MOST_MSS} or less")
        if not 0 <= self.delayed_ack < ACK_LIMIT:
            raise ConfigError(
                f"delayed_ack {self.delayed_ack} ns is not less than {ACK_LIMIT // MS} ms, which RFC 9293 demands"
                " (MUST-40); choose from 0 to 499 ms"
            )
        if self.keepalive and (
            min(self.keepalive_idle, self.keepalive_interval) <= 0 or self.keepalive_count < 2
        ):
            raise ConfigError(
                f"keepalive_idle {self.keepalive_idle} and keepalive_interval {self.keepalive_interval} must be more"
                f" than 0 ns, keepalive_count {self.keepalive_count} at least 2: one answer may be lost"
            )

    @property
    def wscale(self) -> int:
        """The smallest window scale that can express the receive buffer."""
        shift = 0
        while shift < MAX_WSCALE and 0xFFFF << shift < self.rcv_buffer:
            shift += 1
        return shift
