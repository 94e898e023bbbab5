"""Cached answers: kept in their own bytes for as long as they allow, with the times to live counted down.

Each answer decides whether it is kept (RFC 2181, section 5; RFC 2308): it must be complete and readable, and state
how long it holds. A negative answer needs an SOA record for that. A failure is kept for one second, so that a guest
that asks in a loop does not flood the resolvers (RFC 9520).
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from operator import itemgetter

from slirpy.stats import Stats
from slirpy.units import SECOND
from slirpy.wire.dns import HEADER, NXDOMAIN, SERVFAIL, TRUNCATED, Query, Records

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import dataclass
else:
    from dataclasses import dataclass

__all__ = ["DnsCache", "time_to_live"]

MESSAGE_MAX = 4096
"""Longest answer to keep, in bytes. Together with the number of entries it bounds the memory."""
TTL_MAX = 86_400
NEGATIVE_TTL_MAX = 3_600
FAILURE_TTL = 1
_TTL = struct.Struct(">I")


def time_to_live(answer: bytes, records: Records) -> int:
    """The seconds for which an answer may be kept; 0 if it may not."""
    code = answer[3] & 0x0F
    if answer[2] & TRUNCATED or answer[4:6] == b"\0\0" or records.end != len(answer):
        return 0
    if records.opt_flags >> 24:
        return 0  # an extended response code, and all of those are failures
    if code == SERVFAIL:
        return FAILURE_TTL
    ttls = records.ttls
    lowest = min(ttls, key=itemgetter(1))[1] if ttls else 0
    if code == NXDOMAIN or (code == 0 and (not records.answers or records.negative_ttl is not None)):
        if records.negative_ttl is None:
            return 0  # it does not state how long it holds, or it is a referral
        return min(lowest, records.negative_ttl, NEGATIVE_TTL_MAX)
    return min(lowest, TTL_MAX) if code == 0 else 0


@dataclass(slots=True)
class _Entry:
    """An answer without its OPT record."""

    message: bytes
    ttls: list[tuple[int, int]]
    stored: int
    expires: int


class DnsCache:
    """Answers by :attr:`~slirpy.wire.dns.Query.cache_key`."""

    def __init__(self, size: int, stats: Stats) -> None:
        """``size`` is the maximum number of entries; with 0 nothing is kept."""
        self._size = size
        self._stats = stats
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    def __len__(self) -> int:
        """The number of entries, including expired ones that were not requested since."""
        return len(self._entries)

    def clear(self) -> None:
        """Remove all entries."""
        self._entries.clear()

    def get(self, query: Query, now: int) -> bytes | None:
        """The answer to a query, or None. ``now`` is in nanoseconds."""
        key = query.cache_key
        entry = self._entries.get(key) if key is not None else None
        if entry is None or key is None:
            return None
        if entry.expires <= now:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        age = (now - entry.stored) // SECOND
        message = bytearray(query.readdressed(entry.message))
        if age:
            for offset, ttl in entry.ttls:
                _TTL.pack_into(message, offset, max(ttl - age, 0))
        opt = query.opt()
        if opt:
            message += opt
            message[10:12] = (int.from_bytes(message[10:12], "big") + 1).to_bytes(2, "big")
        return bytes(message)

    def put(self, query: Query, answer: bytes, records: Records, now: int) -> None:
        """Keep an answer if it may be kept."""
        key = query.cache_key if self._size else None
        if key is None or len(answer) > MESSAGE_MAX:
            return
        seconds = time_to_live(answer, records)
        if not seconds:
            return
        ttls = records.ttls
        if records.opt is not None:
            start, end = records.opt
            if end != records.end:
                return  # OPT comes last in practice, but need not
            extra = int.from_bytes(answer[10:12], "big") - 1
            answer = answer[:10] + extra.to_bytes(2, "big") + answer[HEADER:start]
        if key not in self._entries and len(self._entries) >= self._size:
            self._entries.popitem(last=False)
            self._stats.dns_cache_evicted += 1
        self._entries[key] = _Entry(answer, ttls, now, now + seconds * SECOND)
        self._entries.move_to_end(key)
