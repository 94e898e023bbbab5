"""Traffic between the loopback of a guest, whose namespace we can open sockets in, and the host's."""

from __future__ import annotations

import socket

from slirpy.addresses import AnyAddress, address_bytes, port_number
from slirpy.checks import instance, switch
from slirpy.config.values import function
from slirpy.drive.dialing import Dialing
from slirpy.errors import ConfigError
from slirpy.host.inside import InsideSockets, SocketOpener
from slirpy.host.opensockets import OpenSocket
from slirpy.host.sockets import SocketDatagram, SocketListener

__all__ = ["Loopbacks"]

_SIZES = {socket.AF_INET: 4, socket.AF_INET6: 16}
"""Bytes of an address, by the family of a socket."""


class Loopbacks(Dialing):
    """The part of :class:`~slirpy.Slirp` that joins loopbacks."""

    def reach_guest_loopback(
        self, guest: AnyAddress, open_socket: SocketOpener, *, local: bool = False
    ) -> None:
        """Let forwards reach services that listen only on a guest's own loopback.

        Connections and datagrams that ``guest`` refuses at its network address are retried there, at 127.0.0.1, or at
        ::1 if ``guest`` is an IPv6 address. The service sees that address as its client. A guest with addresses of
        both families needs a call for each.

        Args:
            guest: address of the guest.
            open_socket: called with ``socket.SOCK_STREAM`` or ``socket.SOCK_DGRAM`` and a function. It must call
                that function once, with a new socket of the guest's network namespace, which has the family of
                ``guest``, or with None: at once, or later from a callback of :meth:`poll`.
            local: let clients on the host's own loopback reach the guest's at once, and no others.

        Raises:
            ConfigError: ``guest`` is not an IP address, ``open_socket`` not a function, or ``local`` not a bool.
        """
        switch("local", local)
        function("open_socket", open_socket, " that opens a socket inside the guest")
        address = address_bytes("guest", guest)
        inside = InsideSockets(self._host.sockets, address, open_socket)
        self._call(lambda: self._stack.lead_inside(inside, local=local))

    def serve_guest_loopback(self, sock: socket.socket, port: int) -> OpenSocket:
        """Lead what arrives at a socket of a guest's network namespace to a port of the host's own loopback.

        Args:
            sock: a TCP socket that listens, or a UDP socket that is bound, at the guest's loopback. It is taken over.
            port: 1 to 65535, of 127.0.0.1, or of ::1 if ``sock`` is an IPv6 socket.

        Returns:
            The socket as the network has it; its method ``close`` ends this, and leaves connections open.

        Raises:
            ConfigError: ``sock`` is no such socket, or ``port`` is out of range.
        """
        instance("sock", sock, socket.socket, "a socket")
        port_number("port", port, 1)
        if sock.family not in _SIZES or sock.type not in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            raise ConfigError(f"sock {sock!r}: neither a TCP nor a UDP socket; open one inside")
        return self._call(lambda: self._serve(sock, _SIZES[sock.family], port))

    def _serve(self, sock: socket.socket, size: int, port: int) -> OpenSocket:
        sockets = self._host.sockets
        sock.setblocking(False)
        served: OpenSocket
        if sock.type == socket.SOCK_STREAM:
            served = SocketListener(sockets, sock, self._stack.outward_acceptor(size, port))
        else:
            owner = self._stack.outward_datagrams(size, port)
            served = SocketDatagram(sockets, sock, owner)
            owner.bind(served)
        sockets.opened(served)
        return served
