"""What a script says: lines of packetdrill's notation, read into events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from slirpy.errors import SlirpyError

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
"""Among the numbers of an option: ``...``, which is not compared."""

Change: TypeAlias = "tuple[str, Any]"
"""A field of :class:`~slirpy.tcp.Settings`, or ``shown_rcvbuf``, and its new value."""


class ScriptError(SlirpyError, ValueError):
    """A script, or a setting for it, that cannot be understood."""


class UnsupportedError(Exception):
    """A line that packetdrill understands and that has no meaning here."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


class When(NamedTuple):
    """When an event happens. Nanoseconds from the start of the script, or from the event before."""

    relative: bool
    start: int
    end: int
    """The same as ``start``, or the end of a range."""
    anytime: bool = False
    """``*``: whenever it happens."""


class Word(NamedTuple):
    """A name in the arguments of a call: a constant of the C library, or several joined by ``|``."""

    text: str
    arguments: tuple[Value, ...] = ()
    """Of ``htons(8080)``."""


# None is "...", what packetdrill chooses by itself.
Value: TypeAlias = "int | str | Word | list[Value] | dict[str, Value] | None"


class Lack(NamedTuple):
    """A variable of a kernel that is set to what cannot be had."""

    text: str
    """Its name and value, and how the engine is."""
    counter: str = ""
    """The counter that shows whether it made a difference; nothing: it may have."""


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
    """A line of a script, which may go over several lines of the file."""

    line: int
    """Counted from 1."""
    text: str
    when: When


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet(Event):
    """A TCP segment that is given to the connection (``<``), or that it has to send (``>``)."""

    inbound: bool
    flags: int
    seq: int | None
    """None: it is not looked at."""
    length: int
    ack: int | None
    win: int | None
    urg: int | None
    options: tuple[Option, ...] | None
    """None: they are not looked at."""
    ports: tuple[int, int] | None = None
    """Source and destination, where the script names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Icmp(Event):
    """An ICMP message about a segment that was sent."""

    kind: int
    code: int
    mtu: int
    seq: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Event):
    """A socket call, or an action of the user in a script without sockets."""

    name: str
    arguments: tuple[Value, ...]
    result: int | None
    """None: it is not looked at."""
    error: str
    """Name of the ``errno`` value that comes with -1, or nothing."""
    until: When | None
    """When a call that blocks returns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Code(Event):
    """Assertions: ``%{ assert ... }%``."""

    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Event):
    """Commands between backticks: what is left of them."""

    seconds: float
    """How long they sleep."""
    changes: tuple[Change, ...] = ()
    lacks: tuple[Lack, ...] = ()
    """Variables that are set to what cannot be had."""


@dataclass(frozen=True, slots=True)
class Script:
    """A whole file."""

    name: str
    options: tuple[tuple[int, str, str], ...]
    """Lines ``--name=value``: number, name and value."""
    events: tuple[Event, ...]
    rules: tuple[tuple[str, str], ...]
    """What it checks, from the comment at its head: ``# RFC 9293 MUST-13`` is ``("9293", "MUST-13")``."""
    summary: str
    """The rest of that comment, in one line."""
