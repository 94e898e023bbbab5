"""Sockets that leave the host by a chosen address or interface.

Traffic to the host's loopback does not leave the host and uses neither. TCP knows its destination before it has a
socket. One UDP socket serves all destinations of a guest's port, including perhaps the loopback, which a socket
bound to another interface cannot reach; so :class:`OutboundDatagram` has a second socket for it.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Callable, Sequence

from slirpy.config.outbound import Outbound
from slirpy.errors import ConfigError
from slirpy.errortext import strerror
from slirpy.host.addresses import name_of
from slirpy.host.socketdatagram import SocketDatagram
from slirpy.interfaces import Buffer
from slirpy.wire.scope import is_loopback

__all__ = ["OutboundDatagram", "Source"]

# <linux/in.h>: with this option, binding to an address does not reserve a port for all other destinations.
_IP_BIND_ADDRESS_NO_PORT = 24
# <netinet/in.h> and <netinet6/in6.h> of macOS; Python has no names for them.
_IP_BOUND_IF, _IPV6_BOUND_IF, _IPPROTO_IPV6 = 25, 125, 41


class Source:
    """The chosen address or interface of outgoing sockets.

    Raises:
        ConfigError: this host lacks the address or interface in ``outbound``, or does not allow its use.
    """

    __slots__ = ("outbound",)

    def __init__(self, outbound: Outbound) -> None:
        self.outbound = outbound
        name = outbound.interface
        if name is not None:
            if sys.platform not in ("linux", "darwin"):
                raise self._error("sockets cannot be bound to an interface on this system; give its address")
            known = [known for _, known in socket.if_nameindex()]
            if name not in known:
                raise self._error(f'no interface "{name}"; there are {", ".join(known)}')
        families = {4: socket.AF_INET, 16: socket.AF_INET6}
        for size, family in families.items():
            if size == 16 and outbound.address6 is None:
                continue  # IPv6 may be turned off
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                self._try(sock, size)

    def _try(self, sock: socket.socket, size: int) -> None:
        try:
            self.to_interface(sock)
        except OSError as error:
            why = strerror(error.errno or 0).lower()
            raise self._error(
                f'the system does not let us bind to interface "{self.outbound.interface}": {why}; give its address'
            ) from None
        address = self.outbound.source(size)
        if address is None:
            return
        try:
            sock.bind(name_of(address, 0))
        except OSError as error:
            host = name_of(address, 0)[0]
            missing = error.errno == errno.EADDRNOTAVAIL
            why = "is no address of this host" if missing else strerror(error.errno or 0).lower()
            raise self._error(f"{host} {why}") from None

    def _error(self, text: str) -> ConfigError:
        return ConfigError(f'outbound "{self.outbound}": {text}')

    def to_interface(self, sock: socket.socket) -> None:
        """Make a socket use the interface, if one was chosen.

        Raises:
            OSError: the interface is gone, or its use is not allowed.
        """
        name = self.outbound.interface
        if name is None:
            return
        if sys.platform == "linux":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode() + b"\0")
        elif sys.platform == "darwin":
            index = socket.if_nametoindex(name)
            if sock.family == socket.AF_INET6:
                sock.setsockopt(_IPPROTO_IPV6, _IPV6_BOUND_IF, index)
            else:
                sock.setsockopt(socket.IPPROTO_IP, _IP_BOUND_IF, index)

    def bind(self, sock: socket.socket, destination: bytes) -> None:
        """Prepare a socket that will connect to ``destination``, or send only there.

        Raises:
            OSError: the address or the interface is gone.
        """
        if is_loopback(destination):
            if not self.outbound.loopback:
                return
        else:
            self.to_interface(sock)
        address = self.outbound.source(len(destination))
        if address is None:
            return
        if sys.platform == "linux" and sock.type == socket.SOCK_STREAM:
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind(name_of(address, 0))


class OutboundDatagram:
    """A :class:`~slirpy.interfaces.DatagramPeer` of two sockets: one leaves the host, one serves the loopback.

    Args:
        outward: bound as the source requires.
        open_loopback: opens the other socket when it is first needed; takes the size of an address, and may raise
            OSError.
    """

    __slots__ = ("_last", "_loop", "_open_loopback", "_outward")

    def __init__(self, outward: SocketDatagram, open_loopback: Callable[[int], SocketDatagram]) -> None:
        self._open_loopback: Callable[[int], SocketDatagram] | None = open_loopback
        self._outward = self._last = outward
        self._loop: SocketDatagram | None = None

    @property
    def address(self) -> tuple[bytes, int]:
        """Local address and port of the outward socket."""
        return self._outward.address

    @property
    def mtu(self) -> int:
        """See :attr:`slirpy.interfaces.DatagramPeer.mtu`."""
        return self._last.mtu

    def send(
        self, payload: Buffer, address: bytes, port: int, ttl: int = 0, dont_fragment: bool | None = None
    ) -> int:
        """Send one datagram; see :meth:`slirpy.interfaces.DatagramPeer.send`."""
        return self._choose(address) or self._last.send(payload, address, port, ttl, dont_fragment)

    def send_many(
        self,
        payloads: Sequence[Buffer],
        address: bytes,
        port: int,
        ttl: int = 0,
        dont_fragment: bool | None = None,
    ) -> tuple[int, int]:
        """Send datagrams in order; see :meth:`slirpy.interfaces.DatagramPeer.send_many`."""
        if error := self._choose(address):
            return 0, error
        return self._last.send_many(payloads, address, port, ttl, dont_fragment)

    def _choose(self, address: bytes) -> int:
        """Set ``_last`` to the socket for a destination; returns an ``errno`` value on failure, else 0."""
        self._last = self._outward
        if is_loopback(address):
            if self._loop is None:
                if self._open_loopback is None:
                    return errno.EBADF
                try:
                    self._loop = self._open_loopback(len(address))
                except OSError as error:
                    return error.errno or errno.EIO
            self._last = self._loop
        return 0

    def close(self) -> None:
        """Release both sockets; see :meth:`slirpy.interfaces.DatagramPeer.close`."""
        self._open_loopback = None
        self._outward.close()
        if self._loop is not None:
            self._loop.close()
