"""Reading the records of an answer (RFC 1035 section 4.1), as far as a cache must: names, times to live, EDNS.

Names are followed through their compression, so that an answer with a loop, a pointer forward, or a name longer than
255 bytes is known for what it is before a guest sees it: programs have died of those.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from slirpy.services.dns_message import HEADER, LABEL_MAX, NAME_MAX

__all__ = ["Records", "read_records"]

_HOPS_MAX = NAME_MAX // 2
"""More pointers than a name can have labels lead nowhere."""
_RECORD = struct.Struct(">HHIH")
_OPT = 41
_SOA = 6
_NAMES_AT = {2: 0, 5: 0, 12: 0, 15: 2, 33: 6, 39: 0}
"""Where in the data of NS, CNAME, PTR, MX, SRV and DNAME their only name begins; it goes to the end."""


@dataclass(slots=True)
class Records:
    """The records of an answer."""

    answers: int
    """How many stand in the answer section."""
    ttls: list[tuple[int, int]]
    """Offset and value of each time to live, in seconds; OPT, which has none, left out."""
    negative_ttl: int | None
    """For how long "there is no such thing" holds (RFC 2308 section 5): of the SOA in the authority section."""
    opt: tuple[int, int] | None
    """Where the OPT record begins and ends."""
    opt_flags: int
    """Its extended response code, version and flags, 32 bits."""
    end: int
    """Where the last record ends."""


class _Names:
    """Checks names of one message, each target of a pointer once."""

    __slots__ = ("_known", "_message")

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._known: dict[int, int] = {}
        """Length of the whole name at each offset that a pointer has led to; 0 if there is none."""

    def end(self, at: int) -> int:
        """Where a name ends; 0 if it is none."""
        return self._walk(at)[0]

    def _walk(self, at: int, hops: int = 0) -> tuple[int, int]:
        """Where the name at an offset ends there, and its whole length; zeros if it is none."""
        message = self._message
        start, size = at, 0
        while at < len(message):
            length = message[at]
            if length == 0:
                return (at + 1, size + 1) if size < NAME_MAX else (0, 0)
            if length <= LABEL_MAX:
                at += 1 + length
                size += 1 + length
                if size >= NAME_MAX:
                    return 0, 0
                continue
            if length < 0xC0 or at + 2 > len(message):
                return 0, 0
            target = int.from_bytes(message[at : at + 2], "big") & 0x3FFF
            if not HEADER <= target < start or hops == _HOPS_MAX:  # backward only, so there is no loop
                return 0, 0
            known = self._known.get(target)
            if known is None:
                known = self._known[target] = self._walk(target, hops + 1)[1]
            size += known
            return (at + 2, size) if known and size <= NAME_MAX else (0, 0)
        return 0, 0


def read_records(message: bytes, at: int) -> Records | None:
    """Read the records behind the question, which ends at ``at``; None if they cannot be read.

    What follows the last record is left alone: ``end`` tells where that is.
    """
    counts = struct.unpack_from(">3H", message, 6)
    names = _Names(message)
    records = Records(counts[0], [], None, None, 0, at)
    authority = range(counts[0], counts[0] + counts[1])
    for number in range(sum(counts)):
        data = names.end(at) + 10
        if data == 10 or data > len(message):
            return None
        kind, _, ttl, length = _RECORD.unpack_from(message, data - 10)
        end = data + length
        if end > len(message) or not _data_ok(names, kind, data, end):
            return None
        if kind == _OPT:
            if records.opt is not None:
                return None
            records.opt, records.opt_flags = (at, end), ttl
        else:
            if ttl & 0x80000000:
                ttl = 0  # RFC 2181 section 8
            records.ttls.append((data - 6, ttl))
            if kind == _SOA and number in authority:
                records.negative_ttl = min(ttl, int.from_bytes(message[end - 4 : end], "big"))
        at = end
    records.end = at
    return records


def _data_ok(names: _Names, kind: int, at: int, end: int) -> bool:
    """Whether the names in a record's data are in order. Only these types may be compressed (RFC 3597 section 4)."""
    if kind == _SOA:
        mailbox = names.end(at)
        return bool(mailbox) and mailbox < end and names.end(mailbox) == end - 20 and end - at >= 22
    offset = _NAMES_AT.get(kind)
    return offset is None or (at + offset < end and names.end(at + offset) == end)
