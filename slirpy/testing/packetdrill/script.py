"""The parsed form of a script: lines of packetdrill's notation as events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from slirpy.errors import SlirpyError
from slirpy.records import NamedTuple

__all__ = [
    "ANY",
    "Call",
    "Change",
    "Code",
    "Command",
    "Event",
    "Icmp",
    "Lack",
    "Option",
    "Packet",
    "Script",
    "ScriptError",
    "UnsupportedError",
    "Value",
    "When",
    "Word",
]


ANY = -1
"""Among the values of an option: ``...``, which is not compared."""

Change: TypeAlias = "tuple[str, Any]"
"""A field of :class:`~slirpy.tcp.Settings`, or ``shown_rcvbuf``, and its new value."""


class ScriptError(SlirpyError, ValueError):
    """A malformed script, or an invalid setting for it."""


class UnsupportedError(Exception):
    """A line that packetdrill accepts and that has no meaning here."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


class When(NamedTuple):
    """The time of an event, in nanoseconds from the start of the script, or from the event before."""

    relative: bool
    start: int
    end: int
    """Equal to ``start``, or the end of a range."""
    anytime: bool = False
    """True if the time is ``*``: unspecified."""


class Word(NamedTuple):
    """A name in the arguments of a call: a constant of the C library, or several joined by ``|``."""

    text: str
    arguments: tuple[Value, ...] = ()
    """Arguments, as of ``htons(8080)``."""


# None is "...", a value that packetdrill chooses by itself.
Value: TypeAlias = "int | str | Word | list[Value] | dict[str, Value] | None"


class Lack(NamedTuple):
    """A kernel variable set to a value that the engine does not support."""

    text: str
    """Name and value of the variable, and the behaviour of the engine."""
    counter: str = ""
    """The counter that shows whether it made a difference; empty: unknown."""


class Option(NamedTuple):
    """A TCP option by packetdrill's name for it."""

    name: str
    values: tuple[int, ...] = ()

    def __str__(self) -> str:
        v = self.values
        if self.name == "TS":
            val, ecr = ("..." if number == ANY else number for number in v)
            return f"TS val {val} ecr {ecr}"
        if self.name == "sack":
            return "sack " + " ".join(f"{v[i]}:{v[i + 1]}" for i in range(0, len(v), 2))
        if self.name == "hex":
            return f"hex {bytes(v).hex()}"
        return " ".join([self.name, *map(str, v)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A line of a script, which may span several lines of the file."""

    line: int
    """Line number, counted from 1."""
    text: str
    when: When


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet(Event):
    """A TCP segment to deliver to the connection (``<``), or to expect from it (``>``)."""

    inbound: bool
    flags: int
    seq: int | None
    """Sequence number; None: not compared."""
    length: int
    ack: int | None
    win: int | None
    urg: int | None
    options: tuple[Option, ...] | None
    """Options; None: not compared."""
    ports: tuple[int, int] | None = None
    """Source and destination, if the script names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Icmp(Event):
    """An ICMP message about a segment that was sent; its numbers depend on the IP version."""

    type: str
    code: str
    """Name of the code, or empty."""
    mtu: int
    seq: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Event):
    """A socket call, or an action of the user in a script without sockets."""

    name: str
    arguments: tuple[Value, ...]
    result: int | None
    """Result; None: not compared."""
    error: str
    """Name of the ``errno`` value that accompanies -1, or empty."""
    until: When | None
    """Time at which a blocking call returns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Code(Event):
    """Assertions: ``%{ assert ... }%``."""

    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Event):
    """The effects of commands between backticks."""

    seconds: float
    """Seconds that they sleep."""
    changes: tuple[Change, ...] = ()
    lacks: tuple[Lack, ...] = ()
    """Variables set to unsupported values."""


@dataclass(frozen=True, slots=True)
class Script:
    """A whole file."""

    name: str
    options: tuple[tuple[int, str, str], ...]
    """Lines ``--name=value``: line number, name and value."""
    events: tuple[Event, ...]
    rules: tuple[tuple[str, str], ...]
    """The rules that it checks, from the comment at its head: ``# RFC 9293 MUST-13`` is ``("9293", "MUST-13")``."""
    summary: str
    """The rest of that comment, in one line."""
