"""Branches of a run: the whole world goes on in a copy of the process, and the original stays as it is."""

from __future__ import annotations

import os
import pickle
import sys
import warnings
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from slirpy.errors import StateError

__all__ = ["in_a_copy"]

_T = TypeVar("_T")


def in_a_copy(branch: Callable[[], _T]) -> _T:
    """Call ``branch()`` in a copy of this process, and return what it returns.

    Everything is copied, also coroutines and greenlets in the middle of their work, which no copy of objects could
    do. The copy ends with the call: exit handlers and buffered output are left to the original.

    Raises:
        StateError: the system cannot fork, the result cannot be pickled, or the copy has died.
        Exception: the one that ended ``branch``.
    """
    if not hasattr(os, "fork"):
        raise StateError(
            "a world is forked with its process, and this system cannot do that; run it again instead"
        )
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # From 3.12 on Python warns if there are other threads, such as those of pytest-xdist; the copy has none.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        os.close(reader)
        _answer(writer, branch)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if not answer:
        raise StateError(f"the copy of the world has died, with status {os.waitstatus_to_exitcode(status)}")
    error, value = pickle.loads(answer)
    if error is not None:
        raise error
    result: _T = value
    return result


def _answer(writer: int, branch: Callable[[], Any]) -> NoReturn:
    """Write the outcome of ``branch`` into a pipe, and end the process."""
    try:
        try:
            answer = _pickled(None, branch())
        except BaseException as error:
            answer = _pickled(error, None)
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(answer)
    finally:
        os._exit(0)


def _pickled(error: BaseException | None, value: Any) -> bytes:
    try:
        answer = pickle.dumps((error, value))
        pickle.loads(answer)  # exceptions can be pickled, and fail to come back
    except Exception as trouble:  # pickle raises what the classes of the values raise
        what = f"the result {value!r}" if error is None else f"the exception {error!r}"
        answer = pickle.dumps(
            (StateError(f"{what} cannot be returned from a copy of the world: {trouble}"), None)
        )
    return answer
