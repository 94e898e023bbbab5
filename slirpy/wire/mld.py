"""Multicast Listener Discovery, versions 1 and 2 (RFC 2710, RFC 3810): queries and reports.

A report of version 1 is read as if it had been sent in version 2 (RFC 3810 section 8.3.2), so that who tracks
listeners needs to know one of them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from struct import Struct

from slirpy.interfaces import Buffer
from slirpy.records import NamedTuple
from slirpy.wire import icmpv6, ipv6
from slirpy.wire.ipv6 import UNSPECIFIED, IPv6Header
from slirpy.wire.scope import is_link_local

__all__ = [
    "DONE",
    "HOP_LIMIT",
    "QUERY",
    "REPORT",
    "REPORT_V2",
    "ROUTERS_V2",
    "Change",
    "Query",
    "Record",
    "has_router_alert",
    "packet",
    "query",
    "read_query",
    "read_report",
    "report",
    "router_alert",
]

QUERY, REPORT, DONE, REPORT_V2 = 130, 131, 132, 143
HOP_LIMIT = 1
"""Hop limit of every message."""
ROUTERS_V2 = bytes.fromhex("ff020000000000000000000000000016")
"""The group to which reports of version 2 are sent (RFC 3810 section 5.2.14)."""
RECORDS_MAX = 64
"""Records of a report that are read: more than fit into a packet of 1280 bytes. The rest is ignored."""

_ROUTER_ALERT = bytes((5, 2, 0, 0))
"""The option, for MLD (RFC 2711 section 2.1)."""
_V1_LENGTH = 24
_QUERY_LENGTH = 28
_RECORD = Struct("!BBH16s")
_QUERY_TAIL = Struct("!BBH")
_CODE_LINEAR = 0x8000
"""Response codes below are milliseconds, from here on floating point (RFC 3810 section 5.1.3)."""


class Change(enum.IntEnum):
    """Types of records in a report (RFC 3810 section 5.2.12)."""

    IS_INCLUDE = 1
    IS_EXCLUDE = 2
    TO_INCLUDE = 3
    TO_EXCLUDE = 4
    ALLOW_NEW = 5
    BLOCK_OLD = 6


class Record(NamedTuple):
    """The wishes of a host concerning one group."""

    change: Change
    group: bytes
    sources: tuple[bytes, ...] = ()

    @property
    def joins(self) -> bool:
        """True if the host wants anything that is sent to the group."""
        if self.change in (Change.IS_EXCLUDE, Change.TO_EXCLUDE):
            return True
        return self.change is not Change.BLOCK_OLD and bool(self.sources)

    @property
    def leaves(self) -> bool:
        """True if the host wants nothing any more that is sent to the group."""
        return self.change in (Change.IS_INCLUDE, Change.TO_INCLUDE) and not self.sources


class Query(NamedTuple):
    """A router's question for listeners."""

    group: bytes
    """The group in question; unspecified: all groups."""
    response: int
    """Most milliseconds until the answer."""
    version: int
    sources: tuple[bytes, ...] = ()
    """With version 2: sources in question; none: all of them."""


def _is_from_link(header: IPv6Header, *, unspecified: bool) -> bool:
    if header.hop_limit != HOP_LIMIT:
        return False
    return is_link_local(header.source) or (unspecified and header.source == UNSPECIFIED)


def read_report(header: IPv6Header, message: memoryview) -> tuple[Record, ...] | None:
    """Read a message of at least four bytes whose type is 131, 132 or 143.

    None if it is cut short, has come from another link, or is not about a group. The unspecified source is taken,
    for a host without an address yet sends reports (RFC 3590). Unknown types of records are left out.
    """
    if not _is_from_link(header, unspecified=True) or len(message) < 8:
        return None
    if message[0] == REPORT_V2:
        return _read_records(message)
    group = bytes(message[8:_V1_LENGTH])
    if len(group) < 16 or not ipv6.is_multicast(group):
        return None
    return (Record(Change.IS_EXCLUDE if message[0] == REPORT else Change.TO_INCLUDE, group),)


def _read_records(message: memoryview) -> tuple[Record, ...] | None:
    records: list[Record] = []
    at = 8
    for _ in range(min(message[6] << 8 | message[7], RECORDS_MAX)):
        if at + _RECORD.size > len(message):
            return None
        kind, extra, count, group = _RECORD.unpack_from(message, at)
        at += _RECORD.size
        sources = _read_sources(message, at, count)
        if sources is None or not ipv6.is_multicast(group):
            return None
        at += 16 * count + 4 * extra
        if kind in Change._value2member_map_:
            records.append(Record(Change(kind), group, sources))
    return tuple(records)


def _read_sources(message: memoryview, at: int, count: int) -> tuple[bytes, ...] | None:
    if at + 16 * count > len(message):
        return None
    return tuple(bytes(message[i : i + 16]) for i in range(at, at + 16 * count, 16))


def read_query(header: IPv6Header, message: memoryview) -> Query | None:
    """Read a message of at least four bytes whose type is 130; the length is its version (RFC 3810 section 8.1)."""
    if not _is_from_link(header, unspecified=False) or len(message) < _V1_LENGTH:
        return None
    group = bytes(message[8:_V1_LENGTH])
    if group != UNSPECIFIED and not ipv6.is_multicast(group):
        return None
    code = message[4] << 8 | message[5]
    if len(message) < _QUERY_LENGTH:
        return Query(group, code, 1) if len(message) == _V1_LENGTH else None
    if code >= _CODE_LINEAR:
        code = (code & 0xFFF | 0x1000) << ((code >> 12 & 7) + 3)
    _, _, count = _QUERY_TAIL.unpack_from(message, _V1_LENGTH)
    sources = _read_sources(message, _QUERY_LENGTH, count)
    return None if sources is None else Query(group, code, 2, sources)


def report(source: bytes, records: Iterable[Record]) -> bytes:
    """Build a report of version 2, which is sent to :data:`ROUTERS_V2` after :func:`router_alert`."""
    packed = [
        _RECORD.pack(record.change, 0, len(record.sources), record.group) + b"".join(record.sources)
        for record in records
    ]
    return icmpv6.build(source, ROUTERS_V2, REPORT_V2, 0, len(packed), b"".join(packed))


def query(
    source: bytes, destination: bytes, group: bytes = UNSPECIFIED, *, response: int, interval: int = 125
) -> bytes:
    """Build a query of version 2 about one group or about all.

    Args:
        response: most milliseconds until the answer, 0 to 32767.
        interval: seconds between general queries, 0 to 127.
    """
    tail = _QUERY_TAIL.pack(2, interval, 0)  # a robustness of 2 (RFC 3810 section 9.1)
    return icmpv6.build(source, destination, QUERY, 0, response << 16, group + tail)


def router_alert(next_header: int = ipv6.ICMPV6) -> bytes:
    """The hop-by-hop header that every MLD message has (RFC 2711), to be put before it."""
    return bytes((next_header, 0)) + _ROUTER_ALERT + bytes((1, 0))


def has_router_alert(packet: Buffer) -> bool:
    """Report whether a packet, from its IPv6 header on, begins with a hop-by-hop header that alerts routers to MLD.

    Receivers ignore messages without it (RFC 3810 section 6.2).
    """
    start = ipv6.HEADER_LENGTH
    if packet[ipv6.NEXT_HEADER_AT] != ipv6.HOP_BY_HOP or len(packet) < start + 8:
        return False
    at, end = start + 2, min(start + (packet[start + 1] + 1) * 8, len(packet))
    while at + 4 <= end:
        if packet[at] == 0:
            at += 1
        elif bytes(packet[at : at + 4]) == _ROUTER_ALERT:
            return True
        else:
            at += 2 + packet[at + 1]
    return False


def packet(source: bytes, destination: bytes, message: bytes) -> bytes:
    """Build the packet of a message: with a hop limit of 1 and the Router Alert."""
    options = router_alert()
    length = len(options) + len(message)
    return ipv6.build(source, destination, ipv6.HOP_BY_HOP, length, HOP_LIMIT) + options + message
