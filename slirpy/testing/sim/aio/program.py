"""A program on asyncio."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import Any

from slirpy.testing.sim.aio.loop import loop_of
from slirpy.testing.sim.aio.places import place_of
from slirpy.testing.sim.current import HOST, PROGRAM
from slirpy.testing.sim.host import Host
from slirpy.testing.sim.program import Program

__all__ = ["AsyncProgram", "ContinuedProgram"]


class AsyncProgram(Program):
    """A coroutine that runs as a task on the loop of the network, and all that it starts.

    The tasks and servers that it leaves behind when it returns stay, until the host crashes or the network is closed.

    Args:
        host: the host on which it runs.
        program: a coroutine, or a function without arguments that returns one.
        name: its name in reports; empty: that of the function.

    Attributes:
        context: in which it runs: it names the host.
    """

    def __init__(self, host: Host, program: Any, name: str) -> None:
        again = None if asyncio.iscoroutine(program) else program
        name = name or getattr(program, "__name__", "") or type(program).__name__
        super().__init__(host, name, again)
        self.context = copy_context()
        self.context.run(HOST.set, host)
        self.context.run(PROGRAM.set, self)
        self._loop = loop_of(host.net)
        coro = program if again is None else self.context.run(program)
        self._task = self._loop.start(self, coro, self.context)

    def where(self) -> str:
        """Describe the place at which the program waits: file, line and function."""
        return place_of(self._task)

    def leftovers(self) -> list[str]:
        """Describe the tasks that have not ended, and where they wait."""
        tasks = [task for task in self._loop.tasks_of(self) if not task.done()]
        return [f"{task.get_name()} at {place_of(task)}" for task in tasks]

    def finished(self, task: asyncio.Task[Any]) -> None:
        """Take note of the end of the main task."""
        if self.done:
            return
        if task.cancelled():
            self.ended(None, asyncio.CancelledError(f"{self.name} was cancelled"))
            return
        error = task.exception()
        other: Any
        for other in self._loop.tasks_of(self) if error is None else ():
            if other.done() and other._log_traceback:
                error = other.exception()
                if error is not None:
                    error.add_note(f"in task {other.get_name()!r}, whose exception nobody retrieved")
                    break
        self.ended(None if error is not None else task.result(), error)

    def _end(self) -> None: ...


class ContinuedProgram(AsyncProgram):
    """The coroutine that a plain function has returned, as in ``host.run(lambda: serve(80))``.

    Args:
        begun: the program of the function, which ends with the coroutine.
        coro: the coroutine.
    """

    def __init__(self, begun: Program, coro: Any) -> None:
        self._begun = begun
        super().__init__(begun.host, coro, begun.name)

    def ended(self, result: Any, error: BaseException | None) -> None:
        """Take note of the end, for both."""
        self.done = True
        if not self.killed:
            self._begun.ended(result, error)
