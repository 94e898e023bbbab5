"""Calls of an event loop in virtual time."""

from __future__ import annotations

from asyncio import Handle, TimerHandle
from collections.abc import Callable
from contextvars import Context, copy_context
from traceback import extract_stack
from typing import Any

from slirpy.testing.sim.aio.bases import get_running, set_running
from slirpy.testing.sim.current import PROGRAM
from slirpy.testing.sim.program import Program
from slirpy.testing.sim.scheduler import Processor

__all__ = ["SimHandle", "SimTimer", "run_handle"]


def _init(self: Any, callback: Callable[..., object], args: Any, loop: Any, context: Context | None) -> None:
    """Set what Handle.__init__ sets, in one step, and the program with its processor."""
    if context is None:
        context = copy_context()
    self._callback = callback
    self._args = args
    self._loop = loop
    self._context = context
    self._cancelled = False
    self._repr = None
    self._source_traceback = extract_stack()[:-2] if loop._debug else None
    self.program = program = context.get(PROGRAM)
    self.processor = None if program is None else program.host


def run_handle(self: Any) -> None:
    """Make the call, unless its program was killed."""
    if self._cancelled:
        return
    program = self.program
    if program is not None and program.over:
        return
    loop: Any = self._loop
    outside = get_running()
    set_running(loop)
    try:
        self._context.run(self._callback, *self._args)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        loop.callback_failed(self, error)
    finally:
        set_running(outside)
        self = None  # a traceback may keep this frame


class SimHandle(Handle):
    """A call that is ready; nothing happens if its program was killed in the meantime."""

    __slots__ = ("processor", "program")

    processor: Processor | None
    """The processor of the program's host, on which it runs; None: at once."""
    program: Program | None
    __init__ = _init
    _run = run_handle


class SimTimer(TimerHandle):
    """A call at a time.

    Attributes:
        number: of the scheduler's event; 0: it is not scheduled, or has happened.
    """

    __slots__ = ("number", "processor", "program")

    processor: Processor | None
    program: Program | None

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: Any,
        loop: Any,
        context: Context | None,
    ) -> None:
        _init(self, callback, args, loop, context)
        self._when = when
        self._scheduled = False
        self.number = 0

    _run = run_handle
