"""As much of DNS queries (RFC 1035) as a forwarder needs: the header, the question, and EDNS (RFC 6891).

All else passes through byte for byte, so that whatever is in it works, also what nobody has thought of yet.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

__all__ = [
    "BADVERS",
    "FORMERR",
    "NOTIMP",
    "NXDOMAIN",
    "REFUSED",
    "SERVFAIL",
    "Edns",
    "Query",
    "fitted",
    "make_query",
    "read_query",
]

HEADER = 12
FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 1, 2, 3, 4, 5
BADVERS = 16
"""An extended response code: its upper eight bits stand in an OPT record (RFC 6891, section 6.1.3)."""
NAME_MAX = 255
LABEL_MAX = 63
ROOM_MIN = 512
"""What every client takes over UDP (RFC 1035 section 4.2.1)."""
ROOM_TCP = 65_535
_RESPONSE = 0x8000
_OPCODE = 0x7800
_AUTHORITATIVE = 0x0400
_TRUNCATED = 0x0200
_RECURSION_DESIRED = 0x0100
_RECURSION_AVAILABLE = 0x0080
_AUTHENTIC = 0x0020
_CHECKING_DISABLED = 0x0010
_OPT_SIZE = 1232
"""UDP size that our own answers advertise: what the DNS flag day of 2020 agreed on."""
_DNSSEC_OK = 0x8000
_HARMLESS = frozenset((10, 11, 12))
"""EDNS options that do not change what is answered: cookie, keep-alive, padding (RFC 7873, 7828, 7830)."""
_META = frozenset((0, 41, *range(128, 256)))
"""Types that are questions only, such as AXFR and ANY, or belong to one message (RFC 6895 section 3.1)."""
_IN, _ANY = b"\0\1", b"\0\xff"
_OPT = b"\0\x29"


class Edns(NamedTuple):
    """What the OPT record of a query says."""

    room: int
    """Bytes of UDP payload that the client takes, 512 or more."""
    dnssec: bool
    """The DO bit (RFC 3225)."""
    harmless: bool
    """There is no option that would change the answer, such as the client's network (RFC 7871)."""
    record: bytes
    """The record itself, without its owner."""


@dataclass(frozen=True, slots=True)
class Query:
    """A query whose header and question can be read."""

    message: bytes
    question: bytes
    """Name, type and class as they stand in the message; empty if it is malformed."""
    plain: bool = False
    """An ordinary query of one question, with nothing behind it but EDNS."""
    edns: Edns | None = None
    """EDNS of version 0, if the query has that."""
    refusal: int = 0
    """Response code with which a server of the name must refuse the query; 0 if it can be answered."""

    @property
    def id(self) -> int:
        """The guest's identifier, 0 to 65535."""
        return int.from_bytes(self.message[:2], "big")

    @property
    def malformed(self) -> bool:
        """Whether it has not exactly one question: the answer to it is FORMERR (RFC 9619)."""
        return not self.question

    @property
    def name(self) -> bytes:
        """The name in wire format and lower case. Lengths of labels are below the letters, so they stay."""
        return self.question[:-4].lower()

    @property
    def qtype(self) -> int:
        """The type that is asked for."""
        return int.from_bytes(self.question[-4:-2], "big")

    @property
    def internet(self) -> bool:
        """Whether the class is IN."""
        return self.question[-2:] == _IN

    @property
    def of_internet(self) -> bool:
        """Whether records of the class IN are an answer: the class is IN or ANY."""
        return self.question[-2:] in (_IN, _ANY)

    @property
    def same(self) -> bytes:
        """Equal for queries to which the same answer would come: all but the identifier and the name's case."""
        end = HEADER + len(self.question)
        return self.message[2:HEADER] + self.name + self.message[end - 4 :]

    @property
    def cache_key(self) -> bytes | None:
        """Equal for queries that one answer in the cache serves; None if it may serve none.

        Beside the question count the bits RD, AD and CD (RFC 6840 sections 5.7 and 5.9), and DO (RFC 3225).
        """
        if not self.plain or self.qtype in _META:
            return None
        edns = self.edns
        if edns is not None and not edns.harmless:
            return None
        flags = self.message[2] & 1 | self.message[3] & (_AUTHENTIC | _CHECKING_DISABLED)
        return bytes((flags | (edns is not None and edns.dnssec) << 1,)) + self.name + self.question[-4:]

    @property
    def room(self) -> int:
        """Bytes that the client takes over UDP."""
        return ROOM_MIN if self.edns is None else self.edns.room

    def upstream(self, identifier: int, question: bytes) -> bytes:
        """The message under another identifier, and with the question in another case."""
        return b"".join(
            (
                identifier.to_bytes(2, "big"),
                self.message[2:HEADER],
                question,
                self.message[HEADER + len(question) :],
            )
        )

    def answered_by(self, answer: bytes, identifier: int, question: bytes | None = None) -> bool:
        """Whether a message answers this query, sent under ``identifier`` (RFC 5452 section 9.1).

        The question must be repeated in it, in whatever case; only an error may leave it out. With ``question`` the
        case must be that of it too.
        """
        if len(answer) < HEADER:
            return False
        number, flags, questions = struct.unpack_from(">3H", answer)
        mine = int.from_bytes(self.message[2:4], "big")
        if number != identifier or not flags & _RESPONSE or (flags ^ mine) & _OPCODE:
            return False
        if questions == 0:
            return bool(flags & 0x000F)
        theirs = answer[HEADER : HEADER + len(self.question)]
        if questions != 1 or theirs[-4:] != self.question[-4:]:
            return False
        return theirs == question if question is not None else theirs[:-4].lower() == self.name

    def mine(self, answer: bytes) -> bytes:
        """An answer to the same question under our identifier, and with the question as it was asked."""
        if answer[4:6] == b"\0\0":
            return self.message[:2] + answer[2:]
        end = HEADER + len(self.question)
        return b"".join((self.message[:2], answer[2:HEADER], self.question, answer[end:]))

    def opt(self) -> bytes:
        """The OPT record of an answer, if the query had one (RFC 6891 section 6.1.1); else nothing."""
        return b"" if self.edns is None else _opt_record(0, dnssec=self.edns.dnssec)

    def reply(self, code: int, records: bytes = b"", count: int = 0, *, authoritative: bool = False) -> bytes:
        """An answer of our own.

        Args:
            code: the response code, 0 to 4095. One beyond 15 needs an OPT record, and so gets one.
            records: the answer section in wire format.
            count: number of records in it.
            authoritative: whether we are the source of it.
        """
        flags = int.from_bytes(self.message[2:4], "big") & (_OPCODE | _RECURSION_DESIRED | _CHECKING_DISABLED)
        flags |= _RESPONSE | _RECURSION_AVAILABLE | code & 15 | (_AUTHORITATIVE if authoritative else 0)
        opt = _opt_record(code >> 4) if code > 15 else self.opt()
        header = struct.pack(">6H", self.id, flags, 1 if self.question else 0, count, 0, 1 if opt else 0)
        return b"".join((header, self.question, records, opt))

    def truncated(self) -> bytes:
        """An answer that says: ask again over TCP."""
        message = bytearray(self.reply(0))
        message[2] |= _TRUNCATED >> 8
        return bytes(message)


def fitted(query: Query, answer: bytes) -> bytes:
    """An answer as it may go over UDP: if the client has no room for it, it says so (TC, RFC 2181 section 9)."""
    return answer if len(answer) <= query.room else query.truncated()


def read_query(message: bytes) -> Query | None:
    """Read a query; None if it is none, so that nothing can be answered.

    An answer counts as none: to answer it could go on for ever.
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


def make_query(like: Query, name: bytes) -> Query:
    """A query for another name in wire format, with the type, the flags and the EDNS of ``like``."""
    tail = like.question[-4:]
    edns = b"" if like.edns is None else b"\0" + like.edns.record
    counts = bytes((0, 1, 0, 0, 0, 0, 0, 1 if edns else 0))
    return Query(like.message[:4] + counts + name + tail + edns, name + tail, True, like.edns)


def _opt_record(code: int, *, dnssec: bool = False) -> bytes:
    """An OPT record of version 0, with the upper bits of a response code."""
    return b"\0" + _OPT + struct.pack(">HBBHH", _OPT_SIZE, code, 0, _DNSSEC_OK if dnssec else 0, 0)


def _with_records(message: bytes, question: bytes, at: int) -> Query:
    """A query with records behind its question, which ends at ``at``. Of these only OPT means anything to us."""
    counts = struct.unpack_from(">3H", message, 6)
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
                return Query(message, question, refusal=FORMERR)  # RFC 6891 section 6.1.1
            opt = at, data, end
        at = end
    if opt is None:
        return Query(message, question)
    owner, data, end = opt
    room, _, version, flags = struct.unpack_from(">HBBH", message, data - 8)
    if not _is_root(message, owner, data - 10):
        return Query(message, question, refusal=FORMERR)
    if version:
        return Query(message, question, refusal=BADVERS)
    options = _read_options(message, data, end)
    if options is None:
        return Query(message, question, refusal=FORMERR)
    dnssec = bool(flags & _DNSSEC_OK)
    edns = Edns(max(room, ROOM_MIN), dnssec, options <= _HARMLESS, message[data - 10 : end])
    only = sum(counts) == 1 and owner == start and data - 10 - owner == 1 and end == len(message)
    return Query(message, question, only, edns)


def _name_end(message: bytes, at: int) -> int:
    """Where the owner of a record ends; 0 if it is not a name."""
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
    """Whether the owner of a record is the root, which may be a pointer to the end of another name."""
    if message[start] >= 0xC0:
        target = int.from_bytes(message[start:end], "big") & 0x3FFF
        return HEADER <= target < start and message[target] == 0
    return message[start] == 0


def _read_options(message: bytes, at: int, end: int) -> frozenset[int] | None:
    """The codes of the options of an OPT record; None if they do not fill it."""
    codes = set()
    while at + 4 <= end:
        code, length = struct.unpack_from(">HH", message, at)
        codes.add(code)
        at += 4 + length
    return frozenset(codes) if at == end else None


def _question_end(message: bytes) -> int:
    """Where the question ends, or begins if it cannot be read."""
    at = HEADER
    while at < len(message):
        length = message[at]
        if length > LABEL_MAX:
            return HEADER  # a pointer, with nothing before it to point to, or a type of label that never came
        at += 1 + length
        if length == 0:
            return at + 4 if at + 4 <= len(message) and at - HEADER <= NAME_MAX else HEADER
    return HEADER
