"""The place at which a task waits, for error messages."""

from __future__ import annotations

import asyncio
import os
from types import CoroutineType
from typing import Any

__all__ = ["cleans_up", "place_of"]

_LIBRARY = os.path.dirname(asyncio.__file__) + os.sep
_DEPTH = 200


def _frames(coro: Any) -> list[Any]:
    """Return the frames of a suspended coroutine and of everything that it awaits, outermost first."""
    frames = []
    for _ in range(_DEPTH):
        frame = (
            getattr(coro, "cr_frame", None)
            or getattr(coro, "gi_frame", None)
            or getattr(coro, "ag_frame", None)
        )
        if frame is not None:
            frames.append(frame)
        following = (
            getattr(coro, "cr_await", None)
            or getattr(coro, "gi_yieldfrom", None)
            or getattr(coro, "ag_await", None)
        )
        if following is None:
            break
        coro = following
    return frames


def cleans_up(coro: Any) -> bool:
    """Report whether code of a program may run when a coroutine is closed: a ``finally``, or the end of a ``with``.

    From Python 3.12 on it always may, as far as can be seen from outside.
    """
    for _ in range(_DEPTH):
        if type(coro) is not CoroutineType:
            # At the end of the chain is a future; whatever else it is may have frames of its own.
            return type(coro).__qualname__ != "FutureIter" or type(coro).__module__ != "_asyncio"
        frame = coro.cr_frame
        if frame is not None:
            code = frame.f_code
            if code.co_exceptiontable and not code.co_filename.startswith(_LIBRARY):
                return True
        coro = coro.cr_await
        if coro is None:
            return False
    return True


def _text(frame: Any) -> str:
    path = os.path.relpath(frame.f_code.co_filename) if frame.f_code.co_filename else "?"
    if path.startswith(".."):
        path = frame.f_code.co_filename
    return f"{path}:{frame.f_lineno} in {frame.f_code.co_name}"


def place_of(task: asyncio.Task[Any]) -> str:
    """Describe where a task waits: the innermost line outside asyncio, after that of the program itself."""
    if task.done():
        return "it has ended"
    frames = _frames(task.get_coro())
    own = [frame for frame in frames if not frame.f_code.co_filename.startswith(_LIBRARY)]
    if not own:
        return "an unknown place"
    first, last = own[0], own[-1]
    return _text(last) if first is last else f"{_text(first)}, at {_text(last)}"
