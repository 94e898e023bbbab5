"""UDP sockets bound to all addresses that answer from the address of the request (RFC 1122, section 4.1.3.5).

By default the system chooses the source address by the route of the answer. On a host with several addresses it may
differ from the one that the client sent to, and connected sockets and resolvers drop such an answer. Linux reports
the destination of each datagram that it receives (``IP_PKTINFO``, see ip(7)) and lets the sender choose a source. On
other systems these sockets behave like any other.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from slirpy.host.addresses import place_of
from slirpy.host.ipoptions import LOCAL_ROOM, local_of, send_from
from slirpy.host.opensockets import OpenSockets
from slirpy.host.socketdatagram import DATAGRAM_MAX, SocketDatagram
from slirpy.interfaces import Buffer, DatagramOwner, DatagramPeer

__all__ = ["AnsweringDatagram", "WildcardDatagram"]

LOCALS_MAX = 256
"""Local addresses that a socket remembers; all of 127.0.0.0/8 is local."""


class WildcardDatagram(SocketDatagram):
    """A socket that learns the destination of each datagram (:func:`slirpy.host.ipoptions.hear_local`)."""

    __slots__ = ("_answering", "_info", "_locals")

    def __init__(self, sockets: OpenSockets, sock: socket.socket, owner: DatagramOwner) -> None:
        self._info: list[tuple[int, int, bytes]] = []
        self._answering: DatagramPeer = self
        self._locals: dict[bytes, DatagramPeer] = {b"": self}
        super().__init__(sockets, sock, owner)

    @property
    def answering(self) -> DatagramPeer:
        """See :attr:`slirpy.interfaces.BoundDatagramPeer.answering`."""
        return self._answering

    def _receive(self, sock: socket.socket) -> None:
        payload, info, _, name = sock.recvmsg(DATAGRAM_MAX, LOCAL_ROOM)
        if name != self._name:
            self._name, self._place = name, place_of(name)
        if info != self._info:  # most datagrams go to the same address
            self._info = info
            self._answering = self._answering_from(local_of(info))
        if self._owner is not None:
            self._owner.datagram(payload, *self._place)

    def _answering_from(self, local: bytes) -> DatagramPeer:
        known = self._locals.get(local)
        if known is None:
            if len(self._locals) >= LOCALS_MAX:
                self._locals = {b"": self}
            known = self._locals[local] = AnsweringDatagram(self, local)
        return known

    def close(self) -> None:
        """Release the socket; see :meth:`slirpy.interfaces.DatagramPeer.close`."""
        super().close()
        self._locals = {}
        self._answering = self


class AnsweringDatagram:
    """A :class:`~slirpy.interfaces.DatagramPeer` that sends through ``wildcard``, from the address ``local``."""

    __slots__ = ("_control", "_local", "_wildcard")

    def __init__(self, wildcard: WildcardDatagram, local: bytes) -> None:
        self._wildcard = wildcard
        self._local = local
        self._control = send_from(local)

    @property
    def address(self) -> tuple[bytes, int]:
        """Source address and port of its datagrams."""
        return self._local, self._wildcard.address[1]

    @property
    def mtu(self) -> int:
        """See :attr:`slirpy.interfaces.DatagramPeer.mtu`."""
        return self._wildcard.mtu

    def send(
        self, payload: Buffer, address: bytes, port: int, ttl: int = 0, dont_fragment: bool | None = None
    ) -> int:
        """Send one datagram; see :meth:`slirpy.interfaces.DatagramPeer.send`."""
        return self._wildcard.send(payload, address, port, ttl, dont_fragment, self._control)

    def send_many(
        self,
        payloads: Sequence[Buffer],
        address: bytes,
        port: int,
        ttl: int = 0,
        dont_fragment: bool | None = None,
    ) -> tuple[int, int]:
        """Send datagrams in order; see :meth:`slirpy.interfaces.DatagramPeer.send_many`."""
        return self._wildcard.send_many(payloads, address, port, ttl, dont_fragment, self._control)

    def close(self) -> None:
        """Do nothing: the socket belongs to ``wildcard``."""
