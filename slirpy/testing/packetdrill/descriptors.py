"""The sockets of a script: the meaning of each descriptor, and its settings."""

from __future__ import annotations

from typing import TypeAlias

from slirpy.tcp import Connection, State
from slirpy.testing.packetdrill.arguments import number
from slirpy.testing.packetdrill.host import FailureError, Host
from slirpy.testing.packetdrill.script import Call
from slirpy.testing.packetdrill.user import User

__all__ = ["Descriptors", "Outcome"]

Outcome: TypeAlias = int | None
"""Result of a call: a number, a negative ``errno`` value, or None while it blocks."""

WAITING = (State.LISTEN, State.SYN_SENT, State.SYN_RECEIVED)


class Descriptors:
    """A listening or connecting socket, and the one that ``accept`` returns.

    Args:
        host: the connection.
        user: tracks the data written and read.
    """

    def __init__(self, host: Host, user: User) -> None:
        self.host = host
        self.user = user
        self.listener: int | None = None
        self.fd: int | None = None
        """The connection's own descriptor."""
        self.accepted: Connection | None = None
        """The connection returned by ``accept``."""
        self.connecting = False
        """True if ``connect`` was called."""
        self.nonblocking: set[int] = set()
        self.linger_reset = False
        self.read_shut = False
        self.maxseg = 0
        """Value of TCP_MAXSEG."""
        self.notsent_lowat = 0
        """Value of TCP_NOTSENT_LOWAT; 0: unlimited."""
        self.send_buffer_set = False
        """True if SO_SNDBUF was set, so the buffer does not grow."""
        self.inq = False
        """True if ``recvmsg`` reports the amount of remaining data."""
        self.remembered: dict[str, object] = {}
        """Options that have no effect but can be read back."""

    def begin(self, fd: int) -> None:
        """Start a new socket."""
        self.fd = fd
        self.connecting = self.linger_reset = self.read_shut = self.inq = self.send_buffer_set = False
        self.maxseg = self.notsent_lowat = 0
        self.remembered = {}

    @property
    def sockets(self) -> set[int]:
        """Return all open descriptors."""
        return {fd for fd in (self.listener, self.fd) if fd is not None}

    @property
    def conn(self) -> Connection:
        """The connection."""
        return self.host.conn

    @property
    def opened(self) -> bool:
        """True if the connection's socket was ever connected."""
        return self.connecting or self.conn is self.accepted

    def acceptable(self) -> bool:
        """Report whether there is a connection for ``accept``, possibly one that has been reset."""
        conn = self.conn
        if conn is self.accepted or conn.state in WAITING:
            return False
        return conn.state is not State.CLOSED or conn is self.host.established

    def room(self, call: Call) -> int:
        """Return how many more bytes a ``write`` may pass now."""
        buf, system = self.conn.snd_buf, self.host.system
        most = self.conn.settings.snd_buffer
        if system.snd_grows and not self.send_buffer_set and self.blocks(call):
            most = max(most, system.snd_grows)
        room = max(most - buf.length, 0)
        if self.notsent_lowat:
            room = min(room, max(self.notsent_lowat - (buf.length - buf.sent), 0))
        return room

    def blocks(self, call: Call) -> bool:
        """Report whether the socket of a call waits if the call cannot complete at once."""
        return number(call, 0) not in self.nonblocking

    def told(self, call: Call, index: int, found: int) -> int:
        """Return 0, the result of the call, if the script expects the value found.

        Raises:
            FailureError: the script expects another value.
        """
        if index < len(call.arguments) and call.arguments[index] is not None:
            expected = number(call, index)
            if expected != found:
                raise FailureError(f"{call.name}() reports {found}, not {expected}")
        return 0
