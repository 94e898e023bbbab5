"""Open sockets of programs: what descriptors refer to, as a kernel has them."""

from __future__ import annotations

import abc
import errno
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from slirpy.errortext import strerror
from slirpy.interfaces import Buffer
from slirpy.records import NamedTuple
from slirpy.testing.sim.standstill import Standstill

if TYPE_CHECKING:
    from slirpy.testing.sim.host import Host
    from slirpy.testing.sim.world import World

__all__ = [
    "FIRST_DESCRIPTOR",
    "Descriptors",
    "End",
    "Received",
    "close_descriptor",
    "descriptors",
    "failure",
    "would_block",
]

IDLE_CALLS = 100_000
"""Calls in vain, one after the other at one point of time, after which a program is taken to spin."""
FIRST_DESCRIPTOR = 1 << 30
"""The first simulated file descriptor; real ones are smaller."""


def failure(number: int) -> OSError:
    """Return the exception for a value of ``errno``."""
    return OSError(number, strerror(number))


def would_block() -> BlockingIOError:
    """Return the exception of a call that cannot go on now."""
    return BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


class Received(NamedTuple):
    """Data that a program has received."""

    data: bytes
    sender: tuple[bytes, int] | None = None
    """Address and port of the sender of a datagram; None with streams."""
    truncated: bool = False
    """True if the datagram was longer than the limit."""


class End(abc.ABC):
    """An open socket. Calls never wait: they raise :class:`BlockingIOError` where a kernel would wait.

    Args:
        host: the host that it belongs to.
        family: AF_INET, AF_INET6, or AF_UNIX for the ends of a pair.

    Attributes:
        error: a value of ``errno`` that the next call reports; 0: none.
        nonblocking: True if calls through a descriptor do not wait (O_NONBLOCK), whatever the timeout of a socket.
        options: values set by ``setsockopt``, by level and name.
    """

    type: socket.SocketKind

    def __init__(self, host: Host, family: int) -> None:
        self.host = host
        self.family = family
        self.error = 0
        self.nonblocking = False
        self.options: dict[tuple[int, int], int | bytes] = {}
        self._users = 1
        self._watchers: list[Callable[[], object]] = []
        self._idle = Standstill(IDLE_CALLS)

    def idle(self, call: str) -> None:
        """Take note of a call that did not wait and has brought nothing.

        Args:
            call: its name, for the error.

        Raises:
            DeadlockError: the program calls it again and again, and so time stands still for everybody.
        """
        self._idle.asked(self.host.net.now, self.host.name, f"{call} has brought nothing")

    # ------------------------------------------------------------------------------------ readiness

    @abc.abstractmethod
    def can_read(self) -> bool:
        """Report whether reading, or accepting, does not block."""

    @abc.abstractmethod
    def can_write(self) -> bool:
        """Report whether writing does not block, or a connection attempt has ended."""

    def has_input(self) -> bool:
        """Report whether there is something to read other than an error, as POLLIN does."""
        return self.can_read()

    def hung_up(self) -> bool:
        """Report whether both directions have ended, as POLLHUP does."""
        return False

    def ended(self) -> bool:
        """Report whether the other side has sent its end, as POLLRDHUP does."""
        return False

    def watch(self, call: Callable[[], object]) -> None:
        """Call ``call()`` whenever :meth:`can_read` or :meth:`can_write` may have changed."""
        self._watchers.append(call)

    def unwatch(self, call: Callable[[], object]) -> None:
        """Undo one :meth:`watch`. Harmless without one."""
        if call in self._watchers:
            self._watchers.remove(call)

    def changed(self) -> None:
        """Call the watchers."""
        for call in tuple(self._watchers):
            call()

    def raise_error(self) -> None:
        """Raise the pending error, if there is one; it is reported once."""
        if self.error:
            number, self.error = self.error, 0
            raise failure(number)

    # ------------------------------------------------------------------------------- calls of programs

    @property
    @abc.abstractmethod
    def local(self) -> tuple[bytes, int] | None:
        """Own address and port; None: not bound."""

    sender: tuple[bytes, int] | None = None
    """Address and port from which an accepted connection came, even if it has been reset since."""

    def remote(self) -> tuple[bytes, int]:
        """Return address and port of the far end.

        Raises:
            OSError: ENOTCONN.
        """
        raise failure(errno.ENOTCONN)

    def bind(self, address: bytes, port: int) -> None:
        """Reserve an address and a port; port 0 chooses a free one.

        Raises:
            OSError: EINVAL: bound already; EADDRINUSE; EADDRNOTAVAIL.
        """
        raise failure(errno.EOPNOTSUPP)

    def listen(self, backlog: int) -> None:
        """Accept connections from now on.

        Raises:
            OSError: EOPNOTSUPP, EADDRINUSE; EINVAL: the socket is connected.
        """
        raise failure(errno.EOPNOTSUPP)

    def accept(self) -> End:
        """Return the next connection.

        Raises:
            BlockingIOError: there is none.
            OSError: EOPNOTSUPP; EINVAL: the socket does not listen.
        """
        raise failure(errno.EOPNOTSUPP)

    def connect(self, address: bytes, port: int) -> None:
        """Connect, or start to.

        Raises:
            BlockingIOError: EINPROGRESS: the attempt has begun.
            OSError: EALREADY, EISCONN, ENETUNREACH, EADDRINUSE, or the failure of an earlier attempt.
        """
        raise failure(errno.EOPNOTSUPP)

    def disconnect(self) -> None:
        """Undo :meth:`connect`, as an address of AF_UNSPEC does.

        Raises:
            OSError: EOPNOTSUPP.
        """
        raise failure(errno.EOPNOTSUPP)

    @abc.abstractmethod
    def send(self, buffers: Sequence[Buffer], to: tuple[bytes, int] | None = None) -> int:
        """Send what fits into the send buffer, or one datagram, and return its length.

        Args:
            buffers: the bytes.
            to: address and port for a datagram of an unconnected socket; streams ignore it.

        Raises:
            BlockingIOError: nothing fits.
            OSError: EPIPE, EMSGSIZE, EDESTADDRREQ, or the failure of the connection.
        """

    @abc.abstractmethod
    def receive(self, limit: int, peek: bool = False) -> Received:
        """Return up to ``limit`` bytes, or one datagram; ``b""`` at the end of a stream.

        Raises:
            BlockingIOError: there is nothing yet.
            OSError: ENOTCONN, or the failure of the connection.
        """

    @abc.abstractmethod
    def shutdown(self, how: int) -> None:
        """Close one direction, or both.

        Raises:
            OSError: ENOTCONN.
        """

    # ----------------------------------------------------------------------------------- descriptors

    def acquire(self) -> End:
        """Add a user: a descriptor, or a call that waits."""
        self._users += 1
        return self

    def release(self) -> None:
        """Remove a user; the last one closes the socket."""
        self._users -= 1
        if not self._users:
            self._watchers.clear()
            self.close()

    @abc.abstractmethod
    def close(self) -> None:
        """Close the socket, as the kernel does once no descriptor refers to it."""

    # ---------------------------------------------------------------------------------------- options

    def option(self, level: int, name: int) -> int | bytes:
        """Return the value of an option."""
        return self.options.get((level, name), 0)

    @property
    def dual(self) -> bool:
        """True if the address ``::`` means IPv4 as well: IPV6_V6ONLY is not set."""
        return self.family == socket.AF_INET6 and not self.option(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)

    def set_option(self, level: int, name: int, value: int | bytes) -> None:
        """Set an option."""
        self.options[level, name] = value


class Descriptors:
    """The file descriptors of all programs of a network.

    Attributes:
        ends: the open sockets by their numbers.
    """

    def __init__(self) -> None:
        self.ends: dict[int, End] = {}
        self._next = FIRST_DESCRIPTOR

    def add(self, end: End) -> int:
        """Return a new number for an open socket."""
        self._next += 1
        self.ends[self._next] = end
        return self._next

    def remove(self, number: int) -> None:
        """Forget a number. Harmless when repeated."""
        self.ends.pop(number, None)

    def find(self, number: int) -> End:
        """Return the open socket that a number refers to.

        Raises:
            OSError: EBADF: it refers to nothing.
        """
        end = self.ends.get(number)
        if end is None:
            raise failure(errno.EBADF)
        return end

    def close(self) -> None:
        """Forget all numbers."""
        self.ends.clear()


def close_descriptor(net: World[Any], number: int) -> None:
    """Close a descriptor, and the socket with its last one.

    Raises:
        OSError: EBADF: it refers to nothing.
    """
    table = descriptors(net)
    end = table.find(number)
    table.remove(number)
    end.release()


def descriptors(net: World[Any]) -> Descriptors:
    """Return the file descriptors of a network."""
    found = net.extensions.get("descriptors")
    if not isinstance(found, Descriptors):
        found = net.extensions["descriptors"] = Descriptors()
    return found
