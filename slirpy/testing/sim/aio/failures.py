"""Exceptions that nothing in a program handles: they end the run."""

from __future__ import annotations

import asyncio
from typing import Any

from slirpy.testing.sim.aio.bases import LoopBase
from slirpy.testing.sim.aio.handles import SimHandle, SimTimer
from slirpy.testing.sim.current import PROGRAM

__all__ = ["Failures"]


class Failures(LoopBase):  # type: ignore[misc] # a private class of asyncio
    """The part of the loop that reports exceptions."""

    disposing: bool

    def callback_failed(self, handle: SimHandle | SimTimer, error: BaseException) -> None:
        """Report an exception that a call has raised."""
        program: Any = handle.program
        if isinstance(error, SystemExit) and program is not None:
            program.exited(error)
            return
        self.call_exception_handler(
            {"message": f"Exception in callback {handle!r}", "exception": error, "handle": handle}
        )

    def set_exception_handler(self, handler: Any) -> None:
        """See :meth:`asyncio.loop.set_exception_handler`; it is for the present program only."""
        program: Any = PROGRAM.get()
        if program is None:
            super().set_exception_handler(handler)
        elif handler is not None and not callable(handler):
            raise TypeError(f"A callable object or None is expected, got {handler!r}")
        else:
            program.handler = handler

    def get_exception_handler(self) -> Any:
        """See :meth:`asyncio.loop.get_exception_handler`."""
        program: Any = PROGRAM.get()
        return super().get_exception_handler() if program is None else program.handler

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """See :meth:`asyncio.loop.call_exception_handler`: without a handler, an exception ends the run."""
        program = self._program_of(context)
        if self.disposing or (program is not None and program.over):
            return
        if program is None or program.handler is None:
            super().call_exception_handler(context)
            return
        try:
            program.handler(self, context)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.default_exception_handler(
                {"message": "Unhandled error in exception handler", "exception": error, "context": context}
            )

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """End the run with the exception of ``context``; without one, log as asyncio does."""
        error = context.get("exception")
        program = self._program_of(context)
        if isinstance(error, asyncio.CancelledError):
            return  # asyncio 3.11 reports each stream whose task was cancelled
        if error is None or program is None:
            super().default_exception_handler(context)
        else:
            task = context.get("task") or context.get("future")
            name = f"task {task.get_name()!r} of " if isinstance(task, asyncio.Task) else ""
            error.add_note(str(context.get("message")))
            program.fail(error, name)

    def _program_of(self, context: dict[str, Any]) -> Any:
        for key in ("task", "future", "handle", "transport"):
            program = getattr(context.get(key), "program", None)
            if program is not None:
                return program
        return PROGRAM.get()
