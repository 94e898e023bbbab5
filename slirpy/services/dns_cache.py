"""Answers that are kept for as long as they say, in their own bytes, with the times to live counted down.

What is kept is decided for each answer (RFC 2181 section 5, RFC 2308): it must be whole and readable, and say for
how long it holds. That there is nothing needs a SOA record that says so. A failure is kept for a second, so that a
guest that asks in a loop does not pass it on (RFC 9520).
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from dataclasses import dataclass

from slirpy.services.dns_message import HEADER, NXDOMAIN, SERVFAIL, Query
from slirpy.services.dns_wire import Records, read_records
from slirpy.stats import Stats
from slirpy.units import SECOND

__all__ = ["DnsCache", "records_of", "time_to_live"]

MESSAGE_MAX = 4096
"""Bytes of an answer that is kept; with the number of entries it bounds the memory."""
TTL_MAX = 86_400
NEGATIVE_TTL_MAX = 3_600
FAILURE_TTL = 1
_TRUNCATED = 0x02
_TTL = struct.Struct(">I")


def records_of(query: Query, answer: bytes) -> Records | None:
    """The records of an answer to a query; None if they cannot be read."""
    return read_records(answer, HEADER + (len(query.question) if answer[4:6] != b"\0\0" else 0))


def time_to_live(answer: bytes, records: Records) -> int:
    """For how many seconds an answer may be kept, 0 if not at all."""
    code = answer[3] & 0x0F
    if answer[2] & _TRUNCATED or answer[4:6] == b"\0\0" or records.end != len(answer):
        return 0
    if records.opt_flags >> 24:
        return 0  # an extended response code; all of them are failures
    if code == SERVFAIL:
        return FAILURE_TTL
    lowest = min((ttl for _, ttl in records.ttls), default=0)
    if code == NXDOMAIN or (code == 0 and (not records.answers or records.negative_ttl is not None)):
        if records.negative_ttl is None:
            return 0  # it does not say for how long, or it is a referral
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
    """Answers by :attr:`~slirpy.services.dns_message.Query.cache_key`."""

    def __init__(self, size: int, stats: Stats) -> None:
        """``size`` is the most entries; 0 keeps nothing."""
        self._size = size
        self._stats = stats
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    def __len__(self) -> int:
        """Entries, those that have expired unseen too."""
        return len(self._entries)

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()

    def get(self, query: Query, now: int) -> bytes | None:
        """The answer to a query, if there is one; ``now`` in nanoseconds."""
        key = query.cache_key
        entry = self._entries.get(key) if key is not None else None
        if entry is None or key is None:
            return None
        if entry.expires <= now:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        age = (now - entry.stored) // SECOND
        message = bytearray(query.mine(entry.message))
        if age:
            for offset, ttl in entry.ttls:
                _TTL.pack_into(message, offset, max(ttl - age, 0))
        opt = query.opt()
        if opt:
            message += opt
            message[10:12] = (int.from_bytes(message[10:12], "big") + 1).to_bytes(2, "big")
        return bytes(message)

    def put(self, query: Query, answer: bytes, records: Records, now: int) -> None:
        """Keep an answer, if it may be kept."""
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
                return  # it is at the end always, but need not be
            extra = int.from_bytes(answer[10:12], "big") - 1
            answer = answer[:10] + extra.to_bytes(2, "big") + answer[HEADER:start]
        if key not in self._entries and len(self._entries) >= self._size:
            self._entries.popitem(last=False)
            self._stats.dns_cache_evicted += 1
        self._entries[key] = _Entry(answer, ttls, now, now + seconds * SECOND)
        self._entries.move_to_end(key)
