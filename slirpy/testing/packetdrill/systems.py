"""Defaults of the systems for which scripts were written, and the strictness of comparison for them."""

from __future__ import annotations

from dataclasses import dataclass, field

from slirpy.units import MS, SECOND, US

__all__ = ["SYSTEMS", "System"]


@dataclass(frozen=True, slots=True)
class System:
    """Differences from slirpy's own defaults when a script for another system is run."""

    settings: dict[str, int | bool] = field(default_factory=dict)
    """Fields of :class:`~slirpy.tcp.Settings`."""
    defines: tuple[str, ...] = ("SLIRPY",)
    """Names for ``#ifdef``."""
    doubled: bool = False
    """True if SO_SNDBUF and SO_RCVBUF are doubled, for the system's overhead; half of the latter is window."""
    shown_rcvbuf: int = 0
    """SO_RCVBUF of a new socket, if it differs from the size of its window."""
    quick_acks: int = 0
    """Number of segments acknowledged at once at the beginning, or until data flows the other way."""
    rounded: bool = False
    """True if the receive buffer is rounded up to a multiple of the MSS when the connection is established."""
    unconnected_write: str = "EPIPE"
    """Error of a write to a socket that was never connected."""
    accept_reset: str = ""
    """Error of ``accept`` for a connection that was reset before; empty: the connection is returned."""
    snd_grows: int = 0
    """Size to which the send buffer grows for blocking calls, unless SO_SNDBUF was set."""
    close_resets: bool = True
    """True if ``close`` with unread data resets the connection (RFC 2525, section 2.17)."""
    repeats_fin: bool = False
    """True if an ACK after the FIN repeats it until it is acknowledged; a plain ACK is accepted as equivalent."""
    pause: int = 0
    """Nanoseconds that pass before each arriving segment: on a real machine no two events coincide."""
    push: bool = True
    """True if PSH is compared."""
    order: bool = True
    """True if the order of options and their padding is compared."""
    window_slack: bool = False
    """True if a window may be up to two segments smaller: slirpy's edge moves in steps of that size (RFC 9293,
    section 3.8.6.2.2), theirs with every byte.
    """
    silence: bool = True
    """True if output after the last ``>`` makes a script fail."""
    tolerance_percent: float = 0
    """Tolerance in percent of the time since the previous event."""


SYSTEMS: dict[str, System] = {
    "slirpy": System(),
    "linux": System(
        settings={
            "rcv_buffer": 15 << 20,
            "rcv_buffer_initial": 65_535,
            "snd_buffer": 256 << 10,
            "delayed_ack": 40 * MS,
            "idle_restart": False,
        },
        defines=("SLIRPY", "linux", "__linux__"),
        doubled=True,
        pause=US,
        shown_rcvbuf=540_000,
        quick_acks=16,
        push=False,
        window_slack=True,
        silence=False,
        tolerance_percent=12.5,
    ),
    "freebsd": System(
        settings={
            "rcv_buffer": 2 << 20,
            "rcv_buffer_initial": 65_536,
            "snd_buffer": 32 << 10,
            "delayed_ack": 40 * MS,
            "syn_timeout": 75 * SECOND,
            "keepalive_count": 8,
            "rack": False,
        },
        defines=("SLIRPY", "__FreeBSD__"),
        rounded=True,
        accept_reset="ECONNABORTED",
        close_resets=False,
        repeats_fin=True,
        snd_grows=2 << 20,
        pause=US,
        unconnected_write="ENOTCONN",
        push=False,
        window_slack=True,
        order=False,
        silence=False,
    ),
}
"""The systems by name. Linux's numbers are those of ``defaults.sh``, with which packetdrill's own tests begin."""
