"""Descriptors by which a caller follows a program that serves a namespace, and ends it."""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Callable

from slirpy.errors import LinkError

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from slirpy import Slirp

__all__ = ["ExitDescriptor", "check_descriptor", "tell_ready", "watch_process"]

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
