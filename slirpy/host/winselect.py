"""Waiting for sockets on Windows, for any number of them.

Python's :mod:`select` refuses more than 512 sockets there, because its sets have that size. Those of Windows itself
are counted arrays of any length, so its ``select`` is called by way of :mod:`ctypes`.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import time

from slirpy.interfaces import READ, WRITE
from slirpy.units import SECOND, US
from slirpy.winapi import last_error, library

__all__ = ["WindowsSelect"]

_SLICE = 0.25
"""Longest wait, in seconds, before Python may run a signal handler: Ctrl-C does not interrupt ``select`` here."""


class WindowsSelect:
    """The mechanism of a :class:`~slirpy.host.poller.SelectorPoller`: ``select`` of Windows.

    A connection that fails is reported as writable, as it is elsewhere; Windows itself calls that an exception.
    """

    __slots__ = ("_changed", "_getsockopt", "_reading", "_select", "_sets", "_writing")

    masks = tuple(range(4)) * 8

    def __init__(self) -> None:
        functions = library("ws2_32")
        pointer = ctypes.c_void_p
        self._select, self._getsockopt = functions.select, functions.getsockopt
        self._select.argtypes = [ctypes.c_int, pointer, pointer, pointer, pointer]
        self._getsockopt.argtypes = [pointer, ctypes.c_int, ctypes.c_int, pointer, pointer]
        self._reading: dict[int, None] = {}
        self._writing: dict[int, None] = {}
        self._sets = b"", b""
        self._changed = True

    def change(self, fd: int, old: int, new: int) -> None:
        """Wait for other events of a socket from now on.

        Raises:
            OSError: it is no socket; Windows cannot wait for anything else here.
        """
        if not old:
            kind, size = ctypes.c_int(), ctypes.c_int(ctypes.sizeof(ctypes.c_int))
            what = socket.SOL_SOCKET, socket.SO_TYPE
            if self._getsockopt(fd, *what, ctypes.byref(kind), ctypes.byref(size)):
                raise last_error()
        self._changed = True
        for bit, members in ((READ, self._reading), (WRITE, self._writing)):
            if new & bit:
                members[fd] = None
            else:
                members.pop(fd, None)

    def wait(self, timeout: float | None, most: int = 0) -> list[tuple[int, int]]:
        """Descriptors that are ready, with READ, WRITE or both; empty after ``timeout`` seconds."""
        if self._changed:
            self._sets = _fd_set(self._reading), _fd_set(self._writing)
            self._changed = False
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = _SLICE if end is None else max(0.0, min(_SLICE, end - time.monotonic()))
            ready = self._once(left)
            if ready or (end is not None and time.monotonic() >= end):
                return ready

    def _once(self, seconds: float) -> list[tuple[int, int]]:
        if not self._reading and not self._writing:
            time.sleep(seconds)  # select() without any socket is an error
            return []
        reading, writing = self._sets
        readable = ctypes.create_string_buffer(reading, len(reading))
        writable = ctypes.create_string_buffer(writing, len(writing))
        failed = ctypes.create_string_buffer(writing, len(writing))
        # Less than a second.
        limit = ctypes.create_string_buffer(struct.pack("<ll", 0, int(seconds * SECOND) // US))
        if self._select(0, readable, writable, failed, limit) < 0:
            raise last_error()
        found = dict.fromkeys(_members(readable.raw), READ)
        for each in (writable, failed):
            for fd in _members(each.raw):
                found[fd] = found.get(fd, 0) | WRITE
        return list(found.items())

    def fileno(self) -> int | None:
        """None: there is no descriptor that stands for all of them."""
        return None

    def close(self) -> None:
        """Forget all sockets."""
        self._reading.clear()
        self._writing.clear()
        self._changed = True


# struct fd_set: a count of 32 bits, padding, and sockets of 64 bits; on 32-bit Windows, all have 32.
_WORD = "Q" if struct.calcsize("P") == 8 else "L"
_SIZE = struct.calcsize(f"<{_WORD}")


def _fd_set(members: dict[int, None]) -> bytes:
    return struct.pack(f"<{len(members) + 1}{_WORD}", len(members), *members)


def _members(fd_set: bytes) -> tuple[int, ...]:
    (count,) = struct.unpack_from("<L", fd_set)
    return struct.unpack_from(f"<{count}{_WORD}", fd_set, _SIZE)
