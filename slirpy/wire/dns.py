"""DNS messages (RFC 1035), as far as a forwarder has to read them.

Of a query that is the header, the question and EDNS (RFC 6891). Everything else passes through byte for byte, so a
guest can use whatever its resolver supports, including extensions that do not exist yet.

Of an answer it is what a cache needs: names, times to live, EDNS. Names are followed through their compression, so an
answer with a pointer loop, a forward pointer or a name longer than 255 bytes is recognized before a guest sees it:
such messages have crashed programs.
"""

from __future__ import annotations

import struct
from typing import Final

from slirpy.records import NamedTuple

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import dataclass
else:
    from dataclasses import dataclass

__all__ = [
    "BADVERS",
    "FORMERR",
    "NOTIMP",
    "NXDOMAIN",
    "REFUSED",
    "SERVFAIL",
    "Edns",
    "Query",
    "Records",
    "make_query",
    "read_query",
    "read_records",
    "records_of",
]

HEADER: Final = 12
FORMERR: Final = 1
SERVFAIL: Final = 2
NXDOMAIN: Final = 3
NOTIMP: Final = 4
REFUSED: Final = 5
BADVERS: Final = 16
"""An extended response code: its upper eight bits are in an OPT record (RFC 6891, section 6.1.3)."""
TRUNCATED: Final = 0x02
"""The TC bit, in the third byte of a message."""
NAME_MAX: Final = 255
LABEL_MAX: Final = 63
RECORDS_MAX: Final = 1000
"""Records of an answer; one with more is not read, and so not believed."""
STEPS_MAX: Final = 4096
"""Labels and pointers of all its names that are looked at. That is enough, unless a message was crafted to be slow
to read."""
UDP_SIZE_MIN: Final = 512
"""UDP payload that every client accepts (RFC 1035, section 4.2.1)."""
_RESPONSE: Final = 0x8000
_OPCODE: Final = 0x7800
_AUTHORITATIVE: Final = 0x0400
_RECURSION_DESIRED: Final = 0x0100
_RECURSION_AVAILABLE: Final = 0x0080
_AUTHENTIC: Final = 0x0020
_CHECKING_DISABLED: Final = 0x0010
_OPT_SIZE: Final = 1232
"""UDP size that slirpy's own answers advertise, as recommended since the DNS flag day of 2020."""
_DNSSEC_OK: Final = 0x8000
_HARMLESS: Final = frozenset((10, 11, 12))
"""EDNS options that do not change the answer: cookie, keep-alive, padding (RFC 7873, 7828, 7830)."""
_META: Final = frozenset((0, 41, *range(128, 256)))
"""Types that exist only in questions, such as AXFR and ANY, or belong to one message (RFC 6895, section 3.1)."""
_IN: Final = b"\0\1"
_ANY: Final = b"\0\xff"
_OPT: Final = b"\0\x29"
_OPT_TYPE: Final = 41
_SOA: Final = 6
_HOPS_MAX: Final = NAME_MAX // 2
"""No valid name goes through more pointers than it can have labels."""
_RECORD: Final = struct.Struct(">HHIH")
_COUNTS: Final = struct.Struct(">3H")
_NAMES_AT: Final = {2: 0, 5: 0, 12: 0, 15: 2, 33: 6, 39: 0}
"""Offset of the only name in the data of NS, CNAME, PTR, MX, SRV and DNAME; it extends to the end."""


# ------------------------------------------------------------------------------------------------- queries


class Edns(NamedTuple):
    """The OPT record of a query."""

    udp_size: int
    """Bytes of UDP payload that the client accepts, 512 or more."""
    dnssec: bool
    """The DO bit (RFC 3225)."""
    harmless: bool
    """True if no option would change the answer, as the client's subnet would (RFC 7871)."""
    record: bytes
    """The record itself, without its owner."""


class Query:
    """A query whose header and question can be read.

    Attributes:
        message: the whole message.
        question: name, type and class as they stand in the message. Empty if there is not exactly one question, and
            the answer to that is FORMERR (RFC 9619).
        name: the name in wire format and lower case. (Length bytes are below the letters, so they stay the same.)
        qtype: the type.
        is_plain: whether this is an ordinary query with one question and nothing behind it but EDNS.
        edns: EDNS of version 0, if the query has it.
        refusal: response code with which an authoritative server must refuse the query; 0 if it can be answered.
    """

    __slots__ = ("edns", "is_plain", "message", "name", "qtype", "question", "refusal")

    def __init__(
        self,
        message: bytes,
        question: bytes,
        is_plain: bool = False,
        edns: Edns | None = None,
        refusal: int = 0,
    ) -> None:
        self.message = message
        self.question = question
        self.name = question[:-4].lower()
        self.qtype = int.from_bytes(question[-4:-2], "big")
        self.is_plain = is_plain
        self.edns = edns
        self.refusal = refusal

    def __repr__(self) -> str:
        return f"Query({self.message!r})"

    @property
    def is_internet(self) -> bool:
        """True if the class is IN."""
        return self.question[-2:] == _IN

    @property
    def accepts_internet(self) -> bool:
        """True if records of the class IN answer the query: its class is IN or ANY."""
        return self.question[-2:] in (_IN, _ANY)

    @property
    def validates(self) -> bool:
        """True if the client checks signatures itself: it has set CD and DO (RFC 6147, section 3)."""
        return bool(self.message[3] & _CHECKING_DISABLED) and self.edns is not None and self.edns.dnssec

    @property
    def share_key(self) -> bytes:
        """Key of queries that share an answer: everything but the identifier and the case of the name."""
        end = HEADER + len(self.question)
        return self.message[2:HEADER] + self.name + self.message[end - 4 :]

    @property
    def cache_key(self) -> bytes | None:
        """Key of queries that one cached answer can serve; None if no cached answer may.

        It covers the question, the bits RD, AD and CD (RFC 6840, sections 5.7 and 5.9), and DO (RFC 3225).
        """
        if not self.is_plain or self.qtype in _META:
            return None
        edns = self.edns
        if edns is not None and not edns.harmless:
            return None
        flags = self.message[2] & 1 | self.message[3] & (_AUTHENTIC | _CHECKING_DISABLED)
        return bytes((flags | (edns is not None and edns.dnssec) << 1,)) + self.name + self.question[-4:]

    @property
    def udp_size(self) -> int:
        """The longest answer in bytes that the client accepts over UDP."""
        return UDP_SIZE_MIN if self.edns is None else self.edns.udp_size

    def upstream(self, identifier: int, question: bytes) -> bytes:
        """The message with another identifier, and with the question in another case."""
        return b"".join(
            (
                identifier.to_bytes(2, "big"),
                self.message[2:HEADER],
                question,
                self.message[HEADER + len(question) :],
            )
        )

    def answered_by(self, answer: bytes, identifier: int, question: bytes | None = None) -> bool:
        """Report whether a message answers this query, sent with ``identifier`` (RFC 5452, section 9.1).

        The answer must repeat the question, in whatever case; only an error may omit it. With ``question`` the case
        must match too.
        """
        if len(answer) < HEADER:
            return False
        number, flags, questions = _COUNTS.unpack_from(answer)
        own = int.from_bytes(self.message[2:4], "big")
        if number != identifier or not flags & _RESPONSE or (flags ^ own) & _OPCODE:
            return False
        if questions == 0:
            return bool(flags & 0x000F)
        repeated = answer[HEADER : HEADER + len(self.question)]
        if questions != 1 or repeated[-4:] != self.question[-4:]:
            return False
        return repeated == question if question is not None else repeated[:-4].lower() == self.name

    def readdressed(self, answer: bytes) -> bytes:
        """An answer to the same question, with this query's identifier and with the question in its case."""
        if answer[4:6] == b"\0\0":
            return self.message[:2] + answer[2:]
        end = HEADER + len(self.question)
        return b"".join((self.message[:2], answer[2:HEADER], self.question, answer[end:]))

    def opt(self) -> bytes:
        """The OPT record for an answer if the query had one (RFC 6891, section 6.1.1), else nothing."""
        return b"" if self.edns is None else _opt_record(0, dnssec=self.edns.dnssec)

    def reply(self, code: int, records: bytes = b"", count: int = 0, *, authoritative: bool = False) -> bytes:
        """Build an answer by slirpy itself.

        Args:
            code: the response code, 0 to 4095. A code above 15 needs an OPT record, and so adds one.
            records: the answer section in wire format.
            count: number of records in it.
            authoritative: whether slirpy is the source of them.
        """
        flags = int.from_bytes(self.message[2:4], "big") & (_OPCODE | _RECURSION_DESIRED | _CHECKING_DISABLED)
        flags |= _RESPONSE | _RECURSION_AVAILABLE | code & 15 | (_AUTHORITATIVE if authoritative else 0)
        opt = _opt_record(code >> 4) if code > 15 else self.opt()
        identifier = int.from_bytes(self.message[:2], "big")
        header = struct.pack(">6H", identifier, flags, 1 if self.question else 0, count, 0, 1 if opt else 0)
        return b"".join((header, self.question, records, opt))

    def truncated(self) -> bytes:
        """An empty answer with TC set, which makes the client ask again over TCP (RFC 2181, section 9)."""
        message = bytearray(self.reply(0))
        message[2] |= TRUNCATED
        return bytes(message)


def read_query(message: bytes) -> Query | None:
    """Read a query; None if the message is not a query and must not be answered.

    An answer is not a query: replying to one could start a loop.
    """
    if len(message) < HEADER or message[2] & 0x80:
        return None
    end = _question_end(message) if message[4:6] == b"\0\1" else HEADER
    question = message[HEADER:end]
    if not question:
        return Query(message, question)
    if message[2] & _OPCODE >> 8:
        return Query(message, question, refusal=NOTIMP)
    if not any(message[6:12]):
        return Query(message, question, end == len(message))
    return _with_records(message, question, end)


def make_query(like: Query, name: bytes, qtype: int | None = None) -> Query:
    """A query for another name (in wire format) or type, with the flags and the EDNS of ``like``."""
    tail = like.question[-4:] if qtype is None else qtype.to_bytes(2, "big") + like.question[-2:]
    edns = b"" if like.edns is None else b"\0" + like.edns.record
    counts = bytes((0, 1, 0, 0, 0, 0, 0, 1 if edns else 0))
    return Query(like.message[:4] + counts + name + tail + edns, name + tail, True, like.edns)


def _opt_record(code: int, *, dnssec: bool = False) -> bytes:
    """An OPT record of version 0, with the upper bits of a response code."""
    return b"\0" + _OPT + struct.pack(">HBBHH", _OPT_SIZE, code, 0, _DNSSEC_OK if dnssec else 0, 0)


def _with_records(message: bytes, question: bytes, at: int) -> Query:
    """Read a query with records behind its question, which ends at ``at``. Only OPT matters to us."""
    counts = _COUNTS.unpack_from(message, 6)
    additional = counts[0] + counts[1]
    opt: tuple[int, int, int] | None = None
    start = at
    for number in range(sum(counts)):
        data = _name_end(message, at) + 10
        end = data + int.from_bytes(message[data - 2 : data], "big")
        if data == 10 or end > len(message):
            return Query(message, question, refusal=FORMERR)
        if number >= additional and message[data - 10 : data - 8] == _OPT:
            if opt is not None:
                return Query(message, question, refusal=FORMERR)  # RFC 6891, section 6.1.1
            opt = at, data, end
        at = end
    if opt is None:
        return Query(message, question)
    owner, data, end = opt
    size, _, version, flags = struct.unpack_from(">HBBH", message, data - 8)
    if not _is_root(message, owner, data - 10):
        return Query(message, question, refusal=FORMERR)
    if version:
        return Query(message, question, refusal=BADVERS)
    options = _read_options(message, data, end)
    if options is None:
        return Query(message, question, refusal=FORMERR)
    dnssec = bool(flags & _DNSSEC_OK)
    edns = Edns(max(size, UDP_SIZE_MIN), dnssec, options <= _HARMLESS, message[data - 10 : end])
    only = sum(counts) == 1 and owner == start and data - 10 - owner == 1 and end == len(message)
    return Query(message, question, only, edns)


def _name_end(message: bytes, at: int) -> int:
    """The end of a record's owner; 0 if it is not a name."""
    while at < len(message):
        length = message[at]
        if length >= 0xC0:
            return at + 2 if at + 2 <= len(message) else 0
        if length > LABEL_MAX:
            return 0
        at += 1 + length
        if length == 0:
            return at
    return 0


def _is_root(message: bytes, start: int, end: int) -> bool:
    """Report whether the owner of a record is the root, possibly as a pointer to the end of another name."""
    if message[start] >= 0xC0:
        target = int.from_bytes(message[start:end], "big") & 0x3FFF
        return HEADER <= target < start and message[target] == 0
    return message[start] == 0


def _read_options(message: bytes, at: int, end: int) -> frozenset[int] | None:
    """The option codes of an OPT record; None if the options do not fill the record exactly."""
    codes = set()
    while at + 4 <= end:
        code, length = struct.unpack_from(">HH", message, at)
        codes.add(code)
        at += 4 + length
    return frozenset(codes) if at == end else None


def _question_end(message: bytes) -> int:
    """The end of the question, or its beginning if it cannot be read."""
    at = HEADER
    while at < len(message):
        length = message[at]
        if length > LABEL_MAX:
            return HEADER  # a pointer, with no name before it, or a label type that was never deployed
        at += 1 + length
        if length == 0:
            return at + 4 if at + 4 <= len(message) and at - HEADER <= NAME_MAX else HEADER
    return HEADER


# ------------------------------------------------------------------------------------------------- answers


@dataclass(slots=True)
class Records:
    """The records of an answer."""

    answers: int
    """Number of records in the answer section."""
    ttls: list[tuple[int, int]]
    """Offset and value of each time to live, in seconds. OPT has none, and is left out."""
    negative_ttl: int | None
    """Seconds for which a negative answer holds (RFC 2308, section 5), from the SOA in the authority section."""
    opt: tuple[int, int] | None
    """Beginning and end of the OPT record."""
    opt_flags: int
    """Extended response code, version and flags of the OPT record, 32 bits."""
    end: int
    """End of the last record."""


class _Names:
    """Checks the names of one message, each pointer target once."""

    __slots__ = ("_known", "_message", "_steps")

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._steps = STEPS_MAX
        self._known: dict[int, int] = {}
        """Length of the whole name at each offset that a pointer has led to; 0 if there is none."""

    def walk(self, at: int, hops: int = 0) -> tuple[int, int]:
        """The end of the name at an offset, and the length of the whole name; zeros if it is invalid."""
        message = self._message
        start, size = at, 0
        while at < len(message):
            length = message[at]
            self._steps -= 1
            if self._steps < 0:
                return 0, 0
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
                known = self._known[target] = self.walk(target, hops + 1)[1]
            size += known
            return (at + 2, size) if known and size <= NAME_MAX else (0, 0)
        return 0, 0


def records_of(query: Query, answer: bytes) -> Records | None:
    """Read the records of an answer to a query; None if they cannot be read."""
    return read_records(answer, HEADER + (len(query.question) if answer[4:6] != b"\0\0" else 0))


def read_records(message: bytes, at: int) -> Records | None:
    """Read the records behind the question, which ends at ``at``; None if they cannot be read, or are too many.

    Bytes behind the last record are ignored; they begin at ``end`` of the result.
    """
    answers, authorities, additionals = _COUNTS.unpack_from(message, 6)
    if answers + authorities + additionals > RECORDS_MAX:
        return None
    names = _Names(message)
    records = Records(answers, [], None, None, 0, at)
    authority = range(answers, answers + authorities)
    for number in range(answers + authorities + additionals):
        data = names.walk(at)[0] + 10
        if data == 10 or data > len(message):
            return None
        kind, _, ttl, length = _RECORD.unpack_from(message, data - 10)
        end = data + length
        if end > len(message):
            return None
        if (kind in _NAMES_AT or kind == _SOA) and not _data_ok(names, kind, data, end):
            return None
        if kind == _OPT_TYPE:
            if records.opt is not None:
                return None
            records.opt, records.opt_flags = (at, end), ttl
        else:
            if ttl & 0x80000000:
                ttl = 0  # RFC 2181, section 8
            records.ttls.append((data - 6, ttl))
            if kind == _SOA and number in authority:
                records.negative_ttl = min(ttl, int.from_bytes(message[end - 4 : end], "big"))
        at = end
    records.end = at
    return records


def _data_ok(names: _Names, kind: int, at: int, end: int) -> bool:
    """Report whether the names in the data of a record are valid. No other types may be compressed (RFC 3597,
    section 4).
    """
    if kind == _SOA:
        mailbox = names.walk(at)[0]
        return bool(mailbox) and mailbox < end and names.walk(mailbox)[0] == end - 20 and end - at >= 22
    offset = _NAMES_AT[kind]
    return at + offset < end and names.walk(at + offset)[0] == end
