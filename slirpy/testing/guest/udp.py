"""UDP of a :class:`~slirpy.testing.guest.Guest` (RFC 768), for both IP families."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from slirpy.addresses import AnyAddress, IPAddress, port_number
from slirpy.checks import octets
from slirpy.errors import StateError
from slirpy.records import NamedTuple
from slirpy.reprs import counted, never_raises
from slirpy.testing.guest.fragments import Packet
from slirpy.testing.guest.host import packed
from slirpy.testing.guest.ip import IpHost
from slirpy.testing.recent import Recent
from slirpy.wire import ipv4, udp

__all__ = ["Message", "UdpHost", "UdpSocket"]


class Message(NamedTuple):
    """A datagram that a guest received."""

    payload: bytes
    address: IPAddress
    """Address of the sender."""
    port: int


class UdpSocket:
    """A bound port of a guest, on all of its addresses."""

    def __init__(self, host: UdpHost, port: int) -> None:
        self._host = host
        self.port = port
        self.received: Recent[Message] = Recent()
        """The newest 10,000 datagrams received, in order; ``received.dropped`` counts older ones. May be cleared."""
        self.errors: Recent[int] = Recent()
        """``errno`` values of the newest 10,000 ICMP errors about datagrams of this socket."""
        self.on_message: Callable[[Message], None] | None = None
        """Called with each datagram, after it was added to ``received``."""
        self._in = self._out = 0
        self._bytes_in = self._bytes_out = 0

    @never_raises
    def __repr__(self) -> str:
        closed = "" if self._host.is_open(self) else " closed"
        errors = f", {counted(len(self.errors), 'error')}" if self.errors else ""
        return (
            f"<UdpSocket :{self.port}{closed}: {counted(self._in, 'datagram')} in ({self._bytes_in} bytes),"
            f" {self._out} out ({self._bytes_out} bytes){errors}>"
        )

    def send(self, payload: bytes, address: AnyAddress, port: int) -> None:
        """Send one datagram of at most 65507 bytes, with IPv6 65527, in fragments if it is larger than the MTU.

        Raises:
            ConfigError: ``payload`` is not bytes, ``address`` is not an IP address, or ``port`` is not 1 to 65535.
            StateError: the guest has no address of that family, or the payload is too long.
        """
        octets("payload", payload)
        guest = self._host.guest
        destination = packed(address)
        most = udp.MAX_PAYLOAD if len(destination) == 4 else udp.MAX_PAYLOAD6
        if len(payload) > most:
            raise StateError(f"{len(payload)} bytes do not fit a datagram; send at most {most}")
        port_number("port", port, 1)
        source = guest.source_for(destination)
        header = udp.build(source, self.port, destination, port, payload)
        guest.send_ip(destination, ipv4.UDP, header + payload, source=source)
        self._out += 1
        self._bytes_out += len(payload)
        guest.flush()

    def take(self, message: Message) -> None:
        """Handle a datagram for this socket."""
        self._in += 1
        self._bytes_in += len(message.payload)
        self.received.append(message)
        if self.on_message is not None:
            self.on_message(message)

    def close(self) -> None:
        """Release the port. Harmless when repeated."""
        self._host.close(self)


class UdpHost:
    """All UDP sockets of a guest.

    Args:
        guest: the host that sends.
        refuse: called with the header and the packet of a datagram to an unbound port.
    """

    def __init__(self, guest: IpHost, refuse: Callable[[Packet, memoryview], None]) -> None:
        self.guest = guest
        self._refuse = refuse
        self._sockets: dict[int, UdpSocket] = {}

    @property
    def open_ports(self) -> list[int]:
        """Ports that are bound."""
        return list(self._sockets)

    def open(self, port: int) -> UdpSocket:
        """Bind a port; 0 chooses a free one."""
        while not port:
            candidate = self.guest.random.randrange(49152, 65536)
            port = 0 if candidate in self._sockets else candidate
        if port in self._sockets:
            raise StateError(f"UDP port {port} of this guest is in use; close that socket, or use port 0")
        socket = self._sockets[port] = UdpSocket(self, port)
        return socket

    def is_open(self, socket: UdpSocket) -> bool:
        """Report whether a socket has its port."""
        return self._sockets.get(socket.port) is socket

    def close(self, socket: UdpSocket) -> None:
        """Forget a socket."""
        if self.is_open(socket):
            del self._sockets[socket.port]

    def input(self, header: Packet, packet: memoryview) -> None:
        """Handle a datagram with a correct checksum."""
        guest = self.guest
        start = header.header_length
        if header.total_length < start + udp.HEADER_LENGTH:
            guest.counters.malformed += 1
            return
        source_port, port, length, _ = udp.HEADER.unpack_from(packet, start)
        if not udp.HEADER_LENGTH <= length <= header.total_length - start:
            guest.counters.malformed += 1
            return
        if not self.take(header, source_port, port, packet[start + udp.HEADER_LENGTH : start + length]):
            guest.counters.unhandled += 1
            self._refuse(header, packet)

    def take(self, header: Packet, source_port: int, port: int, payload: memoryview) -> bool:
        """Give a datagram to the socket that it is for; False if there is none."""
        socket = self._sockets.get(port)
        if socket is not None:
            socket.take(Message(bytes(payload), ip_address(header.source), source_port))
        return socket is not None

    def error(self, port: int, number: int, destination: tuple[bytes, int]) -> None:
        """Handle an ICMP error about a datagram from ``port`` to ``destination``."""
        if port in self._sockets:
            self._sockets[port].errors.append(number)
