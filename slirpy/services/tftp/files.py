"""The sources and sinks of TFTP: files in a folder, the result of a Python callable, conversion to and from netascii.

Data is read in order and in pieces of limited size, so that neither a large file nor a slow disk holds up the network
for long. A file that is written receives its name when it is complete, in one step. Nobody sees half of it, and if
the guest goes away, the previous file is still there.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from random import Random
from typing import Any, Protocol, runtime_checkable

from slirpy.config.tftp import TftpSource
from slirpy.logs import logger
from slirpy.services.tftp.paths import PARTIAL, Place, refusal, resolve
from slirpy.wire.tftp import Code, RefusalError

__all__ = ["NetasciiSink", "NetasciiSource", "Sink", "Source", "open_callable", "open_read", "open_write"]

_COMMON = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | _COMMON
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _COMMON


class Source(Protocol):
    """A file that is read."""

    @property
    def size(self) -> int | None:
        """Size in bytes, if it is known in advance."""

    def read(self, limit: int) -> bytes:
        """The next bytes, up to ``limit`` (1 or more); fewer only at the end.

        Raises:
            RefusalError: reading has failed.
        """

    def close(self) -> None:
        """Release the file. Harmless when repeated."""


class Sink(Protocol):
    """A file that is written."""

    def write(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            RefusalError: there is no space left, or writing has failed for another reason.
        """

    def commit(self) -> None:
        """Complete the file: from now on it has its name.

        Raises:
            RefusalError: the file could not be renamed.
        """

    def close(self) -> None:
        """Release the file, and remove it unless it was committed. Harmless when repeated."""


class _FileSource:
    """A regular file, up to the size that it had when it was opened, which the guest has been sent."""

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


def open_read(root: Path, name: str, ignore_case: bool) -> Source:
    """Open a file of a folder.

    Args:
        root: the folder.
        name: the name as the guest sent it.
        ignore_case: whether a name that differs only in case is used if there is no exact match.

    Raises:
        RefusalError: the file is missing, is not a regular file, or may not be read.
    """
    place = resolve(root, name, ignore_case)
    try:
        # Look before opening: opening a device may have side effects.
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
    """A file under a temporary name, in the folder of its final name."""

    def __init__(self, place: Place, random: Random) -> None:
        self._place = place
        folder = os.path.dirname(place.path)
        self._partial: str | None = os.path.join(folder, f"{PARTIAL}{random.getrandbits(64):016x}")
        self._fd = os.open(self._partial, _CREATE, 0o666, dir_fd=place.folder)

    def keep_mode(self, mode: int) -> None:
        """Take over the permissions of the file that will be replaced."""
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
        os.close(self._fd)  # Windows does not rename open files
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
                pass  # already removed by someone else
            self._partial = None
        self._place.close()
        self._place = Place(None, "")


def open_write(
    root: Path, name: str, random: Random, size: int | None = None, ignore_case: bool = False
) -> Sink:
    """Begin a file in a folder. An existing file of that name is replaced at the end.

    Args:
        root: the folder.
        name: the name as the guest sent it.
        random: source of the temporary name.
        size: size of the file in bytes, if the guest has announced it (RFC 2349).
        ignore_case: as for :func:`open_read`.

    Raises:
        RefusalError: the name leads outside the folder, or belongs to something that is not a regular file or may not
            be written, or there is no space left.
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
    """Bytes in memory."""

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
    """The methods of a file object that are needed. If it can also tell and seek, its size is known."""

    def read(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


class _ObjectSource:
    """A binary file object of the program. If it raises an exception, only the transfer ends."""

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
            return None  # a pipe, or an object with nothing but read()
        return int(end - here)

    def read(self, limit: int) -> bytes:
        assert self._file is not None
        data = b""
        while len(data) < limit:
            piece = _guarded(self._file.read, limit - len(data))
            if not isinstance(piece, bytes):
                raise RefusalError(Code.UNDEFINED, "the source gives no bytes")
            if not piece:
                break
            data += piece
        return data

    def close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            _guarded(file.close)


def _guarded(call: object, *arguments: object) -> object:
    """Call a function of the program. Exceptions are logged, since a guest must not be able to end the network.

    Raises:
        RefusalError: the function has raised an exception.
    """
    assert callable(call)
    try:
        return call(*arguments)
    except OSError as problem:
        raise refusal(problem) from None
    except Exception as problem:  # the program's function may raise anything
        logger("tftp").exception("the TFTP source %r has failed", call)
        raise RefusalError(Code.UNDEFINED, f"{type(problem).__name__} in the source") from None


def open_callable(serve: TftpSource, name: str) -> Source:
    """The source that a callable returns for a name.

    Raises:
        RefusalError: it has returned None, or something that is neither bytes nor a file.
    """
    found = _guarded(serve, name)
    if found is None:
        raise RefusalError(Code.NOT_FOUND, "file not found")
    if isinstance(found, bytes | bytearray | memoryview):
        return _BytesSource(bytes(found))
    if not isinstance(found, _Readable):
        logger("tftp").error("the TFTP source gave %r for %r; give bytes, a binary file or None", found, name)
        raise RefusalError(Code.UNDEFINED, "the source gives neither bytes nor a file")
    return _ObjectSource(found)


# ------------------------------------------------------------------------------------------------ netascii


class NetasciiSource:
    """A file converted for sending.

    Lines end with CR LF on the wire, and a CR alone becomes CR NUL, so the size is not known in advance.
    """

    size = None

    def __init__(self, source: Source) -> None:
        self._source = source
        self._ready = b""

    def read(self, limit: int) -> bytes:
        """See :meth:`Source.read`."""
        while len(self._ready) < limit:
            piece = self._source.read(limit)
            if not piece:
                break
            self._ready += piece.replace(b"\r", b"\r\0").replace(b"\n", b"\r\n")
        piece, self._ready = self._ready[:limit], self._ready[limit:]
        return piece

    def close(self) -> None:
        """Release the file. Harmless when repeated."""
        self._source.close()


class NetasciiSink:
    """A file converted while it is received. A CR before anything but LF or NUL is kept as it is."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._held = b""

    def write(self, data: bytes) -> None:
        """See :meth:`Sink.write`."""
        data = self._held + data
        self._held = b"\r" if data.endswith(b"\r") else b""
        if self._held:
            data = data[:-1]
        self._sink.write(data.replace(b"\r\n", b"\n").replace(b"\r\0", b"\r"))

    def commit(self) -> None:
        """See :meth:`Sink.commit`."""
        self._sink.write(self._held)
        self._held = b""
        self._sink.commit()

    def close(self) -> None:
        """Release the file. Harmless when repeated."""
        self._sink.close()
