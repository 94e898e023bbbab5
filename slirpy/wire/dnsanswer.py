"""Addresses in DNS answers (RFC 1035, RFC 3596), and answers without keys for encrypted hellos (RFC 9460, RFC 9849).

What comes from outside is read with a bound on the work: a message of thousands of records is not worth reading.
"""

from __future__ import annotations

import struct
from typing import Final

from slirpy.wire.dns import HEADER, LABEL_MAX, NAME_MAX, Query

__all__ = ["HTTPS", "SVCB", "addresses_in", "without_ech"]

A: Final = 1
CNAME: Final = 5
SOA: Final = 6
AAAA: Final = 28
SVCB: Final = 64
HTTPS: Final = 65
RECORDS_MAX: Final = 512
"""Records of an answer that are read for addresses."""
CHAIN_MAX: Final = 16
"""Longest chain of aliases."""
STEPS_MAX: Final = 2048
"""Labels and pointers that are looked at."""
_RECORD: Final = struct.Struct(">HHIH")
_COUNTS: Final = struct.Struct(">3H")
_SIZES: Final = {A: 4, AAAA: 16}
_ECH: Final = 5
"""Key of ``ech`` among the parameters of a service (RFC 9460, section 14.3.2)."""
_NAMES_AT: Final = {2: 0, 5: 0, 12: 0, 15: 2, 33: 6, 39: 0}
"""Offset of the only name in the data of NS, CNAME, PTR, MX, SRV and DNAME."""
_LENGTH_MAX: Final = 4096
"""Longest message that is written anew."""


class _Names:
    """Reads the names of one message, whole and in lower case, with a bound on the work."""

    __slots__ = ("_known", "_message", "_steps")

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._known: dict[int, bytes] = {}
        """Names at offsets that pointers lead to."""
        self._steps = STEPS_MAX

    def at(self, at: int) -> tuple[bytes, int]:
        """The name at an offset, and its end in the message; ``b""`` if it is invalid, or too much has been read."""
        labels: list[bytes] = []
        message, size, start = self._message, 1, at
        while at < len(message) and self._steps > 0:
            self._steps -= 1
            length = message[at]
            if length == 0:
                return b"".join(labels) + b"\0", at + 1
            if length <= LABEL_MAX:
                size += 1 + length
                if size > NAME_MAX:
                    break
                labels.append(message[at : at + 1 + length].lower())
                at += 1 + length
                continue
            target = int.from_bytes(message[at : at + 2], "big") & 0x3FFF
            if length < 0xC0 or at + 2 > len(message) or not HEADER <= target < start:
                break
            name = self._known.get(target)  # backward only, so there is no loop
            if name is None:
                name = self._known[target] = self.at(target)[0]
            if not name or size - 1 + len(name) > NAME_MAX:
                break
            return b"".join(labels) + name, at + 2
        return b"", 0


def addresses_in(query: Query, answer: bytes) -> list[tuple[bytes, int]]:
    """Return the addresses that an answer gives for the name in the question, each with its seconds to live.

    Aliases are followed, and each address lives no longer than the aliases that lead to it. Records of other names do
    not count, nor does anything in an answer that cannot be read, or that is an error.
    """
    size = _SIZES.get(query.qtype)
    if size is None or len(answer) < HEADER or answer[3] & 0x0F or answer[4:6] != b"\0\1":
        return []
    (count,) = struct.unpack_from(">H", answer, 6)
    names = _Names(answer)
    aliases: dict[bytes, tuple[bytes, int]] = {}
    addresses: dict[bytes, list[tuple[bytes, int]]] = {}
    at = HEADER + len(query.question)
    for _ in range(min(count, RECORDS_MAX)):
        owner, at = names.at(at)
        if not owner or at + 10 > len(answer):
            return []
        kind, category, ttl, length = _RECORD.unpack_from(answer, at)
        at += 10
        data, at = answer[at : at + length], at + length
        if at > len(answer):
            return []
        ttl = 0 if ttl & 0x80000000 else ttl  # RFC 2181, section 8
        if category != 1:
            continue
        if kind == query.qtype and length == size:
            addresses.setdefault(owner, []).append((data, ttl))
        elif kind == CNAME:
            aliases[owner] = names.at(at - length)[0], ttl
    name, lowest = query.name, 2**31
    for _ in range(CHAIN_MAX):
        if name in addresses:
            lowest = min(lowest, *(ttl for _, ttl in addresses[name]))  # RFC 2181, section 5.2
            return [(address, lowest) for address, _ in addresses[name]]
        if name not in aliases:
            break
        name, ttl = aliases[name]
        lowest = min(lowest, ttl)
    return []


def without_ech(query: Query, answer: bytes) -> bytes | None:
    """Return an answer without the parameter ``ech`` in its records of the types HTTPS and SVCB.

    Returns:
        The answer itself if it has none; None if it cannot be read, or is too long to be written anew.
    """
    counts = _COUNTS.unpack_from(answer, 6) if len(answer) >= HEADER else (0, 0, 0)
    at = HEADER + (len(query.question) if answer[4:6] != b"\0\0" else 0)
    if sum(counts) > RECORDS_MAX or len(answer) > _LENGTH_MAX:
        return None
    names = _Names(answer)
    records: list[bytes] = []
    found = False
    for _ in range(sum(counts)):
        owner, at = names.at(at)
        if not owner or at + 10 > len(answer):
            return None
        kind, category, ttl, length = _RECORD.unpack_from(answer, at)
        start, at = at + 10, at + 10 + length
        if at > len(answer):
            return None
        data = _data(names, answer, kind, start, at)
        if data is not None and kind in (SVCB, HTTPS):
            plain = _without(data)
            found = found or plain != data
            data = plain
        if data is None:
            return None
        records.append(owner + _RECORD.pack(kind, category, ttl, len(data)) + data)
    if not found:
        return answer
    whole = answer[: HEADER + len(query.question)] + b"".join(records)
    return whole if len(whole) <= 65_535 else None


def _data(names: _Names, message: bytes, kind: int, start: int, end: int) -> bytes | None:
    """The data of a record, with its names whole; None if it cannot be read."""
    if kind == SOA:
        first, at = names.at(start)
        second, at = names.at(at) if first else (b"", 0)
        return first + second + message[at:end] if second and at == end - 20 else None
    if kind not in _NAMES_AT:
        return message[start:end]
    at = start + _NAMES_AT[kind]
    name, _ = names.at(at) if at < end else (b"", 0)
    return message[start:at] + name if name else None


def _without(data: bytes) -> bytes | None:
    """The data of an HTTPS or SVCB record without the key ``ech``, also as a mandatory one; None if it is invalid."""
    target, at = _Names(data).at(2)
    if not target or at > len(data):
        return None
    kept = [data[:at]]
    while at + 4 <= len(data):
        key, length = struct.unpack_from(">HH", data, at)
        value = data[at + 4 : at + 4 + length]
        if len(value) != length:
            return None
        if key == 0:  # the keys that a client must know
            value = b"".join(value[n : n + 2] for n in range(0, length, 2) if value[n : n + 2] != b"\0\5")
        if key != _ECH and (key or value):
            kept.append(struct.pack(">HH", key, len(value)) + value)
        at += 4 + length
    return b"".join(kept) if at == len(data) else None
