"""Setup of network interfaces by rtnetlink(7): the few requests that a namespace needs.

Messages are made by :mod:`struct`, because a library for all of netlink takes longer to import than the rest of
``slirpy run`` takes to start.
"""

from __future__ import annotations

import os
import socket
import struct
from ipaddress import ip_address
from types import TracebackType

__all__ = ["Interfaces"]

_IFF_UP = 1
_RTM_NEWLINK, _RTM_NEWADDR, _RTM_NEWROUTE = 16, 20, 24
_IFLA_ADDRESS, _IFLA_MTU, _IFLA_NET_NS_FD = 1, 4, 28
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST = 1, 2, 4
_IFA_F_NODAD = 0x02
_RTA_OIF, _RTA_GATEWAY = 4, 5
_RT_TABLE_MAIN, _RTPROT_STATIC, _RTN_UNICAST = 254, 4, 1
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_EXCL, _NLM_F_CREATE = 0x01, 0x04, 0x200, 0x400
_NLMSG_ERROR = 2
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence number, port
_ERROR = struct.Struct("=i")
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, mask of the flags
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg


class Interfaces:
    """The interfaces of the network namespace of this process. Use it as a context manager.

    Each method raises OSError if the kernel refuses.
    """

    def __init__(self) -> None:
        self._sock = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._number = 0

    def __enter__(self) -> Interfaces:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sock.close()

    def bring_up(self, name: str, *, mac: bytes | None = None, mtu: int | None = None) -> None:
        """Set an interface up, with a MAC address and an MTU if they are given."""
        attributes = b""
        if mac is not None:
            attributes += _attribute(_IFLA_ADDRESS, mac)
        if mtu is not None:
            attributes += _attribute(_IFLA_MTU, struct.pack("=I", mtu))
        index = socket.if_nametoindex(name)
        if attributes:  # while it is down: not every driver changes them later
            self._request(_RTM_NEWLINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0) + attributes)
        self._request(_RTM_NEWLINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, index, _IFF_UP, _IFF_UP))

    def move(self, name: str, namespace: int) -> None:
        """Move an interface, which is down afterwards, to the network namespace behind a descriptor."""
        index = socket.if_nametoindex(name)
        body = _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0)
        self._request(_RTM_NEWLINK, 0, body + _attribute(_IFLA_NET_NS_FD, struct.pack("=I", namespace)))

    def add_address(self, name: str, address: str, prefix: int, broadcast: str | None = None) -> None:
        """Give an interface an address, without duplicate address detection."""
        family, packed = _packed(address)
        attributes = _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed)
        if broadcast is not None:
            attributes += _attribute(_IFA_BROADCAST, _packed(broadcast)[1])
        flags = _IFA_F_NODAD if family == socket.AF_INET6 else 0
        head = _ADDRESS.pack(family, prefix, flags, 0, socket.if_nametoindex(name))
        self._request(_RTM_NEWADDR, _NLM_F_CREATE | _NLM_F_EXCL, head + attributes)

    def add_default_route(self, name: str, gateway: str) -> None:
        """Add a default route through an interface."""
        family, packed = _packed(gateway)
        head = _ROUTE.pack(family, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, 0, _RTN_UNICAST, 0)
        index = struct.pack("=I", socket.if_nametoindex(name))
        attributes = _attribute(_RTA_GATEWAY, packed) + _attribute(_RTA_OIF, index)
        self._request(_RTM_NEWROUTE, _NLM_F_CREATE | _NLM_F_EXCL, head + attributes)

    def _request(self, kind: int, flags: int, body: bytes) -> None:
        """Send a request, and wait for its acknowledgement."""
        self._number += 1
        flags |= _NLM_F_REQUEST | _NLM_F_ACK
        self._sock.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, self._number, 0) + body)
        answer = self._sock.recv(1 << 16)
        if _HEADER.unpack_from(answer)[1] == _NLMSG_ERROR:
            (error,) = _ERROR.unpack_from(answer, _HEADER.size)  # 0 acknowledges
            if error:
                raise OSError(-error, os.strerror(-error))


def _packed(address: str) -> tuple[socket.AddressFamily, bytes]:
    family = socket.AF_INET if ip_address(address).version == 4 else socket.AF_INET6
    return family, socket.inet_pton(family, address)


def _attribute(kind: int, value: bytes) -> bytes:
    """Return a struct rtattr with its value, padded to whole words."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
