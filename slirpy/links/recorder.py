"""Where captured frames go: a file, files in turn, a file object, a pipe.

A file is written without a buffer of ours, whole records in one call: who opens it sees every frame of the
batches that are over, and nothing is lost with the process. A pipe is never waited for: its reader (Wireshark, say)
may be slow, go away and, with a named pipe, come back; the network notices none of it.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from io import IOBase
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias

from slirpy.errors import ConfigError, LinkError
from slirpy.interfaces import WRITE, Buffer, Poller
from slirpy.wire import pcap, pcapng

__all__ = ["FORMATS", "Recorder", "Target"]

Target: TypeAlias = str | os.PathLike[str] | int | BinaryIO | IOBase
"""A file's name, the descriptor of a pipe, or a file object."""

BACKLOG = 4 << 20
"""Bytes that wait for the reader of a pipe; what is more is dropped."""
READER_EVERY = 100_000_000
"""Nanoseconds between two looks whether a named pipe has a reader."""
LAST_WAIT = 1.0
"""Seconds that the reader of a pipe has at the end, to take what waits."""


class _Format(Protocol):
    def header(self) -> bytes: ...

    def record(self, time: int, parts: Sequence[Buffer], inbound: bool) -> bytes: ...


FORMATS: dict[str, _Format] = {"pcap": pcap, "pcapng": pcapng}


class Recorder:
    """Writes frames to ``target`` in a capture format.

    Should writing fail (a full disk, a reader that went away), it ends, and :attr:`error` says why.

    Args:
        target: a file's name, also that of a named pipe, which need not have a reader yet; or the descriptor of a
            pipe, which is taken over; or a file object in binary mode, which stays the caller's and may block.
        file_format: ``"pcap"`` or ``"pcapng"``; None: pcapng if the name ends in ``.pcapng``, else pcap.
        max_bytes: with a file's name: begin another file when this one would grow beyond it.
        max_files: keep so many files, with ``max_bytes``: ``out.pcap`` is the latest, ``out.1.pcap`` the one before.
        clock: gives the time of a frame, in nanoseconds since 1970.

    Attributes:
        error: what ended it early, if anything did.
        frames: how many were written.
        dropped: how many were not, because a pipe was full, or had no reader.

    Raises:
        ConfigError: an argument that cannot be used.
        LinkError: the file cannot be written.
        OSError: the file object cannot be written.
    """

    def __init__(
        self,
        target: Target,
        *,
        file_format: str | None = None,
        max_bytes: int | None = None,
        max_files: int = 2,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        path = Path(target) if isinstance(target, str | os.PathLike) else None
        if file_format is None:
            file_format = "pcapng" if path is not None and path.suffix == ".pcapng" else "pcap"
        if file_format not in FORMATS:
            raise ConfigError(f'capture format "{file_format}": unknown; the formats are {", ".join(FORMATS)}')
        if max_bytes is not None and path is None:
            raise ConfigError("max_bytes: only for a file with a name; give one in place of an open file")
        if (max_bytes is not None and max_bytes < 1) or max_files < 1:
            raise ConfigError(
                f"max_bytes {max_bytes}, max_files {max_files}: must be 1 or more; use for example 10000000 and 5"
            )
        self.error: OSError | None = None
        self.frames = self.dropped = 0
        self._format = FORMATS[file_format]
        self._clock = clock
        self._output: _Output | None = None
        header = self._format.header()
        if path is not None:
            if _is_fifo(path):
                self._output = _Pipe(header, self._fail, path=path)
            else:
                self._output = _File(header, path, max_bytes, max_files)
        elif isinstance(target, int):
            pipe = _Pipe(header, self._fail, fd=target)
            self._output = pipe if self.error is None else None
        else:
            assert not isinstance(target, str | os.PathLike)
            self._output = _FileObject(header, target)

    def start(self, poller: Poller) -> None:
        """Let ``poller`` tell when a pipe has room again; without it, that is tried with each frame."""
        if isinstance(self._output, _Pipe):
            self._output.poller = poller

    def record(self, frames: Iterable[Sequence[Buffer]], inbound: bool) -> None:
        """Write frames, each given in pieces; ``inbound``: whether they came from the guest."""
        output = self._output
        if output is None:
            return
        now, record = self._clock(), self._format.record
        records = [record(now, parts, inbound) for parts in frames]
        try:
            dropped = output.write(records)
        except OSError as error:
            self._fail(error)
            return
        if self.error is None:
            self.frames += len(records) - dropped
        self.dropped += dropped

    def close(self) -> None:
        """End it; a pipe's reader has a second to take what waits. Harmless when repeated."""
        output, self._output = self._output, None
        if output is not None:
            output.close()

    def _fail(self, error: OSError) -> None:
        self.error = error
        output, self._output = self._output, None
        if output is not None:
            output.abandon()


class _Output(Protocol):
    def write(self, records: list[bytes]) -> int:
        """Write whole records, and return how many were dropped."""
        ...

    def close(self) -> None: ...

    def abandon(self) -> None:
        """Close after a failure."""
        ...


class _FileObject:
    """A file of the caller's."""

    def __init__(self, header: bytes, file: BinaryIO | IOBase) -> None:
        self._file: BinaryIO = file  # type: ignore[assignment] # IOBase has no write() for type checkers
        self.write([header])

    def write(self, records: list[bytes]) -> int:
        self._file.write(b"".join(records))
        self._file.flush()
        return 0

    def close(self) -> None:
        """It stays the caller's."""

    abandon = close


class _File:
    """A file, or several in turn."""

    def __init__(self, header: bytes, path: Path, max_bytes: int | None, max_files: int) -> None:
        self._header = header
        self._path = path
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._fd = -1
        self._size = 0
        try:
            self._open()
        except OSError as error:
            self.abandon()
            raise _cannot_write(path, error) from None

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        self._fd = os.open(self._path, flags, 0o666)
        self._size = 0
        self._append(self._header)

    def write(self, records: list[bytes]) -> int:
        if self._max_bytes is None:
            self._append(b"".join(records))
            return 0
        for record in records:
            if self._size + len(record) > self._max_bytes and self._size > len(self._header):
                self._rotate()
            self._append(record)
        return 0

    def _append(self, data: bytes) -> None:
        """Write all of it, or leave the file as it was: a reader never meets half a record."""
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
                older.replace(self._numbered(number))
        self._open()

    def _numbered(self, number: int) -> Path:
        return self._path.with_suffix(f".{number}{self._path.suffix}") if number else self._path

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    abandon = close


class _Pipe:
    """A pipe that is never waited for; a named one may have one reader after the other."""

    def __init__(
        self, header: bytes, failed: Callable[[OSError], None], *, fd: int = -1, path: Path | None = None
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
            raise _cannot_write(path, error) from None

    def _begin(self) -> None:
        self._backlog[:] = self._header
        self._drain()

    def _look(self) -> None:
        """Open a named pipe if somebody reads it."""
        now = time.monotonic_ns()
        if self._looked and now - self._looked < READER_EVERY:
            return
        self._looked = now
        assert self._path is not None
        try:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.ENXIO:  # which says: no reader yet
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

    def _unwait(self) -> None:
        if self._waiting and self.poller is not None:
            self.poller.unregister(self._fd)
        self._waiting = False

    def close(self) -> None:
        end = time.monotonic() + LAST_WAIT
        while self._backlog and self._fd >= 0 and (left := end - time.monotonic()) > 0:
            if select.select([], [self._fd], [], left)[1]:
                self._drain()
        self.abandon()

    def abandon(self) -> None:
        self._unwait()
        self._backlog.clear()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _is_fifo(name: str | os.PathLike[str]) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(name).st_mode)
    except OSError:
        return False  # opening it will tell


def _nonblocking(fd: int) -> int:
    """The descriptor of a pipe as one that does not block, for us alone: others may hold the same pipe."""
    try:
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                os.set_blocking(fd, False)
            return fd
        try:
            own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # no /proc here, or somebody else's pipe
            os.set_blocking(fd, False)
            return fd
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise LinkError(f"capture to descriptor {fd}: {why}; give the writing end of a pipe") from None
    os.close(fd)
    return own


def _cannot_write(path: Path, error: OSError) -> LinkError:
    why = os.strerror(error.errno or 0)
    return LinkError(f'capture file "{path}": cannot be written: {why}; name a file in a folder of yours')
