"""Descriptors and a file by which a caller follows a program that serves a namespace, and ends it."""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Callable

from slirpy.errors import LinkError
from slirpy.ownfile import open_own

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from slirpy import Slirp

__all__ = ["ExitDescriptor", "PidFile", "check_descriptor", "tell_ready", "watch_process"]

_DIGITS = b"0123456789\n"
_ROOM = 65536


def check_descriptor(option: str, number: int) -> None:
    """Check that the caller has passed a descriptor.

    Raises:
        LinkError: it is not open.
    """
    try:
        os.fstat(number)
    except OSError:
        raise LinkError(
            f"{option} {number}: descriptor {number} is not open; the caller must pass it on"
        ) from None
    os.set_inheritable(number, False)


def tell_ready(number: int) -> None:
    """Write ``1`` to the caller's descriptor, and close it. A caller that has gone does not matter."""
    try:
        os.write(number, b"1")
    except OSError:
        pass
    if number > 2:
        os.close(number)


class ExitDescriptor:
    """The caller's descriptor whose hang-up ends the program.

    Args:
        number: the descriptor; a file never hangs up.
        ended: called once, at the hang-up.
    """

    def __init__(self, number: int, ended: Callable[[], object]) -> None:
        self._number = number
        self._ended = ended

    def watch(self, net: Slirp) -> None:
        """Have the network watch it.

        Raises:
            LinkError: it cannot be watched.
        """
        try:
            with select.epoll() as probe:
                probe.register(self._number)
        except OSError as error:
            if error.errno == errno.EPERM:
                return  # a file
            raise LinkError(
                f"descriptor {self._number} cannot be watched: {os.strerror(error.errno or 0)}"
            ) from None
        os.set_blocking(self._number, False)
        net.watch(self._number, lambda _: self._ready(net))

    def _ready(self, net: Slirp) -> None:
        try:
            if os.read(self._number, _ROOM):
                return  # only its end matters
        except BlockingIOError:
            return
        except OSError:
            pass  # reset, or open for writing only and without a reader
        net.unwatch(self._number)
        self._ended()


def watch_process(net: Slirp, process: int, ended: Callable[[], object]) -> int | None:
    """Have the network watch a process. Returns the descriptor to close at the end, or None if it has ended already.

    Args:
        net: the network.
        process: its id.
        ended: called once, at its end.
    """
    try:
        descriptor = os.pidfd_open(process)
    except OSError:
        ended()
        return None

    def ready(_: int) -> None:
        net.unwatch(descriptor)
        ended()

    net.watch(descriptor, ready)
    return descriptor


class PidFile:
    """A file with the number of this process, which is removed at the end. Use it as a context manager.

    Args:
        path: the file. One that contains nothing but a number of no process is replaced.

    Raises:
        LinkError: it has other content, or cannot be written.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self._content = b"%d\n" % os.getpid()
        try:
            descriptor = open_own(path, _is_stale)
        except FileExistsError as error:
            why = "it names a process that runs" if _is_number(path) else error.strerror
            raise LinkError(f'--pid-file "{path}": {why}, and is left alone; name another file') from None
        except OSError as error:
            why = os.strerror(error.errno or 0).lower()
            raise LinkError(f'--pid-file "{path}": {why}; name a file in a folder of yours') from None
        try:
            os.fchmod(descriptor, 0o644)  # for others to read, as such files are
            os.write(descriptor, self._content)
        finally:
            os.close(descriptor)

    def __enter__(self) -> PidFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        """Remove the file, unless another program has written to it."""
        try:
            with open(self.path, "rb") as file:
                if file.read(32) != self._content:
                    return
            os.unlink(self.path)
        except OSError:
            pass


def _is_number(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return not file.read(32).strip(_DIGITS)
    except OSError:
        return False


def _is_stale(content: bytes) -> bool:
    """Report whether a file has the number of a process that is gone, or our own, and nothing else."""
    if content.strip(_DIGITS) or len(content) > 20:
        return False
    number = int(content or b"0")
    if number in (0, os.getpid()):
        return True
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False
