"""A program that runs on a host."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

from slirpy.errors import StateError
from slirpy.reprs import never_raises
from slirpy.testing.sim.world import Machine

__all__ = ["Program"]


class Program(abc.ABC):
    """A running program.

    Attributes:
        host: the host on which it runs.
        name: its name in reports.
        again: the function that starts it again after a crash; None: it cannot be started again.
        done: True once it has ended.
        error: the exception that ended it; None: there is none.
    """

    def __init__(self, host: Machine, name: str, again: Callable[[], Any] | None) -> None:
        self.host: Any = host  # a Host, whose class refers to this one
        self.name = name
        self.again = again
        self.done = False
        self.over = False
        """True once nothing of it runs any more: it was killed, or has failed."""
        self.successor: Program | None = None
        """The program that has begun in its place, when its host restarted."""
        self.handler: Callable[[Any, dict[str, Any]], object] | None = None
        """Exception handler that it has given to its event loop."""
        self.task_factory: Callable[..., Any] | None = None
        """Task factory that it has given to its event loop."""
        self.error: BaseException | None = None
        self._result: Any = None
        self._killed = False

    @never_raises
    def __repr__(self) -> str:
        state = (
            "running" if not self.done else "killed" if self._killed else "failed" if self.error else "ended"
        )
        return f"<Program {self.name} on {self.host.name}: {state}>"

    @property
    def killed(self) -> bool:
        """True if a crash of its host ended it, or :meth:`kill`."""
        return self._killed

    def result(self) -> Any:
        """Return the result of the program.

        Raises:
            StateError: it has not ended, or was killed.
            Exception: the exception that ended it.
        """
        __tracebackhide__ = True  # pytest shows the program, not what ran it
        if self.error is not None:
            raise self.error
        if not self.done or self._killed:
            raise StateError(f"program {self.name} on {self.host.name} has no result: {self!r}")
        return self._result

    def kill(self) -> None:
        """End the program at once, as a crash of its host does. Harmless when it has ended."""
        if not self.done:
            self._killed = self.done = True
        self.stop()

    def stop(self) -> None:
        """Let nothing of the program run any more."""
        self._end()
        if not self.over:
            self.over = True
            loop = self.host.net.extensions.get("asyncio")
            if loop is not None:
                loop.abandon(self)

    @abc.abstractmethod
    def _end(self) -> None:
        """Stop whatever runs still, also of a program that has returned. Harmless when repeated."""

    @abc.abstractmethod
    def where(self) -> str:
        """Describe the place at which the program waits, for error messages."""

    def leftovers(self) -> list[str]:
        """Describe what the program has started and not ended, and where that waits."""
        return []

    def exited(self, error: SystemExit) -> None:
        """Take note of ``sys.exit()``: its status is the result, and an error unless it is 0 or None."""
        if not self.done:
            self.ended(error.code, None if error.code in (None, 0) else error)
            self.stop()

    def fail(self, error: BaseException, what: str) -> None:
        """End the run with an exception that nothing in the program has handled.

        A broken connection is only noted: servers have a task or a thread for each client, and outlive their clients.

        Args:
            error: the exception.
            what: the part of the program that it comes from.
        """
        if isinstance(error, ConnectionError):
            net = self.host.net
            net.trace.note(net.now, self.host.name, "exception", f"{what}{self.name}: {error!r}")
            return
        error.add_note(f"in {what}program {self.name} on {self.host.name}")
        if self.done:
            self.host.net.failed(self, error)
        else:
            self.ended(None, error)
            self.stop()

    def ended(self, result: Any, error: BaseException | None) -> None:
        """Take note of the end; for the class that runs it."""
        self.done = True
        if self._killed:
            return
        self._result, self.error = result, error
        net = self.host.net
        if error is not None:
            net.failed(self, error)
        else:
            net.trace.note(net.now, self.host.name, "task", f"{self.name} ended")
