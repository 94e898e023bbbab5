"""A running program that is a plain function."""

from __future__ import annotations

import contextvars
import inspect
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from slirpy.testing.sim.blocking.threads import SimThread
from slirpy.testing.sim.current import PROGRAM
from slirpy.testing.sim.host import Host
from slirpy.testing.sim.program import Program

__all__ = ["BlockingProgram"]


class BlockingProgram(Program):
    """A plain function that runs in a greenlet; calls that wait let virtual time pass.

    It ends when the function returns, and if that returns a coroutine, when the coroutine ends. Threads that it has
    started go on until they end, or their host crashes, or the network is closed. An exception in a thread ends the
    run, as one in the function does.

    Args:
        host: the host on which it runs.
        program: a function without arguments.
        name: its name in reports; empty: that of the function.

    Raises:
        ConfigError: greenlet is not installed.
    """

    def __init__(self, host: Host, program: Callable[[], Any], name: str) -> None:
        super().__init__(host, name or getattr(program, "__name__", type(program).__name__), program)
        context = contextvars.copy_context()
        context.run(PROGRAM.set, self)
        self.main = SimThread(host, program, context, self._main_ended, self.start)
        """The thread in which the function runs."""
        self.main.is_main = True
        self._others: list[SimThread] = []
        self._continued: Program | None = None

    def _main_ended(self, result: Any, error: BaseException | None) -> None:
        if error is None and inspect.iscoroutine(result):
            self._continued = self.host.net.follow(self, result)
        else:
            self.ended(result, error)

    def start(self, thread: threading.Thread) -> SimThread:
        """Run a thread that the program has started."""
        self._others = [each for each in self._others if not each.done]
        ended = partial(self._thread_ended, thread.name)
        context = contextvars.Context()
        context.run(PROGRAM.set, self)
        started = SimThread(self.host, thread.run, context, ended, self.start)
        started.object = thread
        self._others.append(started)
        return started

    def _thread_ended(self, name: str, result: object, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, SystemExit):
            error.add_note(f"in thread {name} of program {self.name}")
            if self.done:
                self.host.net.failed(self, error)
            else:
                self.ended(None, error)
                self._kill(self.main, *self._others)

    def _end(self) -> None:
        self.done = True
        if self._continued is not None:
            self._continued.kill()
        self._kill(self.main, *self._others)

    def kill(self) -> None:
        super().kill()
        self._kill(*self._others)  # they may go on after the function has returned

    def _kill(self, *threads: SimThread) -> None:
        running = [each for each in threads if not each.done]
        if running:
            with self.host.net.replaced():
                for thread in running:
                    thread.kill()

    def leftovers(self) -> list[str]:
        return [] if self._continued is None else self._continued.leftovers()

    def where(self) -> str:
        waits = [self.main.where() if self._continued is None else self._continued.where()]
        waits += [
            f"thread {each.object.name if each.object else ''} {each.where()}"
            for each in self._others
            if not each.done
        ]
        return "; ".join(waits)
