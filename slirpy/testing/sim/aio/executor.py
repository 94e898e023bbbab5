"""Functions that an event loop in virtual time runs in another thread, such as those of ``asyncio.to_thread``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from importlib.util import find_spec
from typing import Any

from slirpy.testing.sim.aio.bases import LoopBase
from slirpy.testing.sim.current import PROGRAM

__all__ = ["Executor"]

_HAS_THREADS = find_spec("greenlet") is not None


class Executor(LoopBase):  # type: ignore[misc] # a private class of asyncio
    """The part of the loop that runs functions in threads.

    With greenlet installed, they are threads as those of blocking programs: their calls may wait. Without it, a
    function runs at once, and must not wait.
    """

    threads: dict[Any, Any]

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Call a function in a thread of its host; see :meth:`asyncio.loop.run_in_executor`.

        Args:
            executor: ignored: no real thread is used, and their number has no limit.
            func: the function.
            args: its arguments.
        """
        self._check_closed()
        future: asyncio.Future[Any] = self.create_future()
        program = PROGRAM.get()
        if _HAS_THREADS and program is not None:
            self._start_thread(program, future, func, args)
            return future
        try:
            future.set_result(func(*args))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            future.set_exception(error)
        return future

    def _start_thread(
        self, program: Any, future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]
    ) -> None:
        from slirpy.testing.sim.blocking.threads import SimThread
        from slirpy.testing.sim.patch.threads import beside_asyncio

        def ended(result: Any, error: BaseException | None) -> None:
            del self.threads[thread]
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        context = Context()
        context.run(PROGRAM.set, program)
        host = program.host
        thread = SimThread(host, lambda: func(*args), context, ended, lambda made: beside_asyncio(host, made))
        self.threads[thread] = program

    def stop_threads(self, program: Any) -> None:
        """Kill the threads of a program."""
        running = [thread for thread, its in self.threads.items() if its is program]
        if running:
            with self.net.replaced():
                for thread in running:
                    del self.threads[thread]
                    thread.kill()
