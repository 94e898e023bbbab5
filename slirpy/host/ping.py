"""ICMP echo through the ping sockets of Linux: no privileges needed, within ``net.ipv4.ping_group_range``.

That setting is for both families.

The kernel chooses the identifier, computes the checksum, and delivers only the replies to this socket's requests;
see icmp(7).
"""

from __future__ import annotations

import errno
import socket
import sys
from struct import Struct
from typing import Final

from slirpy.host.addresses import name_of, new_socket, place_of
from slirpy.host.ipoptions import hear_errors, ttl_of
from slirpy.host.opensockets import OpenSockets
from slirpy.host.outbound import Source
from slirpy.host.socketdatagram import PacketSocket
from slirpy.interfaces import Buffer, IcmpReport, PingOwner
from slirpy.wire import icmp, icmpv6

__all__ = ["SocketPing", "open_ping"]

_ECHO: Final = Struct("!BBHHH")  # type, code, checksum, identifier, sequence number
_IPPROTO_ICMPV6: Final = 58
_MESSAGE_MAX: Final = 65535
_ROOM: Final = 64


class SocketPing(PacketSocket):
    """A :class:`~slirpy.interfaces.PingPeer` on a ping socket."""

    __slots__ = ("_owner", "_reply", "_request", "_size")

    def __init__(self, sockets: OpenSockets, sock: socket.socket, owner: PingOwner) -> None:
        self._owner: PingOwner | None = owner
        inet6 = sock.family == socket.AF_INET6
        self._size = 16 if inet6 else 4
        codec = icmpv6 if inet6 else icmp
        self._request, self._reply = codec.ECHO_REQUEST, codec.ECHO_REPLY
        super().__init__(sockets, sock)

    def send(
        self, sequence: int, payload: Buffer, address: bytes, ttl: int = 0, dont_fragment: bool | None = None
    ) -> int:
        """Send one echo request; see :meth:`slirpy.interfaces.PingPeer.send`."""
        if len(address) != self._size:
            return errno.EAFNOSUPPORT if self._sock is not None else errno.EBADF
        message = _ECHO.pack(self._request, 0, 0, 0, sequence) + payload
        return self._transmit(message, name_of(address, 0), ttl, dont_fragment)

    def _receive(self, sock: socket.socket) -> None:
        message, ancillary, _, name = sock.recvmsg(_MESSAGE_MAX, _ROOM)
        if self._owner is not None and len(message) >= _ECHO.size and message[0] == self._reply:
            sequence = int.from_bytes(message[6:8], "big")
            self._owner.echo_reply(sequence, message[_ECHO.size :], place_of(name)[0], ttl_of(ancillary))

    def _failed(self, error: int, report: IcmpReport | None) -> None:
        # The system quotes our message from its ICMP header on. An owner without the method cannot use it.
        if self._owner is not None and report is not None and len(report.quoted) >= _ECHO.size:
            sequence = int.from_bytes(report.quoted[6:8], "big")
            self._owner.echo_error(sequence, report._replace(port=0, quoted=report.quoted[_ECHO.size :]))

    def close(self) -> None:
        """Release the socket; see :meth:`slirpy.interfaces.PingPeer.close`."""
        super().close()
        self._owner = None


def open_ping(
    sockets: OpenSockets, owner: PingOwner, source: Source | None = None, family: int = 4
) -> SocketPing | int:
    """Open a ping socket; returns the ``errno`` value of a refusal. See
    :meth:`slirpy.interfaces.HostNetwork.open_ping`.
    """
    if sys.platform != "linux":
        return errno.EPROTONOSUPPORT
    inet6 = family == 6
    try:
        sock = new_socket(
            socket.AF_INET6 if inet6 else socket.AF_INET,
            socket.SOCK_DGRAM,
            _IPPROTO_ICMPV6 if inet6 else socket.IPPROTO_ICMP,
        )
    except OSError as error:
        return error.errno or errno.EIO
    try:
        sock.setblocking(False)
        hear_errors(sock)
        if source is not None:
            source.bind(sock, bytes(16 if inet6 else 4))
        return SocketPing(sockets, sock, owner)
    except OSError as error:
        sock.close()
        return error.errno or errno.EIO
