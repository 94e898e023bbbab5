"""One DNS query on its way through the host's resolvers, over UDP or over TCP.

The servers are asked in order, each for two seconds, and all of them twice. Each attempt has a socket of its own,
which gives it a random port, and a random identifier, so that a forged answer has 32 bits to guess (RFC 5452).

What the host reports is only noted, and acted on at the next flush: sockets are then never closed inside of
their own callbacks, and a host that reports before its call has returned needs no care.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import TypeAlias

from slirpy.interfaces import DatagramPeer, HostNetwork, IcmpReport, ServiceNetwork, StreamPeer, Timer
from slirpy.rules.resolver import Resolver
from slirpy.services.dns_message import Query

__all__ = ["ROUNDS", "TIMEOUT", "Done", "Forwarded", "TcpForwarded", "UdpForwarded"]

TIMEOUT = 2_000_000_000
"""Nanoseconds that a server has for its answer."""
ROUNDS = 2
_FRAME_MAX = 2 + 65_535

Done: TypeAlias = Callable[["Forwarded", bytes | None], None]
"""Called once with the answer under the guest's identifier, or None if no server gave one."""


class Forwarded(abc.ABC):
    """What asking over UDP and over TCP have in common."""

    __slots__ = ("_acting", "_done", "_host", "_id", "_network", "_plan", "_server", "_timer", "query")

    def __init__(
        self,
        network: ServiceNetwork,
        host: HostNetwork,
        servers: Sequence[Resolver],
        query: Query,
        done: Done,
    ) -> None:
        """``done`` may be called by :meth:`start` already."""
        self._network = network
        self._host = host
        self._plan = iter(list(servers) * ROUNDS)
        self._server: Resolver | None = None
        self._id = 0
        self._timer: Timer | None = None
        self._acting: Timer | None = None
        self._done: Done | None = done
        self.query = query

    def start(self) -> None:
        """Ask the first server, or the next that can be asked."""
        for server in self._plan:
            if self._server is not None:
                self._network.stats.dns_retries += 1
            self._server = server
            self._id = self._network.random.getrandbits(16)
            if self._open(server):
                self._timer = self._network.call_at(self._network.now + TIMEOUT, self._next)
                return
            self._close()
        self._finish(None)

    def cancel(self) -> None:
        """Nobody wants the answer any more."""
        self._done = None
        self._stop()

    def _note(self) -> None:
        """Something happened: look at it at the next flush."""
        if self._acting is None and self._done is not None:
            self._acting = self._network.call_at(self._network.now, self._act_now)

    def _act_now(self) -> None:
        self._acting = None
        self._act()

    def _next(self) -> None:
        """The present server is given up."""
        self._stop()
        self.start()

    def _accept(self, answer: bytes) -> None:
        self._finish(self.query.message[:2] + answer[2:])

    def _finish(self, answer: bytes | None) -> None:
        done, self._done = self._done, None
        self._stop()
        if done is not None:
            done(self, answer)

    def _stop(self) -> None:
        for timer in (self._timer, self._acting):
            if timer is not None:
                timer.cancel()
        self._timer = self._acting = None
        self._close()

    @abc.abstractmethod
    def _open(self, server: Resolver) -> bool:
        """Send the query; False if that failed at once."""

    @abc.abstractmethod
    def _act(self) -> None:
        """Look at what was noted."""

    @abc.abstractmethod
    def _close(self) -> None:
        """Release the socket and what was noted."""


class UdpForwarded(Forwarded):
    """Asks over UDP; a :class:`~slirpy.interfaces.DatagramOwner`."""

    __slots__ = ("_answer", "_failed", "_socket")

    def __init__(
        self,
        network: ServiceNetwork,
        host: HostNetwork,
        servers: Sequence[Resolver],
        query: Query,
        done: Done,
    ) -> None:
        super().__init__(network, host, servers, query, done)
        self._socket: DatagramPeer | None = None
        self._answer: bytes | None = None
        self._failed = False

    def datagram(self, payload: bytes, address: bytes, port: int) -> None:
        """The host received something; only what answers the query counts."""
        server = self._server
        if (
            self._answer is None
            and server is not None
            and (address, port) == (server.address, server.port)
            and self.query.answered_by(payload, self._id)
        ):
            self._answer = payload
            self._note()
        else:
            self._network.stats.drop_dns_mismatch += 1

    def datagram_error(self, error: int, report: IcmpReport | None = None) -> None:
        """The server refused."""
        self._failed = True
        self._note()

    def _open(self, server: Resolver) -> bool:
        self._socket = self._host.open_udp(self, 4 if len(server.address) == 4 else 6)
        if self._socket is None:
            self._network.stats.drop_udp_no_socket += 1
            return False
        return self._socket.send(self.query.with_id(self._id), server.address, server.port) == 0

    def _act(self) -> None:
        if self._answer is not None:
            self._accept(self._answer)
        elif self._failed:
            self._next()

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._answer = None
        self._failed = False


class TcpForwarded(Forwarded):
    """Asks over TCP, one connection for the query; a :class:`~slirpy.interfaces.StreamOwner`.

    One message is taken as the answer, so a zone transfer of several does not pass.
    """

    __slots__ = ("_connected", "_failed", "_received", "_stream", "_unsent")

    def __init__(
        self,
        network: ServiceNetwork,
        host: HostNetwork,
        servers: Sequence[Resolver],
        query: Query,
        done: Done,
    ) -> None:
        super().__init__(network, host, servers, query, done)
        self._stream: StreamPeer | None = None
        self._connected = False
        self._failed = False
        self._unsent = b""
        self._received = bytearray()

    def connected(self) -> None:
        """The connection stands."""
        self._connected = True
        self._note()

    def readable(self) -> None:
        """The answer, or the end."""
        self._note()

    def writable(self) -> None:
        """There is room for the rest of the query."""
        self._note()

    def failed(self, error: int) -> None:
        """Refused, or reset."""
        self._failed = True
        self._note()

    def _open(self, server: Resolver) -> bool:
        message = self.query.with_id(self._id)
        self._unsent = len(message).to_bytes(2, "big") + message
        self._stream = self._host.connect_tcp(server.address, server.port, self)
        return True

    def _act(self) -> None:
        stream = self._stream
        if self._failed or stream is None:
            self._next()
            return
        if not self._connected:
            return
        if self._unsent:
            self._unsent = self._unsent[stream.send([self._unsent]) :]
        while len(self._received) < _FRAME_MAX:
            data = stream.recv(_FRAME_MAX - len(self._received))
            if data is None:
                return
            if not data:
                self._next()
                return
            self._received += data
            if len(self._received) >= 2:
                end = 2 + int.from_bytes(self._received[:2], "big")
                if len(self._received) >= end:
                    self._take(bytes(self._received[2:end]))
                    return

    def _take(self, answer: bytes) -> None:
        if self.query.answered_by(answer, self._id):
            self._accept(answer)
        else:
            self._network.stats.drop_dns_mismatch += 1
            self._next()

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = None
        self._connected = False
        self._failed = False
        self._unsent = b""
        self._received.clear()
