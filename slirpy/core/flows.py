"""Snapshots of flows and guests, for people and programs."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from slirpy.interfaces import Events
from slirpy.units import SECOND

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import dataclass
else:
    from dataclasses import dataclass

__all__ = ["ENDS", "FlowInfo", "History", "NeighborInfo", "describe", "ending", "report_end"]

ENDS: Final = ("CLOSED", "REFUSED", "RESET", "TIMED-OUT", "UNREACHABLE", "ABORTED")
"""Ways in which flows end. CLOSED is the orderly end of TCP, and the idle timeout of UDP and ICMP."""

_BY_ERROR: Final = {
    0: "CLOSED",
    errno.ECONNREFUSED: "REFUSED",
    errno.ECONNRESET: "RESET",
    errno.EPIPE: "RESET",
    errno.ETIMEDOUT: "TIMED-OUT",
    errno.ENETUNREACH: "UNREACHABLE",
    errno.EHOSTUNREACH: "UNREACHABLE",
}


def ending(error: int) -> str:
    """Member of :data:`ENDS` for an ``errno`` value; 0 is an orderly end."""
    return _BY_ERROR.get(error, "ABORTED")


@dataclass(frozen=True, slots=True)
class FlowInfo:
    """A snapshot of one flow."""

    protocol: str
    """``"tcp"``, ``"udp"``, or ``"icmp"`` for echo requests."""
    state: str
    """For TCP our side's state of RFC 9293, or ``"CONNECTING"``; for UDP and ICMP ``"OPEN"``.

    For a flow that has ended, one of :data:`ENDS`.
    """
    guest: tuple[IPv4Address | IPv6Address, int]
    """The guest's address and port; for ICMP, the identifier instead of a port."""
    host: tuple[IPv4Address | IPv6Address, int] | None
    """The other end, as the guest addresses it. None for UDP and ICMP, where one socket serves all destinations."""
    inbound: bool
    """True if it was opened from outside, through a forward."""
    bytes_in: int
    """Payload bytes from the guest."""
    bytes_out: int
    """Payload bytes to the guest."""
    packets_in: int
    packets_out: int
    queued_in: int
    """Bytes from the guest that the far side has yet to accept."""
    queued_out: int
    """Bytes to the guest that it has yet to acknowledge."""
    age: float
    """Seconds since the flow began."""
    idle: float
    """Seconds since the last packet."""


def describe(
    protocol: str,
    state: str,
    guest: tuple[bytes, int],
    host: tuple[bytes, int] | None,
    inbound: bool,
    payload: tuple[int, int],
    packets: tuple[int, int],
    queued: tuple[int, int],
    started: int,
    last_activity: int,
    now: int,
) -> FlowInfo:
    """Describe a flow by what it counts: pairs are from and to the guest, times are in nanoseconds."""
    return FlowInfo(
        protocol,
        state,
        (ip_address(guest[0]), guest[1]),
        None if host is None else (ip_address(host[0]), host[1]),
        inbound,
        *payload,
        *packets,
        *queued,
        (now - started) / SECOND,
        (now - last_activity) / SECOND,
    )


def report_end(events: Events, serial: int, info: FlowInfo) -> None:
    """Report the end of a flow."""
    events.flow_ended(
        serial, info.state, info.bytes_in, info.bytes_out, info.packets_in, info.packets_out, info.age
    )


class History:
    """The last flows that ended, the latest last. They are described when somebody reads them, since few are read."""

    __slots__ = ("_entries",)

    def __init__(self, length: int) -> None:
        self._entries: deque[Callable[[], FlowInfo]] = deque(maxlen=length)

    def append(self, entry: Callable[[], FlowInfo]) -> None:
        """Add a flow; ``entry`` describes it, and must not keep it."""
        self._entries.append(entry)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[FlowInfo]:
        return (entry() for entry in self._entries)


@dataclass(frozen=True, slots=True)
class NeighborInfo:
    """A snapshot of one entry of the neighbour table."""

    address: IPv4Address | IPv6Address
    mac: str
    """Such as ``"52:54:00:12:34:56"``."""
    idle: float
    """Seconds since the last packet from it."""
