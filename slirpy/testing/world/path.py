"""The path of a packet through the simulated world: routers that decrement its time to live, and a bottleneck.

:class:`Shape` describes the relevant header fields of a packet, :class:`Path` the routers, and :func:`obstacle` the
result.
"""

from __future__ import annotations

import errno
from typing import NamedTuple

from slirpy.interfaces import IcmpReport

__all__ = [
    "DIRECT",
    "PLAIN",
    "Obstacle",
    "Path",
    "Shape",
    "obstacle",
    "refusal",
    "report_of",
    "shaped",
]

QUOTE = 548
_HEADERS = 28
_UNREACHABLE, _TIME_EXCEEDED = 3, 11
_FRAGMENTATION_NEEDED = 4
_CODES = {errno.ENETUNREACH: 0, errno.EHOSTUNREACH: 1, errno.ECONNREFUSED: 3, errno.EACCES: 13}


class Shape(NamedTuple):
    """Header fields of a packet other than its addresses."""

    ttl: int = 64
    dont_fragment: bool = False
    """Whether DF is set."""


PLAIN = Shape()


class Path(NamedTuple):
    """The routers between the host and a destination."""

    hops: tuple[bytes, ...] = ()
    """Addresses of the routers, nearest first."""
    mtu: int = 65535
    """MTU of the link behind the last router; without a router, of the host's own link."""


DIRECT = Path()


class Obstacle(NamedTuple):
    """The reason why a packet does not arrive. Without a reporter the host itself refused it."""

    error: int
    kind: int
    code: int
    info: int
    reporter: bytes | None
    ttl: int


def obstacle(path: Path, shape: Shape, length: int) -> Obstacle | None:
    """Return the obstacle for a packet with ``length`` bytes of payload after the UDP or ICMP header; None: it
    arrives.
    """
    hops = len(path.hops)
    if shape.ttl <= hops:
        reporter = path.hops[shape.ttl - 1]
        return Obstacle(errno.EHOSTUNREACH, _TIME_EXCEEDED, 0, 0, reporter, 256 - shape.ttl)
    if length + _HEADERS > path.mtu and shape.dont_fragment:
        reporter_or_none = path.hops[-1] if hops else None
        return Obstacle(
            errno.EMSGSIZE, _UNREACHABLE, _FRAGMENTATION_NEEDED, path.mtu, reporter_or_none, 256 - hops
        )
    return None


def report_of(met: Obstacle, destination: tuple[bytes, int], payload: bytes) -> IcmpReport:
    """Return a router's report about a packet that met an obstacle."""
    reporter = met.reporter or bytes(len(destination[0]))
    return IcmpReport(met.error, met.kind, met.code, met.info, reporter, *destination, payload[:QUOTE], met.ttl)


def refusal(path: Path, error: int, destination: tuple[bytes, int], payload: bytes) -> IcmpReport | None:
    """Return the report about a packet that fails with ``error``; None for errors that ICMP does not report.

    The far host refuses a port; the last router reports that a host or network does not exist.
    """
    code = _CODES.get(error)
    if code is None:
        return None
    hops = path.hops
    reporter = hops[-1] if hops and error != errno.ECONNREFUSED else destination[0]
    ttl = 64 - len(hops)
    return IcmpReport(error, _UNREACHABLE, code, 0, reporter, *destination, payload[:QUOTE], ttl)


def shaped(before: Shape, ttl: int, dont_fragment: bool | None) -> Shape:
    """Apply a send's arguments to the shape of the previous packet."""
    return Shape(ttl or before.ttl, before.dont_fragment if dont_fragment is None else dont_fragment)
