"""Defaults of the systems that scripts were written for, and how closely such scripts are compared."""

from __future__ import annotations

from dataclasses import dataclass, field

from slirpy.units import MS, SECOND, US

__all__ = ["SYSTEMS", "System"]


@dataclass(frozen=True, slots=True)
class System:
    """What is different from slirpy's own defaults when a script for another system is run."""

    settings: dict[str, int | bool] = field(default_factory=dict)
    """Fields of :class:`~slirpy.tcp.Settings`."""
    defines: tuple[str, ...] = ("SLIRPY",)
    """Names for ``#ifdef``."""
    doubled: bool = False
    """SO_SNDBUF and SO_RCVBUF are doubled, for the system's own needs; half of the latter is window."""
    shown_rcvbuf: int = 0
    """SO_RCVBUF of a new socket, if it is not the size of its window."""
    quick_acks: int = 0
    """How many segments are acknowledged at once at the beginning, or until data goes the other way."""
    rounded: bool = False
    """The receive buffer is rounded up to a multiple of the MSS when the connection is established."""
    unconnected_write: str = "EPIPE"
    """The error of a write to a socket that was never connected."""
    accept_reset: str = ""
    """The error of ``accept`` for a connection that was reset before; nothing: it is returned."""
    snd_grows: int = 0
    """How large the send buffer becomes for calls that block, unless SO_SNDBUF was set."""
    close_resets: bool = True
    """``close`` with unread data resets the connection (RFC 2525, section 2.17)."""
    repeats_fin: bool = False
    """An ACK that follows the FIN has it once more, until it is acknowledged; an ACK alone is taken for that."""
    pause: int = 0
    """Nanoseconds that pass before each segment that arrives: on a real machine no two things happen at once."""
    push: bool = True
    """PSH is compared."""
    order: bool = True
    """The order of options and their padding is compared."""
    window_slack: bool = False
    """A window may be up to two segments smaller: our edge moves when that is worth so much (RFC 9293, section
    3.8.6.2.2), theirs with every byte."""
    silence: bool = True
    """What is sent after the last ``>`` makes a script fail."""
    tolerance_percent: float = 0
    """Of the time since the event before."""


SYSTEMS: dict[str, System] = {
    "slirpy": System(),
    "linux": System(
        settings={
            "rcv_buffer": 15 << 20,
            "rcv_first": 65_535,
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
            "rcv_first": 65_536,
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
