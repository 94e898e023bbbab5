"""Lookups: questions in progress outside, and the guests that wait for each of them.

Guests that ask the same question at the same time share one lookup. This saves queries, and an attacker who wants to
forge an answer, and can also ask as a guest, does not get many tries at once for one name (RFC 5452, section 5: the
birthday attack).

A :class:`ForwardedLookup` does the input and output for a :class:`~slirpy.services.dns.resolution.Resolution`. Each
server is asked from a separate socket. The host's reports are only noted, and acted on at the next flush, so a
socket is never closed within its own callback, and a host may report before its call returns.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import TypeAlias

from slirpy.config.resolver import Resolver
from slirpy.interfaces import DatagramPeer, HostNetwork, IcmpReport, ServiceNetwork, StreamPeer, Timer
from slirpy.services.dns.local import Alias
from slirpy.services.dns.resolution import Answer, Request, Resolution
from slirpy.services.dns.servers import Server, Servers
from slirpy.wire.dns import Query
from slirpy.wire.scope import with_interface

__all__ = ["Finished", "ForwardedLookup", "Lookup", "Question"]

_FRAME_MAX = 2 + 65_535


class Question(abc.ABC):
    """A guest's question.

    Attributes:
        query: the question as the guest asked it.
        guest: address of the guest.
        link: the link that the guest is behind.
        tcp: whether it was asked over TCP.
        key: identifies repetitions of it by an impatient guest; for UDP only.
        outside: the question as it is asked outside, which differs if the name is a local alias.
        other: the question for addresses of the other IP family, if ``outside`` had none.
        empty: the answer to ``outside`` in that case.
        alias: the alias.
        lookup: the lookup that it waits for.
        mac: MAC address of the guest; empty if it is unknown.
        trusted: whether the answer is the operator's own.
    """

    __slots__ = (
        "alias", "empty", "guest", "key", "link", "lookup", "mac", "other", "outside", "query", "tcp", "trusted",
    )  # fmt: skip

    def __init__(self, query: Query, guest: bytes, link: object, key: object = None, mac: bytes = b"") -> None:
        self.query = self.outside = query
        self.guest = guest
        self.link = link
        self.tcp = key is None
        self.key = key
        self.mac = mac
        self.trusted = False
        self.other: Query | None = None
        self.empty = b""
        self.alias: Alias | None = None
        self.lookup: Lookup | None = None

    @abc.abstractmethod
    def deliver(self, message: bytes) -> None:
        """Send the answer to the guest."""


class Lookup(abc.ABC):
    """A question in progress.

    Attributes:
        key: identifies it among all lookups.
        query: the question, as asked by the guest that was first.
        questions: the questions that wait for it, in order.
        default: the answer if there is none from outside.
    """

    __slots__ = ("_finished", "default", "key", "query", "questions")

    def __init__(self, key: bytes, query: Query, finished: Finished) -> None:
        """``finished`` is called once with the outcome, at the earliest by :meth:`start`."""
        self._finished: Finished | None = finished
        self.key = key
        self.query = query
        self.questions: dict[Question, None] = {}
        self.default: Answer | None = None

    @abc.abstractmethod
    def start(self) -> None:
        """Begin. The lookup may finish within this call."""

    def cancel(self) -> None:
        """End the lookup without an outcome."""
        self._finished = None
        self._stop()

    def _finish(self, answer: Answer | None) -> None:
        finished, self._finished = self._finished, None
        self._stop()
        if finished is not None:
            finished(self, answer)

    @abc.abstractmethod
    def _stop(self) -> None:
        """Release everything."""


Finished: TypeAlias = Callable[[Lookup, Answer | None], None]


class ForwardedLookup(Lookup):
    """A lookup that the resolvers answer, over UDP or over TCP."""

    __slots__ = ("_host", "_network", "_noted", "_resolution", "_servers", "_tcp", "_timer", "_transports")

    def __init__(
        self,
        key: bytes,
        query: Query,
        finished: Finished,
        network: ServiceNetwork,
        host: HostNetwork,
        servers: Servers,
        *,
        tcp: bool,
        mix_case: bool,
    ) -> None:
        super().__init__(key, query, finished)
        self._network = network
        self._host = host
        self._servers = servers
        self._tcp = tcp
        self._transports: dict[Server, _Transport] = {}
        self._timer: Timer | None = None
        self._noted: Timer | None = None
        self._resolution = Resolution(
            query, servers, network.stats, network.random, network.now, self.note, mix_case=mix_case
        )

    def start(self) -> None:
        """Send the first request."""
        self._advance()

    def note(self) -> None:
        """Look at the transports and at the resolution at the next flush."""
        if self._noted is None and self._finished is not None:
            self._noted = self._network.call_at(self._network.now, self._act)

    def _advance(self) -> None:
        """Send the next request that can be sent, and set the timer."""
        network, resolution = self._network, self._resolution
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while (request := resolution.next(network.now)) is not None:
            transport = self._transports.get(request.server)
            if transport is not None:
                sent = transport.repeat()
            else:
                kind = _TcpTransport if self._tcp else _UdpTransport
                transport = self._transports[request.server] = kind(self, request, network)
                if request.server.is_own:
                    self._servers.watch(request.message, transport.fail)
                sent = transport.open(self._host)
            if sent:
                break
            transport.close()
            resolution.on_error(request, network.now, sent=False)
        if resolution.done:
            self._finish(resolution.answer)
        else:
            self._timer = network.call_at(resolution.deadline, self._timed_out)

    def _act(self) -> None:
        """Report what the transports have noted to the resolution."""
        self._noted = None
        now, resolution = self._network.now, self._resolution
        for transport in self._transports.values():
            request = transport.request
            if request.over:
                continue
            message = transport.look()
            if message is not None:
                transport.close()
                resolution.on_message(request, message, now)
                if resolution.done:
                    break
            elif transport.has_failed:
                transport.close()
                resolution.on_error(request, now)
        if resolution.done:
            self._finish(resolution.answer)
        elif resolution.ready:
            self._advance()

    def _timed_out(self) -> None:
        self._timer = None
        self._resolution.on_timeout(self._network.now)
        if self._resolution.done:
            self._finish(self._resolution.answer)
        else:
            self._advance()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._noted is not None:
            self._noted.cancel()
            self._noted = None
        self._resolution.leave()
        for server, transport in self._transports.items():
            transport.close()
            if server.is_own:
                self._servers.unwatch(transport.request.message)


class _Transport(abc.ABC):
    """The socket for one request.

    Attributes:
        request: the query and its server.
        has_failed: whether the server has refused, or an answer can no longer come for another reason.
    """

    __slots__ = ("_address", "_lookup", "_network", "has_failed", "request")

    def __init__(self, lookup: ForwardedLookup, request: Request, network: ServiceNetwork) -> None:
        resolver = request.server.resolver
        self._address = _scoped_address(resolver)
        self._lookup = lookup
        self._network = network
        self.has_failed = False
        self.request = request

    def fail(self) -> None:
        """Note a failure."""
        self.has_failed = True
        self._lookup.note()

    @abc.abstractmethod
    def open(self, host: HostNetwork) -> bool:
        """Send the request. Returns False if that failed at once."""

    @abc.abstractmethod
    def repeat(self) -> bool:
        """Send the request again if it may have been lost. Returns False if that failed."""

    @abc.abstractmethod
    def look(self) -> bytes | None:
        """The answer if it has arrived; else ``has_failed`` may be true now."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release everything. Harmless when repeated."""


class _UdpTransport(_Transport):
    """Asks over UDP; a :class:`~slirpy.interfaces.DatagramOwner`."""

    __slots__ = ("_answer", "_socket")

    _answer: bytes | None
    _socket: DatagramPeer | None

    def datagram(self, payload: bytes, address: bytes, port: int) -> None:
        """Take a datagram. Only an answer to the request counts."""
        if (
            self._answer is None
            and address == self._address
            and port == self.request.server.resolver.port
            and self.request.answered_by(payload)
        ):
            self._answer = payload
            self._lookup.note()
        else:
            self._network.stats.drop_dns_mismatch += 1

    def datagram_error(self, error: int, report: IcmpReport | None = None) -> None:
        """Note that the server has refused."""
        self.fail()

    def open(self, host: HostNetwork) -> bool:
        """See :meth:`_Transport.open`."""
        self._answer = self._socket = None
        if not self._address:
            return False
        peer = host.open_udp(self, 4 if len(self._address) == 4 else 6)
        if isinstance(peer, int):
            self._network.stats.drop_udp_no_socket += 1
            return False
        self._socket = peer
        return self._socket.send(self.request.message, self._address, self.request.server.resolver.port) == 0

    def repeat(self) -> bool:
        """See :meth:`_Transport.repeat`."""
        peer, port = self._socket, self.request.server.resolver.port
        return peer is not None and peer.send(self.request.message, self._address, port) == 0

    def look(self) -> bytes | None:
        """See :meth:`_Transport.look`."""
        return self._answer

    def close(self) -> None:
        """See :meth:`_Transport.close`."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class _TcpTransport(_Transport):
    """Asks over TCP, one connection for the request; a :class:`~slirpy.interfaces.StreamOwner`.

    The answer is one message, so a zone transfer, which takes several, does not pass.
    """

    __slots__ = ("_connected", "_received", "_stream", "_unsent")

    _connected: bool
    _received: bytearray
    _stream: StreamPeer | None
    _unsent: bytes

    def connected(self) -> None:
        """Note that the connection is established."""
        self._connected = True
        self._lookup.note()

    def readable(self) -> None:
        """Note that there is data, or the end."""
        self._lookup.note()

    def writable(self) -> None:
        """Note that there is room for the rest of the request."""
        self._lookup.note()

    def failed(self, error: int) -> None:
        """Note that the server has refused or reset the connection."""
        self.fail()

    def open(self, host: HostNetwork) -> bool:
        """See :meth:`_Transport.open`."""
        message = self.request.message
        self._connected = False
        self._unsent = len(message).to_bytes(2, "big") + message
        self._received = bytearray()
        self._stream = None
        if not self._address:
            return False
        self._stream = host.connect_tcp(self._address, self.request.server.resolver.port, self)
        return True

    def repeat(self) -> bool:
        """See :meth:`_Transport.repeat`. A connection loses nothing, so there is nothing to do."""
        return True

    def look(self) -> bytes | None:
        """See :meth:`_Transport.look`."""
        stream = self._stream
        if self.has_failed or stream is None:
            self.has_failed = True
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
                self.has_failed = True
                return None
            received += data
            if len(received) >= 2:
                end = 2 + int.from_bytes(received[:2], "big")
                if len(received) >= end:
                    return self._checked(bytes(received[2:end]))
        return None

    def _checked(self, answer: bytes) -> bytes | None:
        if self.request.answered_by(answer):
            return answer
        self._network.stats.drop_dns_mismatch += 1
        self.has_failed = True
        return None

    def close(self) -> None:
        """See :meth:`_Transport.close`."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _scoped_address(resolver: Resolver) -> bytes:
    """The address for the host's sockets; empty while the interface of its scope does not exist."""
    try:
        return with_interface(resolver.address, resolver.scope)
    except OSError:
        return b""
