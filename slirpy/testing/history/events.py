"""Histories: invocations and results of operations, in the order in which they happened."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, TypeAlias

from slirpy.checks import is_whole, shown
from slirpy.config.values import as_text, function
from slirpy.errors import ConfigError, StateError
from slirpy.reprs import counted, never_raises
from slirpy.testing.history.edn import as_edn
from slirpy.units import SECOND

__all__ = ["UNKNOWN", "Event", "EventType", "History", "Invocation", "Operation", "Process"]

Process: TypeAlias = str | int
"""Name or number of a client that does one operation at a time."""
EventType: TypeAlias = Literal["invoke", "ok", "fail", "unknown"]


class _Unknown(enum.Enum):
    UNKNOWN = "unknown"

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = _Unknown.UNKNOWN
"""Output of an operation whose result the client never learned."""


@dataclass(frozen=True, slots=True)
class Event:
    """A line of a history.

    Attributes:
        process: the client.
        type: ``"invoke"``; ``"ok"``: the operation took effect; ``"fail"``: it certainly did not; ``"unknown"``: it
            may have, or may later.
        operation: name of the operation, such as ``"read"``.
        value: its input in ``"invoke"``, its output in ``"ok"``, a reason in the others, or None.
        time: nanoseconds of the history's clock.
    """

    process: Process
    type: EventType
    operation: str
    value: object
    time: int


@dataclass(frozen=True, slots=True)
class Operation:
    """An invocation together with its result.

    Attributes:
        process, name, input: as invoked.
        output: the result; :data:`UNKNOWN` if the client never learned it.
        began: position of the invocation in :attr:`History.events`.
        ended: position of the result; None if there is none, or if it is unknown.
    """

    process: Process
    name: str
    input: object
    output: object
    began: int
    ended: int | None

    def __str__(self) -> str:
        given = "" if self.input is None else f" {self.input!r}"
        result = "?" if self.output is UNKNOWN else "ok" if self.output is None else repr(self.output)
        return f"{self.process}: {self.name}{given} -> {result}"


class Invocation:
    """An operation that has begun; one of its methods records how it ended.

    As a context manager it ends by itself: with :meth:`ok` if the block ends, with :meth:`unknown` if an exception
    leaves it, unless the block has said otherwise before.
    """

    def __init__(self, history: History, process: Process, operation: str) -> None:
        self._history = history
        self.process = process
        self.operation = operation
        self.is_over = False

    @never_raises
    def __repr__(self) -> str:
        return f"<Invocation of {self.operation} by {self.process}, {'over' if self.is_over else 'pending'}>"

    def ok(self, output: object = None) -> None:
        """Record that the operation took effect.

        Args:
            output: its result; None if it has none.

        Raises:
            StateError: its end was recorded before.
        """
        self._end("ok", output)

    def fail(self, reason: object = None) -> None:
        """Record that the operation certainly had no effect, and never will.

        Raises:
            StateError: its end was recorded before.
        """
        self._end("fail", reason)

    def unknown(self, reason: object = None) -> None:
        """Record that nobody knows: it may have taken effect, or may do so at any later time, or never.

        Raises:
            StateError: its end was recorded before.
        """
        self._end("unknown", reason)

    def _end(self, kind: EventType, value: object) -> None:
        if self.is_over:
            raise StateError(f"the {self.operation} of {self.process} is over; each operation ends once")
        self.is_over = True
        self._history._end(self, kind, value)

    def __enter__(self) -> Invocation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if not self.is_over:
            if error is None:
                self.ok()
            else:
                self.unknown(f"{type(error).__name__}: {error}".removesuffix(": "))


class History:
    """Operations of several processes, in one order.

    Args:
        clock: returns nanoseconds, such as ``lambda: net.now``. None: the number of the event. Order is that of the
            calls in any case; times are for readers.

    Raises:
        ConfigError: ``clock`` cannot be called.

    Attributes:
        events: everything so far.
    """

    def __init__(self, clock: Callable[[], int] | None = None) -> None:
        if clock is not None:
            function("clock", clock, " that returns nanoseconds")
        self.events: list[Event] = []
        self._clock = clock
        self._pending: dict[Process, Invocation] = {}

    @never_raises
    def __repr__(self) -> str:
        return f"<History of {counted(len(self.events), 'event')}, {len(self._pending)} pending>"

    def __str__(self) -> str:
        return "\n".join(
            (f"{each.time:6}" if self._clock is None else f"{each.time / SECOND:12.6f} s")
            + f"  {each.process!s:12} {each.type:8} {each.operation}"
            + ("" if each.value is None else f" {each.value!r}")
            for each in self.events
        )

    def invoke(self, process: Process, operation: str, value: object = None) -> Invocation:
        """Record that a process begins an operation; the result can serve as a context manager.

        Args:
            process: the client: a name or a number.
            operation: name of the operation, as the model knows it.
            value: its input.

        Raises:
            ConfigError: ``process`` or ``operation`` is something else than that.
            StateError: the process has an operation pending.
        """
        if not isinstance(process, str) and not is_whole(process):
            raise ConfigError(f"process {shown(process)} is not a name or a number")
        if not as_text("operation", operation):
            raise ConfigError("operation is empty; give a name such as read")
        if process in self._pending:
            raise StateError(
                f"{process} begins {operation} while its {self._pending[process].operation} is pending;"
                " end that first, or use another process"
            )
        made = self._pending[process] = Invocation(self, process, operation)
        self._record(process, "invoke", operation, value)
        return made

    def _end(self, invocation: Invocation, kind: EventType, value: object) -> None:
        del self._pending[invocation.process]
        self._record(invocation.process, kind, invocation.operation, value)

    def _record(self, process: Process, kind: EventType, operation: str, value: object) -> None:
        time = len(self.events) if self._clock is None else self._clock()
        self.events.append(Event(process, kind, operation, value, time))

    def operations(self) -> list[Operation]:
        """Pair invocations with results, in the order of invocation; failed operations are left out."""
        began: dict[Process, int] = {}
        found: list[Operation] = []
        for position, event in enumerate(self.events):
            if event.type == "invoke":
                began[event.process] = position
                continue
            start = began.pop(event.process)
            if event.type != "fail":
                found.append(self._operation(start, position))
        found += [self._operation(start, None) for start in began.values()]
        return sorted(found, key=lambda each: each.began)

    def _operation(self, start: int, end: int | None) -> Operation:
        invoked = self.events[start]
        if end is None or self.events[end].type == "unknown":
            return Operation(invoked.process, invoked.operation, invoked.value, UNKNOWN, start, None)
        return Operation(invoked.process, invoked.operation, invoked.value, self.events[end].value, start, end)

    def edn(self) -> str:
        """Write the history in EDN, as Jepsen, Knossos and Elle read it: one map a line.

        Processes become numbers. A process whose operation ended unknown gets a new number, since Jepsen's never
        go on after ``:info``. A result without output repeats the input, as Jepsen's clients do. For an operation
        named ``cas``, the outputs True and False become ``:ok`` and ``:fail``.
        """
        return as_edn((each.process, each.type, each.operation, each.value, each.time) for each in self.events)
