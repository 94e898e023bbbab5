"""UDP sockets of a host in virtual time: the seam of host networks."""

from __future__ import annotations

import errno
from collections.abc import Callable
from ipaddress import ip_address

from slirpy.config.text import with_port
from slirpy.errors import StateError
from slirpy.interfaces import Buffer, DatagramOwner, OneByOne
from slirpy.reprs import never_raises
from slirpy.testing.guest.fragments import Packet
from slirpy.testing.guest.ip import IpHost
from slirpy.testing.guest.udp import UdpHost
from slirpy.testing.sim.ports import free_port, in_use, overlap
from slirpy.wire import ipv4, udp

__all__ = ["HostDatagram", "HostUdp"]


class HostDatagram(OneByOne):
    """A UDP socket: a :class:`~slirpy.interfaces.BoundDatagramPeer`.

    Args:
        host: the UDP of the host.
        address: the address to which it is bound; zeros: all of the family; with ``dual`` all of both families.
        port: its port.
        owner: the receiver of datagrams and errors.
        dual: whether it receives over IPv4 as well, as a socket without IPV6_V6ONLY does.
    """

    mtu = 0

    def __init__(self, host: HostUdp, address: bytes, port: int, owner: DatagramOwner, dual: bool) -> None:
        self._udp = host
        self.port = port
        self._address = address
        self.owner = owner
        self.dual = dual
        self.remote: tuple[bytes, int] | None = None
        """The only address and port from which datagrams are accepted; None: any."""
        self.closed = False

    @never_raises
    def __repr__(self) -> str:
        closed = " closed" if self.closed else ""
        return f"<HostDatagram {with_port(ip_address(self._address), self.port)}{closed}>"

    @property
    def address(self) -> tuple[bytes, int]:
        """See :attr:`slirpy.interfaces.DatagramPeer.address`."""
        return self._address, self.port

    @property
    def answering(self) -> HostDatagram:
        """See :attr:`slirpy.interfaces.BoundDatagramPeer.answering`."""
        return self

    def matches(self, address: bytes, source: tuple[bytes, int]) -> int:
        """Return how well the socket suits a datagram: 0, not at all, to 3."""
        if self.remote is not None and self.remote != source:
            return 0
        own = self._address
        if own != address and (any(own) or not (self.dual or len(own) == len(address))):
            return 0
        return 1 + (own == address) + (self.remote is not None)

    def send(
        self, payload: Buffer, address: bytes, port: int, ttl: int = 0, dont_fragment: bool | None = None
    ) -> int:
        """See :meth:`slirpy.interfaces.DatagramPeer.send`."""
        if self.closed:
            return errno.EBADF
        guest = self._udp.guest
        data = bytes(payload)
        header_length, most = (20, udp.MAX_PAYLOAD) if len(address) == 4 else (40, udp.MAX_PAYLOAD6)
        if len(data) > most:
            return errno.EMSGSIZE
        if dont_fragment and len(data) + udp.HEADER_LENGTH + header_length > guest.mtu_for(address):
            self.mtu = guest.mtu_for(address)
            return errno.EMSGSIZE
        own = self._address
        try:
            source = own if any(own) and len(own) == len(address) else guest.source_for(address)
        except StateError:
            return errno.ENETUNREACH
        header = udp.build(source, self.port, address, port, data)
        guest.send_ip(address, ipv4.UDP, header + data, source=source, hop_limit=ttl or 64)
        guest.flush()
        return 0

    def close(self) -> None:
        """See :meth:`slirpy.interfaces.DatagramPeer.close`."""
        self.closed = True
        self._udp.forget(self)


class HostUdp(UdpHost):
    """All UDP sockets of a host: those of programs, and those of the DHCP and DNS clients."""

    def __init__(self, guest: IpHost, refuse: Callable[[Packet, memoryview], None]) -> None:
        super().__init__(guest, refuse)
        self.datagrams: dict[int, list[HostDatagram]] = {}

    def bind(
        self, address: bytes, port: int, owner: DatagramOwner, *, dual: bool = False, shared: bool = False
    ) -> HostDatagram:
        """Open a socket at an address; port 0 chooses a free one.

        Args:
            address: an address of the host; zeros: all of the family.
            port: its port.
            owner: the receiver of datagrams and errors.
            dual: whether it sends and receives over IPv4 as well.
            shared: whether other sockets may have the port, as SO_REUSEADDR permits.

        Raises:
            OSError: EADDRINUSE: another socket has the port at that address.
        """
        port = port or free_port(
            self.guest.random, lambda port: port in self.datagrams or port in self.open_ports
        )
        for other in () if shared else self.datagrams.get(port, ()):
            if overlap(other.address[0], other.dual, address, dual):
                raise in_use(address, port)
        datagram = HostDatagram(self, address, port, owner, dual)
        self.datagrams.setdefault(port, []).append(datagram)
        return datagram

    def forget(self, datagram: HostDatagram) -> None:
        """Release the port of a closed socket."""
        others = [each for each in self.datagrams.get(datagram.port, ()) if each is not datagram]
        if others:
            self.datagrams[datagram.port] = others
        else:
            self.datagrams.pop(datagram.port, None)

    def take(self, header: Packet, source_port: int, port: int, payload: memoryview) -> bool:
        here = self.datagrams.get(port)
        if here is None:
            return super().take(header, source_port, port, payload)
        source = header.source, source_port
        best = max(here, key=lambda each: each.matches(header.destination, source))
        if not best.matches(header.destination, source):
            return False
        best.owner.datagram(bytes(payload), *source)
        return True

    def error(self, port: int, number: int, destination: tuple[bytes, int]) -> None:
        super().error(port, number, destination)
        for datagram in list(self.datagrams.get(port, ())):
            if datagram.remote is None or datagram.remote == destination:
                datagram.owner.datagram_error(number)
