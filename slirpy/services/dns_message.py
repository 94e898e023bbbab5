"""As much of DNS messages (RFC 1035) as a forwarder needs: the header and the question.

All else passes through byte for byte, so that whatever is in it works, also what nobody has thought of yet.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = ["FORMERR", "SERVFAIL", "Query", "read_query"]

HEADER = 12
FORMERR = 1
SERVFAIL = 2
_RESPONSE = 0x8000
_OPCODE = 0x7800
_RECURSION_DESIRED = 0x0100
_CHECKING_DISABLED = 0x0010
_RECURSION_AVAILABLE = 0x0080
_NAME_MAX = 255
_OPT_SIZE = 1232
"""UDP size that our own answers advertise: what the DNS flag day of 2020 agreed on."""


@dataclass(frozen=True, slots=True)
class Query:
    """A query whose header and question can be read."""

    message: bytes
    question: bytes
    """Name, type and class as they stand in the message; empty if it is malformed."""

    @property
    def id(self) -> int:
        """The guest's identifier, 0 to 65535."""
        return int.from_bytes(self.message[:2], "big")

    @property
    def malformed(self) -> bool:
        """Whether it has not exactly one question: the answer to it is FORMERR (RFC 9619)."""
        return not self.question

    def with_id(self, identifier: int) -> bytes:
        """The message under another identifier."""
        return identifier.to_bytes(2, "big") + self.message[2:]

    def answered_by(self, answer: bytes, identifier: int) -> bool:
        """Whether a message answers this query, sent under ``identifier`` (RFC 5452 section 9.1).

        The question must be repeated in it, in whatever case; only an error may leave it out.
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
        # Lengths of labels are below the letters, so the whole of the name can be compared without case.
        return (
            questions == 1
            and theirs[-4:] == self.question[-4:]
            and theirs[:-4].lower() == self.question[:-4].lower()
        )

    def error(self, code: int) -> bytes:
        """Our own answer: a response code, and nothing found."""
        flags = int.from_bytes(self.message[2:4], "big") & (_OPCODE | _RECURSION_DESIRED | _CHECKING_DISABLED)
        at = HEADER + len(self.question)
        opt = b""
        if self.question and self.message[at : at + 3] == b"\0\0\x29":
            # Whoever sends EDNS is to be answered with EDNS (RFC 6891 section 6.1.1).
            opt = b"\0\0\x29" + struct.pack(">HIH", _OPT_SIZE, 0, 0)
        header = struct.pack(
            ">6H",
            self.id,
            _RESPONSE | _RECURSION_AVAILABLE | flags | code,
            1 if self.question else 0,
            0,
            0,
            1 if opt else 0,
        )
        return header + self.question + opt


def read_query(message: bytes) -> Query | None:
    """Read a query; None if it is none, so that nothing can be answered.

    An answer counts as none: to answer it could go on for ever.
    """
    if len(message) < HEADER or message[2] & 0x80:
        return None
    end = _question_end(message) if message[4:6] == b"\0\1" else HEADER
    return Query(message, message[HEADER:end])


def _question_end(message: bytes) -> int:
    """Where the question ends, or begins if it cannot be read."""
    at = HEADER
    while at < len(message):
        length = message[at]
        if length > 63:
            return HEADER  # a pointer, with nothing before it to point to, or a type of label that never came
        at += 1 + length
        if length == 0:
            return at + 4 if at + 4 <= len(message) and at - HEADER <= _NAME_MAX else HEADER
    return HEADER
