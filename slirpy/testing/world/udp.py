"""Simulated UDP sockets, and programs that answer datagrams."""

from __future__ import annotations

import errno
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

from slirpy.interfaces import Buffer, DatagramOwner, DatagramPeer, IcmpReport, OneByOne
from slirpy.records import NamedTuple
from slirpy.reprs import counted, never_raises
from slirpy.testing.recent import Recent
from slirpy.testing.text import socket_text
from slirpy.testing.world.base import SimWorld
from slirpy.testing.world.path import PLAIN, Shape, shaped
from slirpy.testing.world.places import Key, Place, SocketAddress, shown

__all__ = ["Answer", "Received", "SimDatagram", "SimUdpServer"]

_PAYLOAD_MAX = {4: 65507, 16: 65527}
"""Bytes of a payload by the length of an address: 65535 less the headers of UDP and of IPv4."""

LOCALS_MAX = 256
"""Local addresses that a socket remembers, as on a real host."""

Answer: TypeAlias = Callable[[bytes, IPv4Address | IPv6Address, int], bytes | None]
"""Called with payload, source address and source port of a datagram; returns the answer, or None."""


class Received(NamedTuple):
    """A datagram received by a :class:`SimUdpServer`."""

    payload: bytes
    source: SocketAddress
    """Address and port of the sender."""
    destination: SocketAddress
    shape: Shape
    """TTL or hop limit, and DF of the datagram."""


_Carry: TypeAlias = Callable[[bytes, Place, Place, "SimDatagram | None", Shape], int]
"""Lets a datagram arrive: payload, source, destination, the socket that hears of errors, and the packet's shape."""


class SimDatagram(OneByOne):
    """A :class:`~slirpy.interfaces.BoundDatagramPeer` in memory: a socket of the stack."""

    __slots__ = ("_answering", "_carry", "_locals", "_owner", "_shape", "_sim", "key", "mtu")

    def __init__(self, sim: SimWorld, address: Place, owner: DatagramOwner, carry: _Carry) -> None:
        self._sim = sim
        self._carry = carry
        self.key = address
        self._owner: DatagramOwner | None = owner
        self._shape = PLAIN
        self._answering: SimAnswering | None = None
        self._locals: dict[bytes, SimAnswering] = {}
        self.mtu = 0

    @never_raises
    def __repr__(self) -> str:
        return f"<SimDatagram {socket_text(*self.key)} {'closed' if self._owner is None else 'open'}>"

    @property
    def address(self) -> Place:
        """The local address and port."""
        return self.key

    @property
    def answering(self) -> DatagramPeer:
        """See :attr:`slirpy.interfaces.BoundDatagramPeer.answering`."""
        return self._answering or self

    def send(
        self,
        payload: Buffer,
        address: bytes,
        port: int,
        ttl: int = 0,
        dont_fragment: bool | None = None,
        local: bytes = b"",
    ) -> int:
        """See :meth:`slirpy.interfaces.DatagramPeer.send`; ``local`` is the address to send from."""
        if self._owner is None:
            return errno.EBADF
        host, own_port = self.key
        if len(address) != len(host):
            return errno.EAFNOSUPPORT
        data = bytes(payload)
        self._sim.record("send_udp", (address, port), data)
        if len(data) > _PAYLOAD_MAX[len(host)]:
            return errno.EMSGSIZE
        if error := self._sim.scripted_udp_error():
            return error
        self._shape = shaped(self._shape, ttl, dont_fragment)
        source = local or (host if any(host) else self._sim.source_for(address))
        return self._carry(data, (source, own_port), (address, port), self, self._shape)

    def close(self) -> None:
        """See :meth:`slirpy.interfaces.DatagramPeer.close`."""
        if self._owner is not None:
            self._owner = None
            self._sim.released(self)

    def deliver(self, payload: bytes, source: Place, destination: Place, shape: Shape) -> None:
        """Deliver a datagram to the owner."""
        if self._owner is not None:
            local = destination[0]
            if any(self.key[0]) or not self._sim.is_own(local):
                self._answering = None
            else:
                self._answering = self._answering_from(local)
            self._owner.datagram(payload, *source)

    def _answering_from(self, local: bytes) -> SimAnswering:
        """Return the peer for an address, which stays the same, as on a real host."""
        known = self._locals.get(local)
        if known is None:
            if len(self._locals) >= LOCALS_MAX:
                self._locals.clear()
            known = self._locals[local] = SimAnswering(self, local)
        return known

    def refuse(self, error: int, report: IcmpReport | None = None) -> None:
        """Deliver an error about an earlier datagram to the owner."""
        if self._owner is not None:
            self._owner.datagram_error(error, report)


class SimAnswering(OneByOne):
    """A :class:`~slirpy.interfaces.DatagramPeer` that sends through a :class:`SimDatagram` from one address."""

    __slots__ = ("_local", "_wildcard")

    def __init__(self, wildcard: SimDatagram, local: bytes) -> None:
        self._wildcard = wildcard
        self._local = local

    @property
    def address(self) -> Place:
        """Source address and port of its datagrams."""
        return self._local, self._wildcard.address[1]

    @property
    def mtu(self) -> int:
        """See :attr:`slirpy.interfaces.DatagramPeer.mtu`."""
        return self._wildcard.mtu

    def send(
        self, payload: Buffer, address: bytes, port: int, ttl: int = 0, dont_fragment: bool | None = None
    ) -> int:
        """See :meth:`slirpy.interfaces.DatagramPeer.send`."""
        return self._wildcard.send(payload, address, port, ttl, dont_fragment, self._local)

    def close(self) -> None:
        """Do nothing: the socket belongs to the :class:`SimDatagram`."""


class SimUdpServer:
    """A program of the outside world that receives datagrams and may answer them."""

    def __init__(self, sim: SimWorld, key: Key, answer: Answer | None, carry: _Carry) -> None:
        self._sim = sim
        self._carry = carry
        self.key = key
        self._answer = answer
        self.received: Recent[Received] = Recent()
        """The newest 10,000 datagrams received, in order; ``received.dropped`` counts older ones. May be cleared."""

    @never_raises
    def __repr__(self) -> str:
        return f"<SimUdpServer {socket_text(*self.key)}: {counted(len(self.received), 'datagram')} received>"

    def deliver(self, payload: bytes, source: Place, destination: Place, shape: Shape) -> None:
        """Handle a datagram."""
        received = Received(payload, shown(source), shown(destination), shape)
        self.received.append(received)
        answer = self._answer(payload, *received.source) if self._answer is not None else None
        if answer is not None:
            self._carry(answer, destination, source, None, PLAIN)

    def close(self) -> None:
        """Stop serving. Harmless when repeated."""
        self._sim.released(self)
