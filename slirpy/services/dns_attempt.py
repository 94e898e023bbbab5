"""One server that is asked one query: a socket, or a connection, and what it has brought.

See :mod:`slirpy.services.dns_upstream`, whose parts these are.
"""

from __future__ import annotations

import abc
import socket
from typing import Protocol

from slirpy.interfaces import DatagramPeer, HostNetwork, IcmpReport, ServiceNetwork, StreamPeer
from slirpy.rules.resolver import Resolver
from slirpy.services.dns_servers import Server
from slirpy.wire.scope import with_scope

__all__ = ["Asking", "Attempt", "TcpAttempt", "UdpAttempt"]

_FRAME_MAX = 2 + 65_535


class Asking(Protocol):
    """The query that an attempt is part of."""

    def note(self) -> None:
        """Something happened: call :meth:`Attempt.look` at the next flush."""
        ...

    def matches(self, message: bytes, identifier: int) -> bool:
        """Whether a message answers what was sent under an identifier."""
        ...


class Attempt(abc.ABC):
    """What asking over UDP and over TCP have in common."""

    __slots__ = (
        "_address", "_asking", "_failed", "_host", "_id", "_network", "message", "over", "sent_at", "server"
    )  # fmt: skip

    def __init__(
        self,
        asking: Asking,
        host: HostNetwork,
        server: Server,
        identifier: int,
        message: bytes,
        network: ServiceNetwork,
    ) -> None:
        self._address = _address_of(server.resolver)
        self._asking = asking
        self._failed = False
        self._host = host
        self._network = network
        self._id = identifier
        self.message = message
        self.server = server
        self.sent_at = network.now
        """Nanoseconds."""
        self.over = False
        """It has failed, or is closed: nothing comes any more."""

    def fail(self) -> None:
        """The server refused, or is this one."""
        self._failed = True
        self._asking.note()

    @abc.abstractmethod
    def open(self) -> bool:
        """Send the query; False if that failed at once."""

    @abc.abstractmethod
    def repeat(self) -> bool:
        """Send it again, if it may have been lost; False if that failed."""

    @abc.abstractmethod
    def look(self) -> bytes | None:
        """The answer, if it is there; else ``over`` may be true now."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release everything. Harmless when repeated."""


class UdpAttempt(Attempt):
    """Asks over UDP; a :class:`~slirpy.interfaces.DatagramOwner`."""

    __slots__ = ("_answer", "_socket")

    _socket: DatagramPeer | None
    _answer: bytes | None

    def datagram(self, payload: bytes, address: bytes, port: int) -> None:
        """The host received something; only what answers the query counts."""
        if (
            self._answer is None
            and (address, port) == (self._address, self.server.resolver.port)
            and self._asking.matches(payload, self._id)
        ):
            self._answer = payload
            self._asking.note()
        else:
            self._network.stats.drop_dns_mismatch += 1

    def datagram_error(self, error: int, report: IcmpReport | None = None) -> None:
        """The server refused."""
        self.fail()

    def open(self) -> bool:
        """See :meth:`Attempt.open`."""
        self._answer = self._socket = None
        if not self._address:
            return False
        self._socket = self._host.open_udp(self, 4 if len(self._address) == 4 else 6)
        if self._socket is None:
            self._network.stats.drop_udp_no_socket += 1
            return False
        return self._send(self._socket)

    def repeat(self) -> bool:
        """See :meth:`Attempt.repeat`."""
        return self._socket is not None and self._send(self._socket)

    def _send(self, peer: DatagramPeer) -> bool:
        return peer.send(self.message, self._address, self.server.resolver.port) == 0

    def look(self) -> bytes | None:
        """See :meth:`Attempt.look`."""
        self.over = self._failed and self._answer is None
        return self._answer

    def close(self) -> None:
        """See :meth:`Attempt.close`."""
        self.over = True
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class TcpAttempt(Attempt):
    """Asks over TCP, one connection for the query; a :class:`~slirpy.interfaces.StreamOwner`.

    One message is taken as the answer, so a zone transfer of several does not pass.
    """

    __slots__ = ("_connected", "_received", "_stream", "_unsent")

    _stream: StreamPeer | None
    _connected: bool
    _unsent: bytes
    _received: bytearray

    def connected(self) -> None:
        """The connection stands."""
        self._connected = True
        self._asking.note()

    def readable(self) -> None:
        """The answer, or the end."""
        self._asking.note()

    def writable(self) -> None:
        """There is room for the rest of the query."""
        self._asking.note()

    def failed(self, error: int) -> None:
        """Refused, or reset."""
        self.fail()

    def open(self) -> bool:
        """See :meth:`Attempt.open`."""
        self._connected = False
        self._unsent = len(self.message).to_bytes(2, "big") + self.message
        self._received = bytearray()
        self._stream = None
        if not self._address:
            return False
        self._stream = self._host.connect_tcp(self._address, self.server.resolver.port, self)
        return True

    def repeat(self) -> bool:
        """See :meth:`Attempt.repeat`. Nothing is lost on a connection, so it only waits."""
        return True

    def look(self) -> bytes | None:
        """See :meth:`Attempt.look`."""
        stream = self._stream
        if self._failed or stream is None:
            self.over = True
            return None
        if not self._connected:
            return None
        if self._unsent:
            self._unsent = self._unsent[stream.send([self._unsent]) :]
        received = self._received
        while len(received) < _FRAME_MAX:
            data = stream.recv(_FRAME_MAX - len(received))
            if data is None:
                return None
            if not data:
                self.over = True
                return None
            received += data
            if len(received) >= 2:
                end = 2 + int.from_bytes(received[:2], "big")
                if len(received) >= end:
                    return self._checked(bytes(received[2:end]))
        return None

    def _checked(self, answer: bytes) -> bytes | None:
        if self._asking.matches(answer, self._id):
            return answer
        self._network.stats.drop_dns_mismatch += 1
        self.over = True
        return None

    def close(self) -> None:
        """See :meth:`Attempt.close`."""
        self.over = True
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _address_of(resolver: Resolver) -> bytes:
    """A resolver's address for the host's sockets; empty while the interface of its scope does not exist."""
    scope = resolver.scope
    if not scope:
        return resolver.address
    try:
        return with_scope(resolver.address, int(scope) if scope.isdecimal() else socket.if_nametoindex(scope))
    except (OSError, OverflowError):
        return b""
