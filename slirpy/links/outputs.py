"""Destinations of captures: a file, files in rotation, a file object, a pipe.

A file is written unbuffered, whole records in one call: readers see every frame of the finished batches, and nothing
is lost with the process. A pipe is never waited for: its reader (such as Wireshark) may be slow, exit and, with a
named pipe, come back; the network is unaffected.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from collections.abc import Callable
from io import IOBase
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from slirpy import forks
from slirpy.errors import LinkError
from slirpy.errortext import strerror
from slirpy.interfaces import WRITE, Poller
from slirpy.ownfile import IsOurs, check_own, open_own
from slirpy.records import Protocol
from slirpy.reprs import never_raises
from slirpy.units import MS

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FileOutput", "NamedFile", "Output", "Pipe", "Written", "is_fifo"]

Header: TypeAlias = Callable[[], bytes]
"""Returns the beginning of a file, with all descriptions so far."""

BACKLOG = 4 << 20
"""Bytes that may wait for the reader of a pipe; records beyond are dropped."""
READER_EVERY = 100 * MS
"""Nanoseconds between checks whether a named pipe has a reader."""
LAST_WAIT = 1.0
"""Seconds that the reader of a pipe gets at the end to read the backlog."""


class Output(Protocol):
    def write(self, records: list[bytes]) -> int:
        """Write whole records, and return the number dropped."""

    def describe(self, block: bytes) -> None:
        """Write a description that every later record needs; files that begin later contain it in their header."""

    def close(self) -> None: ...

    def abandon(self) -> None:
        """Close after a failure."""


class FileOutput:
    """A file object of the caller."""

    def __init__(self, header: Header, file: BinaryIO | IOBase) -> None:
        self._file: BinaryIO = file  # type: ignore[assignment] # IOBase has no write() for type checkers
        self.describe(header())

    def write(self, records: list[bytes]) -> int:
        self.describe(b"".join(records))
        return 0

    def describe(self, block: bytes) -> None:
        self._file.write(block)
        self._file.flush()

    def close(self) -> None:
        """Leave the file object open: it belongs to the caller."""

    abandon = close


class NamedFile:
    """A file, or several in rotation."""

    def __init__(
        self,
        header: Header,
        path: Path,
        is_ours: IsOurs,
        max_bytes: int | None = None,
        max_files: int = 1,
        what: str = "capture",
        overwrite: bool = True,
    ) -> None:
        self._header = header
        self._path = path
        self._is_ours = is_ours
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._fd = -1
        self._size = self._begun = 0
        try:
            for number in range(1, max_files if max_bytes is not None else 0):
                if not overwrite and os.path.lexists(self._numbered(number)):
                    raise FileExistsError(errno.EEXIST, "it exists", os.fspath(self._numbered(number)))
                check_own(self._numbered(number), is_ours)
            self._open(new=not overwrite)
        except OSError as error:
            self.abandon()
            raise cannot_write(what, error.filename or path, error) from None

    def _open(self, new: bool = False) -> None:
        self._fd = open_own(self._path, self._is_ours, new=new)
        self._size = 0
        self._begun = 0
        self.describe(self._header())

    def write(self, records: list[bytes]) -> int:
        if self._max_bytes is None:
            self._append(b"".join(records))
            return 0
        for record in records:
            if self._size + len(record) > self._max_bytes and self._size > self._begun:
                self._rotate()
            self._append(record)
        return 0

    def describe(self, block: bytes) -> None:
        if self._begun == self._size:
            self._begun += len(block)
        self._append(block)

    def _append(self, data: bytes) -> None:
        """Write everything, or leave the file unchanged: a reader never meets half a record."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            try:
                os.ftruncate(self._fd, self._size)
            except OSError:
                pass  # a device
            raise
        self._size += len(data)

    def _rotate(self) -> None:
        os.close(self._fd)
        self._fd = -1
        for number in range(self._max_files - 1, 0, -1):
            older = self._numbered(number - 1)
            if older.exists():
                check_own(self._numbered(number), self._is_ours)
                older.replace(self._numbered(number))
        self._open()

    def _numbered(self, number: int) -> Path:
        return self._path.with_suffix(f".{number}{self._path.suffix}") if number else self._path

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    abandon = close


class Pipe:
    """A pipe that is never waited for; a named one may have several readers in turn."""

    def __init__(
        self,
        header: Header,
        failed: Callable[[OSError], None],
        *,
        fd: int = -1,
        path: Path | None = None,
        what: str = "capture",
    ) -> None:
        self.poller: Poller | None = None
        self._header = header
        self._failed = failed
        self._path = path
        self._fd = fd
        self._backlog = bytearray()
        self._waiting = False
        self._looked = 0
        if path is None:
            self._fd = _nonblocking(fd)
            self._begin()
            return
        try:
            self._look()
        except OSError as error:
            raise cannot_write(what, path, error) from None

    def _begin(self) -> None:
        self._backlog[:] = self._header()
        self._drain()

    def _look(self) -> None:
        """Open a named pipe if it has a reader."""
        now = time.monotonic_ns()
        if self._looked and now - self._looked < READER_EVERY:
            return
        self._looked = now
        assert self._path is not None
        try:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.ENXIO:  # ENXIO: no reader yet
                raise
            return
        self._begin()

    def write(self, records: list[bytes]) -> int:
        if self._fd < 0:
            self._look()
        if self._fd < 0:
            return len(records)
        dropped = 0
        for record in records:
            if len(self._backlog) + len(record) > BACKLOG:
                dropped += 1
            else:
                self._backlog += record
        if not self._waiting:
            self._drain()
        return dropped

    def describe(self, block: bytes) -> None:
        if self._fd >= 0:  # otherwise it will be in the header
            self._backlog += block
            if not self._waiting:
                self._drain()

    def _drain(self) -> None:
        try:
            while self._backlog:
                del self._backlog[: os.write(self._fd, self._backlog)]
        except BlockingIOError:
            if self.poller is not None and not self._waiting:
                self._waiting = True
                self.poller.register(self._fd, WRITE, self._ready)
            return
        except OSError as error:
            self.abandon()
            if self._path is None:
                self._failed(error)
            return
        self._unwait()

    def _ready(self, mask: int) -> None:
        self._drain()

    def detach(self) -> None:
        """Stop using the poller."""
        self._unwait()
        self.poller = None

    def _unwait(self) -> None:
        if self._waiting and self.poller is not None:
            self.poller.unregister(self._fd)
        self._waiting = False

    def close(self) -> None:
        end = time.monotonic() + LAST_WAIT
        while self._backlog and self._fd >= 0 and (left := end - time.monotonic()) > 0:
            if select.select([], [self._fd], [], left)[1]:
                self._drain()
        late = bool(self._backlog)
        self.abandon()
        if late:
            self._failed(OSError(errno.ETIMEDOUT, "its reader was too slow at the end"))

    def abandon(self) -> None:
        self._unwait()
        self._backlog.clear()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Written:
    """The common part of captures and traces: an output for several links that ends when it fails."""

    error: OSError | None
    """The error that ended it early, or None."""
    on_error: Callable[[OSError], object] | None
    """Called once, when the error occurs, in the thread that drives the network."""
    on_dropped: Callable[[int], object] | None
    """Called with the number of records each time that some are not written, in the same thread."""
    dropped: int
    """Number of records not written, because a pipe was full or had no reader."""

    def __init__(self) -> None:
        self.error = None
        self.on_error = None
        self.on_dropped = None
        self.dropped = 0
        self._output: Output | None = None
        self._links = 0
        self._made_at = forks.count

    @never_raises
    def __repr__(self) -> str:
        state = (
            f"ended: {self.error}" if self.error is not None else "closed" if self._output is None else "open"
        )
        lost = f", {self.dropped} dropped" if self.dropped else ""
        return f"<{type(self).__name__} {state}{self._written()}{lost}>"

    def _written(self) -> str:
        """Describe what was written, after a comma."""
        return ""

    def start(self, poller: Poller) -> None:
        """Let ``poller`` report when a pipe has room again; without it, each record tries."""
        self._links += 1
        if isinstance(self._output, Pipe):
            self._output.poller = poller

    def stop(self) -> None:
        """Forget the poller given to :meth:`start`, which ends before the file does."""
        self._links -= 1
        if not self._links and isinstance(self._output, Pipe):
            self._output.detach()

    def close(self) -> None:
        """Close the output; a pipe's reader has a second to read the backlog. Harmless when repeated.

        In a forked child only the descriptor is closed: the backlog is the parent's to write.
        """
        output, self._output = self._output, None
        if output is not None:
            if forks.is_fork(self._made_at):
                output.abandon()
            else:
                output.close()

    def _drop(self, records: int) -> None:
        """Count records that were not written."""
        if records:
            self.dropped += records
            if self.on_dropped is not None:
                self.on_dropped(records)

    def _fail(self, error: OSError) -> None:
        first, self.error = self.error is None, error
        output, self._output = self._output, None
        if output is not None:
            output.abandon()
        if first and self.on_error is not None:
            self.on_error(error)


def is_fifo(name: str | os.PathLike[str]) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(name).st_mode)
    except OSError:
        return False  # opening it will show that


def _nonblocking(fd: int) -> int:
    """Reopen the descriptor of a pipe as non-blocking for this process alone: others may share the pipe."""
    try:
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                os.set_blocking(fd, False)
            return fd
        try:
            own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # no /proc here, or another user's pipe
            os.set_blocking(fd, False)
            return fd
    except OSError as error:
        why = strerror(error.errno or 0).lower()
        raise LinkError(f"capture to descriptor {fd}: {why}; pass the write end of a pipe") from None
    os.close(fd)
    return own


def cannot_write(what: str, path: object, error: OSError) -> LinkError:
    if isinstance(error, FileExistsError):
        why = (
            strerror(error.errno or 0).lower()
            if error.strerror == os.strerror(errno.EEXIST)
            else error.strerror
        )
        return LinkError(f'{what} file "{path}": {why}; name another file, or remove this one')
    why = strerror(error.errno or 0)
    return LinkError(f'{what} file "{path}": cannot be written: {why}; name a file in a folder of yours')
