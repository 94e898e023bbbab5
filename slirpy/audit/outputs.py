"""Destinations of an audit log: a file, an inherited descriptor, a unix socket.

Each is written without waiting. A file is appended to, never truncated, and private to its owner. It is opened anew
when it has been renamed or removed, so that the usual programs can rotate it without a signal.
"""

from __future__ import annotations

import abc
import errno
import os
import socket
import stat
from pathlib import Path

from slirpy.config.audit import parse_audit
from slirpy.errors import LinkError
from slirpy.errortext import strerror

__all__ = ["Descriptor", "Destination", "File", "UnixSocket", "open_destination"]

_FLAGS = ("O_CLOEXEC", "O_BINARY", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK")
_HEAD = b'{"v":1,'
"""Beginning of every line of a log."""
_ADVICE = {
    errno.ELOOP: "is a symbolic link, which somebody else may have put there; name the file itself",
    errno.ENXIO: "is a named pipe without a reader; start the reader first",
    errno.EISDIR: "is a folder; name a file in it",
}


class Destination(abc.ABC):
    """A place that takes lines."""

    whole_lines = False
    """True if each line is a message."""

    @abc.abstractmethod
    def open(self) -> None:
        """Open it.

        Raises:
            OSError: it cannot be had.
        """

    @abc.abstractmethod
    def write(self, data: memoryview) -> int:
        """Write some bytes; returns their number.

        Raises:
            BlockingIOError: there is no room now.
            OSError: it cannot be written.
        """

    def check(self) -> bool:
        """Report whether the place was opened anew since the last call; a line that was begun is then repeated."""
        return False

    @abc.abstractmethod
    def close(self) -> None:
        """Release the descriptor. Harmless when repeated."""


class File(Destination):
    """A file, or a device or named pipe, by its name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._inode: tuple[int, int] | None = None

    def open(self) -> None:
        """Open the file to append to it; it is created for its owner alone."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        for name in _FLAGS:
            flags |= getattr(os, name, 0)
        fd = os.open(self._path, flags, 0o600)
        try:
            status = os.fstat(fd)
            if stat.S_ISREG(status.st_mode):
                if status.st_size:
                    self._continue(fd, status.st_size)
                self._inode = status.st_dev, status.st_ino
            elif stat.S_ISBLK(status.st_mode):
                raise FileExistsError(errno.EEXIST, "is a disk")
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def _continue(self, fd: int, size: int) -> None:
        """Check that a file with content is a log, and end its last line, which a crash may have cut."""
        with open(self._path, "rb", buffering=0) as file:
            if (os.fstat(file.fileno()).st_dev, os.fstat(file.fileno()).st_ino) != (
                os.fstat(fd).st_dev,
                os.fstat(fd).st_ino,
            ):
                raise FileExistsError(errno.EEXIST, "is being replaced by another program")
            if file.read(len(_HEAD)) != _HEAD:
                raise FileExistsError(errno.EEXIST, "has content that is no audit log")
            file.seek(size - 1)
            if file.read(1) != b"\n":
                os.write(fd, b"\n")

    def write(self, data: memoryview) -> int:
        """See :meth:`Destination.write`."""
        return os.write(self._fd, data)

    def check(self) -> bool:
        """Open the file anew if its name stands for another one. If that fails, the old one is kept."""
        if self._inode is None:
            return False
        try:
            status = os.stat(self._path, follow_symlinks=False)
            if (status.st_dev, status.st_ino) == self._inode:
                return False
        except OSError as error:
            if error.errno != errno.ENOENT:
                return False
        old = self._fd
        try:
            self.open()
        except OSError:
            return False
        os.close(old)
        return True

    def close(self) -> None:
        """See :meth:`Destination.close`."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Descriptor(Destination):
    """An inherited descriptor of a file, pipe or socket, which is taken over. Others may share its open file, so it
    is not made non-blocking, except that a pipe is opened a second time.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Check the descriptor."""
        status = os.fstat(self._fd)
        if stat.S_ISFIFO(status.st_mode):
            try:
                own = os.open(f"/proc/self/fd/{self._fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:  # no /proc here, or another user's pipe
                os.set_blocking(self._fd, False)
            else:
                if self._fd > 2:
                    os.close(self._fd)
                self._fd = own
        elif stat.S_ISSOCK(status.st_mode):
            self._socket = socket.socket(fileno=self._fd)
            self.whole_lines = self._socket.type != socket.SOCK_STREAM
        if self._fd > 2:
            os.set_inheritable(self._fd, False)

    def write(self, data: memoryview) -> int:
        """See :meth:`Destination.write`."""
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        return os.write(self._fd, data)

    def close(self) -> None:
        """See :meth:`Destination.close`."""
        if self._socket is not None:
            self._socket.close()
        elif self._fd > 2:
            try:
                os.close(self._fd)
            except OSError:
                pass  # it was never open
        self._fd = -1


class UnixSocket(Destination):
    """A unix socket at which a collector listens, for a stream or for datagrams."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Connect."""
        self.close()
        if not hasattr(socket, "AF_UNIX"):
            raise OSError(errno.EAFNOSUPPORT, strerror(errno.EAFNOSUPPORT))
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            made = socket.socket(socket.AF_UNIX, kind)
            made.setblocking(False)
            try:
                made.connect(self._path)
            except OSError as error:
                made.close()
                if error.errno != errno.EPROTOTYPE or kind == socket.SOCK_DGRAM:
                    raise
                continue
            self._socket = made
            self.whole_lines = kind == socket.SOCK_DGRAM
            return

    def write(self, data: memoryview) -> int:
        """See :meth:`Destination.write`."""
        if self._socket is None:
            raise OSError(errno.ENOTCONN, strerror(errno.ENOTCONN))
        try:
            return self._socket.send(data)
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise BlockingIOError from None
            if not isinstance(error, BlockingIOError):
                self.close()  # so that check() connects again
            raise

    def check(self) -> bool:
        """Connect again after a failure has closed the socket."""
        if self._socket is not None:
            return False
        self.open()
        return True

    def close(self) -> None:
        """See :meth:`Destination.close`."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def open_destination(text: str) -> Destination:
    """Open the place that ``audit`` names.

    Raises:
        ConfigError: it cannot be read.
        LinkError: the place cannot be had; the text says why.
    """
    place = parse_audit(text)
    found: Destination
    if place.file is not None:
        found = File(place.file)
    elif place.descriptor is not None:
        found = Descriptor(place.descriptor)
    else:
        found = UnixSocket(place.socket)
    try:
        found.open()
    except OSError as error:
        found.close()
        why = strerror(error.errno or 0).lower()
        if isinstance(error, FileExistsError):
            raise LinkError(f'audit "{text}" {error.strerror}; name another file, or move this one') from None
        if place.socket:
            raise LinkError(f'audit "{text}": cannot connect: {why}; start the collector first') from None
        if place.descriptor is not None:
            raise LinkError(f'audit "{text}": {why}; pass an open descriptor, such as 3 with 3>>FILE') from None
        if error.errno in _ADVICE:
            raise LinkError(f'audit "{text}" {_ADVICE[error.errno]}') from None
        raise LinkError(f'audit "{text}": cannot be written: {why}; name a file in a folder of yours') from None
    return found
