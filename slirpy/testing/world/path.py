"""The path of a packet through the simulated world: routers that decrement its time to live, and a bottleneck.

:class:`Shape` describes the relevant header fields of a packet, :class:`Path` the routers, and :func:`obstacle` the
result.
"""

from __future__ import annotations

import errno

from slirpy.interfaces import IcmpReport
from slirpy.records import NamedTuple
from slirpy.wire import icmp, icmpv6
from slirpy.wire.icmp import Cause
from slirpy.wire.ip import family_of

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
_HEADER = 8
"""Bytes of a UDP or ICMP header."""
_CAUSES = {
    errno.ENETUNREACH: Cause.NET_UNREACHABLE,
    errno.EHOSTUNREACH: Cause.HOST_UNREACHABLE,
    errno.ECONNREFUSED: Cause.PORT_UNREACHABLE,
    errno.EACCES: Cause.PROHIBITED,
}


def _code_of(cause: Cause, destination: bytes) -> tuple[int, int]:
    """Type and code of the error about a packet."""
    return icmp.code_of(cause) if len(destination) == 4 else icmpv6.code_of(cause)


class Shape(NamedTuple):
    """Header fields of a packet other than its addresses."""

    ttl: int = 64
    dont_fragment: bool = False
    """True if nobody may fragment it; routers never fragment IPv6 packets."""


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


def obstacle(path: Path, shape: Shape, length: int, destination: bytes) -> Obstacle | None:
    """Return the obstacle for a packet with ``length`` bytes of payload after the UDP or ICMP header; None: it
    arrives.
    """
    hops = len(path.hops)
    if shape.ttl <= hops:
        kind, code = _code_of(Cause.OUT_OF_TIME, destination)
        return Obstacle(errno.EHOSTUNREACH, kind, code, 0, path.hops[shape.ttl - 1], 256 - shape.ttl)
    if length + _HEADER + family_of(destination).header_length > path.mtu and shape.dont_fragment:
        kind, code = _code_of(Cause.TOO_BIG, destination)
        reporter = path.hops[-1] if hops else None
        return Obstacle(errno.EMSGSIZE, kind, code, path.mtu, reporter, 256 - hops)
    return None


def report_of(met: Obstacle, destination: tuple[bytes, int], payload: bytes) -> IcmpReport:
    """Return a router's report about a packet that met an obstacle."""
    reporter = met.reporter or bytes(len(destination[0]))
    return IcmpReport(met.error, met.kind, met.code, met.info, reporter, *destination, payload[:QUOTE], met.ttl)


def refusal(path: Path, error: int, destination: tuple[bytes, int], payload: bytes) -> IcmpReport | None:
    """Return the report about a packet that fails with ``error``; None for errors that ICMP does not report.

    The far host refuses a port; the last router reports that a host or network does not exist.
    """
    cause = _CAUSES.get(error)
    if cause is None:
        return None
    kind, code = _code_of(cause, destination[0])
    hops = path.hops
    reporter = hops[-1] if hops and error != errno.ECONNREFUSED else destination[0]
    ttl = 64 - len(hops)
    return IcmpReport(error, kind, code, 0, reporter, *destination, payload[:QUOTE], ttl)


def shaped(before: Shape, ttl: int, dont_fragment: bool | None) -> Shape:
    """Apply a send's arguments to the shape of the previous packet."""
    return Shape(ttl or before.ttl, before.dont_fragment if dont_fragment is None else dont_fragment)
