"""The place at which a task waits, for error messages."""

from __future__ import annotations

import asyncio
import os
from typing import Any

__all__ = ["place_of"]

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
