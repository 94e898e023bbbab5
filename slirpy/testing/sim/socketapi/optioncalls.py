"""Calls of sockets about options, and those that are not simulated."""

from __future__ import annotations

import socket
import struct
from typing import Any, NoReturn

from slirpy.testing.sim.errors import escaped
from slirpy.testing.sim.socketapi.ends import End
from slirpy.testing.sim.socketapi.streamend import StreamEnd

__all__ = ["OptionCalls", "escape"]

_BUFFER_SIZES = {socket.SO_RCVBUF: 131072, socket.SO_SNDBUF: 2626560}

_GROUPS = {
    (socket.IPPROTO_IP, getattr(socket, "IP_ADD_MEMBERSHIP", -1)),
    (socket.IPPROTO_IP, getattr(socket, "IP_ADD_SOURCE_MEMBERSHIP", 39)),
    (socket.IPPROTO_IPV6, getattr(socket, "IPV6_JOIN_GROUP", -1)),
}
"""Options by which a socket joins a multicast group."""


def escape(call: str, instead: str) -> NoReturn:
    """Raise the error about a call that is not simulated."""
    raise escaped(f"{call} is not simulated; {instead}")


class OptionCalls(socket.socket):
    """The part of a simulated socket that knows its options."""

    @property
    def end(self) -> End:
        """The open socket to which it refers."""
        raise NotImplementedError

    def getsockopt(self, level: int, optname: int, buflen: int = 0, /) -> Any:
        end = self.end
        if level == socket.SOL_SOCKET:
            if optname == socket.SO_ERROR:
                number, end.error = end.error, 0
                return number
            if optname == socket.SO_TYPE:
                return int(end.type)
            if optname == getattr(socket, "SO_ACCEPTCONN", -1):
                return int(isinstance(end, StreamEnd) and end.listener is not None)
            if optname == getattr(socket, "SO_DOMAIN", -1):
                return end.family
            if optname == getattr(socket, "SO_PROTOCOL", -1):
                return socket.IPPROTO_TCP if end.type == socket.SOCK_STREAM else socket.IPPROTO_UDP
            if optname in _BUFFER_SIZES and (level, optname) not in end.options:
                return _BUFFER_SIZES[optname]
        if level == socket.IPPROTO_TCP and optname == getattr(socket, "TCP_INFO", -1):
            escape("TCP_INFO", "the report of the network shows the state of its connections")
        value = end.option(level, optname)
        if buflen:
            return (value if isinstance(value, bytes) else struct.pack("i", value))[:buflen]
        if isinstance(value, bytes):
            return int.from_bytes(value[:4], "little")
        return 2 * value if level == socket.SOL_SOCKET and optname in _BUFFER_SIZES else value

    def setsockopt(self, level: int, optname: int, value: Any, optlen: int = 0, /) -> None:
        if (level, optname) in _GROUPS:
            escape("a multicast group", "send to each host, or to the broadcast address")
        if value is None:
            value = bytes(optlen)
        if not isinstance(value, int):
            value = bytes(value)
            if len(value) == 4:
                value = struct.unpack("i", value)[0]
        self.end.set_option(level, optname, int(value) if isinstance(value, int) else value)

    # ------------------------------------------------------------------------------- not simulated

    def sendmsg_afalg(self, *args: Any, **kwargs: Any) -> NoReturn:
        escape("socket.sendmsg_afalg()", "there is no AF_ALG")

    def ioctl(self, *args: Any) -> NoReturn:
        escape("socket.ioctl()", "use settimeout() and setsockopt()")

    def share(self, *args: Any) -> NoReturn:
        escape("socket.share()", "there are no processes to share it with")
