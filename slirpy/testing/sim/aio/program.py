"""A program on asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from slirpy.testing.sim.aio.loop import loop_of
from slirpy.testing.sim.aio.places import place_of
from slirpy.testing.sim.current import HOST, PROGRAM
from slirpy.testing.sim.host import Host
from slirpy.testing.sim.program import Program

__all__ = ["AsyncProgram"]


class AsyncProgram(Program):
    """A coroutine that runs as a task on the loop of the network, and all that it starts.

    The tasks and servers that it leaves behind when it returns stay, until the host crashes or the network is closed.

    Args:
        host: the host on which it runs.
        program: a coroutine, or a function without arguments that returns one.
        name: its name in reports; empty: that of the function.

    Attributes:
        handler: the exception handler that it has set.
        context: in which it runs: it names the host.
    """

    def __init__(self, host: Host, program: Any, name: str) -> None:
        again = None if asyncio.iscoroutine(program) else program
        name = name or getattr(program, "__name__", "") or type(program).__name__
        super().__init__(host, name, again)
        self.handler: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None = None
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
        if isinstance(error, SystemExit):
            self.exited(error)
            return
        other: Any
        for other in self._loop.tasks_of(self) if error is None else ():
            if other.done() and other._log_traceback:
                error = other.exception()
                if error is not None:
                    error.add_note(f"in task {other.get_name()!r}, whose exception nobody retrieved")
                    break
        self.ended(None if error is not None else task.result(), error)

    def exited(self, error: SystemExit) -> None:
        """Take note of ``sys.exit()``: its status is the result, and an error unless it is 0 or None."""
        if not self.done:
            self.ended(error.code, None if error.code in (None, 0) else error)
            self._stop()

    def fail(self, error: BaseException, context: dict[str, Any]) -> None:
        """End the run with an exception that nothing in the program has handled."""
        future = context.get("task") or context.get("future")
        name = f" task {future.get_name()!r} of" if isinstance(future, asyncio.Task) else ""
        error.add_note(f"in{name} {self.name} on {self.host.name}: {context.get('message')}")
        if self.done:
            self.host.net.failed(self, error)
        else:
            self.ended(None, error)
            self._stop()

    def _end(self) -> None:
        self._stop()

    def _stop(self) -> None:
        if not self.over:
            self.over = True
            self._loop.abandon(self)
            self._loop.release(self)
