"""What TFTP reads from and writes to: files of a folder, or what a Python callable gives.

Everything is read in order and in pieces of bounded size, so that neither a large file nor a slow disk holds the
network up for long. A file that is written gets its name when it is complete, in one step: nobody sees half of it,
and if the guest goes away, what was there before is still there.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from random import Random
from typing import Any, Protocol, runtime_checkable

from slirpy.rules.tftp import TftpSource
from slirpy.services.tftp_message import Code, RefusalError
from slirpy.services.tftp_paths import PARTIAL, Place, refusal, resolve

__all__ = ["Sink", "Source", "open_callable", "open_read", "open_write"]

_COMMON = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | _COMMON
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _COMMON


class Source(Protocol):
    """What is read."""

    @property
    def size(self) -> int | None:
        """Bytes in all, if that is known before."""

    def read(self, limit: int) -> bytes:
        """The next bytes, up to ``limit`` (1 or more); fewer only at the end.

        Raises:
            RefusalError: it cannot be read further.
        """

    def close(self) -> None:
        """Release it. Harmless when repeated."""


class Sink(Protocol):
    """What is written."""

    def write(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            RefusalError: there is no room, or another failure.
        """

    def commit(self) -> None:
        """That was all: from now on it has its name.

        Raises:
            RefusalError: it could not be given its name.
        """

    def close(self) -> None:
        """Release it; what was not committed is gone. Harmless when repeated."""


class _FileSource:
    """A regular file, up to the length that it had when it was opened: that is what the guest was told."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._left = size
        self.size = size

    def read(self, limit: int) -> bytes:
        wanted = min(limit, self._left)
        data = b""
        try:
            while len(data) < wanted and (piece := os.read(self._fd, wanted - len(data))):
                data = data + piece if data else piece
        except OSError as problem:
            raise refusal(problem) from None
        self._left -= len(data)
        return data

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def open_read(root: Path, name: str, ignore_case: bool = False) -> Source:
    """Open a file of a folder.

    Args:
        root: the folder.
        name: as the guest sent it.
        ignore_case: take a name that differs in case if there is none that does not.

    Raises:
        RefusalError: it is not there, not a file, or may not be read.
    """
    place = resolve(root, name, ignore_case)
    try:
        # Looked at before it is opened: to open a device may do something.
        _regular(os.stat(place.path, dir_fd=place.folder, follow_symlinks=False))
        fd = os.open(place.path, _READ, dir_fd=place.folder)
        try:
            status = os.fstat(fd)
            _regular(status)
        except BaseException:
            os.close(fd)
            raise
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)  # the system reads further ahead
        return _FileSource(fd, status.st_size)
    except OSError as problem:
        raise refusal(problem) from None
    finally:
        place.close()


def _regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise RefusalError(Code.ACCESS, "not a regular file")


class _FileSink:
    """A file without its name yet, in the folder where it is to be."""

    def __init__(self, place: Place, random: Random) -> None:
        self._place = place
        folder = os.path.dirname(place.path)
        self._partial: str | None = os.path.join(folder, f"{PARTIAL}{random.getrandbits(64):016x}")
        self._fd = os.open(self._partial, _CREATE, 0o666, dir_fd=place.folder)

    def keep_mode(self, mode: int) -> None:
        """Have the permissions of the file that it will replace."""
        if hasattr(os, "fchmod"):
            os.fchmod(self._fd, mode & 0o777)

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as problem:
            raise refusal(problem) from None

    def commit(self) -> None:
        assert self._partial is not None
        os.close(self._fd)  # Windows renames no file that is open
        self._fd = -1
        folder = self._place.folder
        try:
            os.replace(self._partial, self._place.path, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError as problem:
            raise refusal(problem) from None
        self._partial = None

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._partial is not None:
            try:
                os.unlink(self._partial, dir_fd=self._place.folder)
            except OSError:
                pass  # somebody else has removed it
            self._partial = None
        self._place.close()
        self._place = Place(None, "")


def open_write(
    root: Path, name: str, random: Random, size: int | None = None, ignore_case: bool = False
) -> Sink:
    """Begin a file of a folder; one of that name is replaced at the end.

    Args:
        root: the folder.
        name: as the guest sent it.
        random: for the name that it has until it is complete.
        size: bytes that it is going to have, if the guest has said so (RFC 2349).
        ignore_case: as for :func:`open_read`.

    Raises:
        RefusalError: the name is not inside, or what has it is no file or may not be written, or there is no room.
    """
    if size is not None:
        from shutil import disk_usage

        if size > disk_usage(root).free:
            raise RefusalError(Code.FULL, "disk full")
    place = resolve(root, name, ignore_case)
    sink = None
    try:
        try:
            status = os.stat(place.path, dir_fd=place.folder, follow_symlinks=False)
        except FileNotFoundError:
            status = None
        if status is not None:
            _regular(status)
            if not os.access(place.path, os.W_OK, dir_fd=place.folder):
                raise RefusalError(Code.ACCESS, "the file may not be written")
        sink = _FileSink(place, random)
        if status is not None:
            sink.keep_mode(status.st_mode)
        return sink
    except OSError as problem:
        (sink or place).close()
        raise refusal(problem) from None
    except RefusalError:
        place.close()
        raise


class _BytesSource:
    """What is in memory."""

    def __init__(self, data: bytes) -> None:
        self._view = memoryview(data)
        self.size = len(data)

    def read(self, limit: int) -> bytes:
        data, self._view = bytes(self._view[:limit]), self._view[limit:]
        return data

    def close(self) -> None:
        self._view = memoryview(b"")


@runtime_checkable
class _Readable(Protocol):
    """What is used of a file object; where it can also tell and seek, its size is known."""

    def read(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


class _ObjectSource:
    """A binary file object of the caller's. What goes wrong in it is the caller's, and ends the transfer only."""

    def __init__(self, file: _Readable) -> None:
        self._file: _Readable | None = file
        self.size = self._rest(file)

    @staticmethod
    def _rest(file: Any) -> int | None:
        try:
            here = file.tell()
            end = file.seek(0, os.SEEK_END)
            file.seek(here)
        except (OSError, ValueError, AttributeError):
            return None  # it cannot be told for a pipe, or for an object that only has read()
        return int(end - here)

    def read(self, limit: int) -> bytes:
        assert self._file is not None
        data = b""
        while len(data) < limit:
            piece = guarded(self._file.read, limit - len(data))
            if not isinstance(piece, bytes):
                raise RefusalError(Code.UNDEFINED, "the source gives no bytes")
            if not piece:
                break
            data += piece
        return data

    def close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            guarded(file.close)


def guarded(call: object, *arguments: object) -> object:
    """Call what belongs to the caller: whatever it raises is logged, for the guest must not end the network.

    Raises:
        RefusalError: it has raised.
    """
    assert callable(call)
    try:
        return call(*arguments)
    except OSError as problem:
        raise refusal(problem) from None
    except Exception as problem:  # of the program's function, which may raise anything
        import logging

        logging.getLogger("slirpy.tftp").exception("the TFTP source %r has failed", call)
        raise RefusalError(Code.UNDEFINED, f"{type(problem).__name__} in the source") from None


def open_callable(serve: TftpSource, name: str) -> Source:
    """What a callable gives for a name.

    Raises:
        RefusalError: it has nothing, or something that is neither bytes nor a file.
    """
    found = guarded(serve, name)
    if found is None:
        raise RefusalError(Code.NOT_FOUND, "file not found")
    if isinstance(found, bytes | bytearray | memoryview):
        return _BytesSource(bytes(found))
    if not isinstance(found, _Readable):
        import logging

        logging.getLogger("slirpy.tftp").error(
            "the TFTP source gave %r for %r; give bytes, a binary file or None", found, name
        )
        raise RefusalError(Code.UNDEFINED, "the source gives neither bytes nor a file")
    return _ObjectSource(found)
