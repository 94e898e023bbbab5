"""Everything that happened in a run, in one order: frames with their fates, and lines of text between them."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from struct import Struct
from typing import Literal, TypeAlias

from slirpy.checks import octets
from slirpy.tcp import Segment
from slirpy.units import MS

__all__ = ["CarrySegment", "FrameRecord", "Kind", "LateFrame", "NoteRecord", "Record", "Trace"]

LateFrame: TypeAlias = tuple[
    Callable[[int, int, int, int, bytes, bytes, int], bytes], int, int, int, int, bytes, bytes, int
]
"""A frame that is made when it is looked at: a function, and its arguments, the fields of a segment. These are its
sequence number, ACK, flags, window, encoded options, payload, and urgent pointer."""
CarrySegment: TypeAlias = Callable[[bytes, Segment, int, LateFrame], None]
"""Takes a segment: its flow key, the segment, and the length of its frame, and the frame."""
Kind: TypeAlias = Literal["log", "note", "exception", "fault", "task"]
"""Origin of a line: the program's logging, a test's own note, an exception that ended a program, a fault, or a task
that began or ended."""

_FRAME = Struct("<cqII")  # type, time, length of the frame, number of deliveries
_TIME = Struct("<q")
_NOTE = Struct("<cq")
_VAGUE = ("log", "exception")
"""Kinds of lines whose text may differ in equal runs."""


class FrameRecord:
    """A frame that a host sent.

    Attributes:
        time: virtual nanoseconds at which it was sent.
        source, target: names of the hosts.
        arrivals: time of each delivery, in virtual nanoseconds; ``()`` if it is lost, two if it arrives twice. A held
            frame gets its arrivals when it is released.
        fault: reason why it was lost, delayed, repeated or changed, such as ``"loss"`` or ``"partition"``; ``""`` if
            nothing happened to it.
        changed: True if a fault has changed a bit of it.
    """

    __slots__ = ("_frame", "arrivals", "changed", "fault", "source", "target", "time")

    def __init__(
        self,
        time: int,
        source: str,
        target: str,
        frame: bytes | LateFrame,
        arrivals: tuple[int, ...] = (),
        fault: str = "",
    ) -> None:
        self.time = time
        self.source = source
        self.target = target
        self._frame = frame
        self.arrivals = arrivals
        self.fault = fault
        self.changed = False

    def __repr__(self) -> str:
        return (
            f"FrameRecord(time={self.time}, source={self.source!r}, target={self.target!r},"
            f" frame=<{len(self.frame)} bytes>, arrivals={self.arrivals}, fault={self.fault!r})"
        )

    @property
    def frame(self) -> bytes:
        """Ethernet frame, as it travelled: with the change that a fault made."""
        frame = self._frame
        if isinstance(frame, tuple):  # few frames are looked at, and making one takes long
            make, seq, ack, flags, wnd, options, payload, urg = frame
            frame = self._frame = make(seq, ack, flags, wnd, options, payload, urg)
        return frame

    @frame.setter
    def frame(self, frame: bytes) -> None:
        octets("frame", frame)
        self._frame = bytes(frame)

    def __getstate__(self) -> object:
        """Return what is pickled, with the frame itself."""
        self._frame = self.frame
        return super().__getstate__()

    @property
    def lost(self) -> bool:
        """True if it is never delivered."""
        return not self.arrivals

    @property
    def fate(self) -> str:
        """The fate of the frame in a few words; empty if it arrived once, in time and unchanged."""
        arrivals, fault = self.arrivals, self.fault
        if not arrivals:
            return "held" if fault == "hold" else f"lost: {fault}" if fault else "lost"
        if not fault and len(arrivals) == 1:
            return ""
        after = ", ".join(f"+{(arrival - self.time) / MS:.3f}" for arrival in arrivals)
        return f"{fault or 'repeated'}: arrives {'twice, ' if len(arrivals) == 2 else ''}{after} ms"


class NoteRecord:
    """A line of text at a point of time.

    Attributes:
        time: virtual nanoseconds.
        host: name of the host; ``""`` if it concerns the whole network.
        kind: origin of the line.
        text: one or several lines, without a newline at the end.
    """

    __slots__ = ("host", "kind", "text", "time")

    def __init__(self, time: int, host: str, kind: Kind, text: str) -> None:
        self.time = time
        self.host = host
        self.kind = kind
        self.text = text

    def __repr__(self) -> str:
        return f"NoteRecord(time={self.time}, host={self.host!r}, kind={self.kind!r}, text={self.text!r})"

    @property
    def line(self) -> str:
        """The text, with its origin unless that is obvious."""
        return self.text if self.kind in ("log", "note") else f"{self.kind}: {self.text}"


Record: TypeAlias = FrameRecord | NoteRecord


class Trace:
    """Records of a run, in the order in which they were made; time never decreases.

    Attributes:
        records: append to it directly on the path of each frame.
    """

    __slots__ = ("records",)

    def __init__(self) -> None:
        self.records: list[Record] = []

    def __repr__(self) -> str:
        return f"<Trace of {len(self.records)} records>"

    def note(self, time: int, host: str, kind: Kind, text: str) -> None:
        """Append a line of text."""
        self.records.append(NoteRecord(time, host, kind, text))

    def digest(self) -> str:
        """Return the SHA-256 over all records in hexadecimal: equal for equal runs.

        The texts of logs and exceptions are left out: they may differ anyway, such as by addresses of
        objects, and names of tasks.
        """
        hashed = sha256()
        for record in self.records:
            if isinstance(record, FrameRecord):
                frame, arrivals = record.frame, record.arrivals
                hashed.update(_FRAME.pack(b"F", record.time, len(frame), len(arrivals)))
                hashed.update(frame)
                for arrival in arrivals:
                    hashed.update(_TIME.pack(arrival))
                words = record.source, record.target, record.fault
            else:
                hashed.update(_NOTE.pack(b"N", record.time))
                words = record.host, record.kind, "" if record.kind in _VAGUE else record.text
            hashed.update("\0".join(words).encode(errors="surrogatepass") + b"\0")
        return hashed.hexdigest()
