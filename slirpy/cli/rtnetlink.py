"""Setup of network interfaces by rtnetlink(7): the few requests that a namespace needs.

Messages are made by :mod:`struct`, because a library for all of netlink takes longer to import than the rest of
``slirpy run`` takes to start.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from types import TracebackType

from slirpy.records import NamedTuple

__all__ = ["InterfaceAddress", "Interfaces", "Route"]

_IFF_UP = 1
_RTM_NEWLINK, _RTM_NEWADDR, _RTM_NEWROUTE = 16, 20, 24
_IFLA_ADDRESS, _IFLA_MTU, _IFLA_NET_NS_FD = 1, 4, 28
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST = 1, 2, 4
_IFA_F_NODAD = 0x02
_IFA_FLAGS = 8
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_METRICS, _RTA_MULTIPATH = (
    1,
    4,
    5,
    6,
    7,
    8,
    9,
)
_COPIED = (_RTA_DST, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_METRICS)
_RTM_F_CLONED, _RTNH_F_ONLINK = 0x200, 4
_RT_TABLE_MAIN, _RTPROT_STATIC, _RTN_UNICAST = 254, 4, 1
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_EXCL, _NLM_F_CREATE = 0x01, 0x04, 0x200, 0x400
_NLM_F_DUMP = 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence number, port
_ERROR = struct.Struct("=i")
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, mask of the flags
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg


class InterfaceAddress(NamedTuple):
    """An address of an interface."""

    interface: int
    address: str
    prefix: int
    flags: int
    """``IFA_F_...``"""
    scope: int
    """``RT_SCOPE_...``, 0 for everywhere."""


class Route(NamedTuple):
    """A route to one next hop."""

    interface: int
    """Of the interface."""
    prefix: int
    protocol: int
    scope: int
    flags: int
    attributes: dict[int, bytes]
    """Values of ``RTA_...`` that make sense in another namespace."""

    @property
    def gateway(self) -> bytes | None:
        """The next hop's address; None: the destination itself is on the link."""
        return self.attributes.get(_RTA_GATEWAY)

    @property
    def source(self) -> bytes | None:
        """The source address that the route prefers; None: it has no preference."""
        return self.attributes.get(_RTA_PREFSRC)


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

    def set_mac(self, name: str, mac: bytes) -> None:
        """Set the MAC address of an interface that is down."""
        head = _LINK.pack(socket.AF_UNSPEC, 0, socket.if_nametoindex(name), 0, 0)
        self._request(_RTM_NEWLINK, 0, head + _attribute(_IFLA_ADDRESS, mac))

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

    def add_default_route(self, name: str, gateway: str, *, on_link: bool = False) -> None:
        """Add a default route through an interface.

        Args:
            name: of the interface.
            gateway: the next hop.
            on_link: whether the gateway is on the link even if no address of the interface says so.
        """
        family, packed = _packed(gateway)
        flags = _RTNH_F_ONLINK if on_link else 0
        head = _ROUTE.pack(family, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, 0, _RTN_UNICAST, flags)
        index = struct.pack("=I", socket.if_nametoindex(name))
        attributes = _attribute(_RTA_GATEWAY, packed) + _attribute(_RTA_OIF, index)
        self._request(_RTM_NEWROUTE, _NLM_F_CREATE | _NLM_F_EXCL, head + attributes)

    def add_route(self, name: str, family: int, route: Route) -> None:
        """Add a route through an interface. One that is there already stays as it is."""
        head = _ROUTE.pack(
            family, route.prefix, 0, 0, _RT_TABLE_MAIN, route.protocol, route.scope, _RTN_UNICAST, route.flags
        )
        attributes = b"".join(_attribute(kind, value) for kind, value in route.attributes.items())
        attributes += _attribute(_RTA_OIF, struct.pack("=I", socket.if_nametoindex(name)))
        try:
            self._request(_RTM_NEWROUTE, _NLM_F_CREATE | _NLM_F_EXCL, head + attributes)
        except FileExistsError:
            pass

    def links(self) -> Iterator[tuple[int, dict[int, bytes]]]:
        """The index of each interface, and its attributes (``IFLA_...``)."""
        for body in self._dump(_RTM_NEWLINK + 2, _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
            yield _LINK.unpack_from(body)[2], _attributes(body[_LINK.size :])

    def addresses(self, family: int) -> Iterator[InterfaceAddress]:
        """The addresses of a family."""
        for body in self._dump(_RTM_NEWADDR + 2, _ADDRESS.pack(family, 0, 0, 0, 0)):
            found, prefix, flags, scope, index = _ADDRESS.unpack_from(body)
            values = _attributes(body[_ADDRESS.size :])
            packed = values.get(_IFA_LOCAL, values.get(_IFA_ADDRESS))
            if found == family and packed is not None:
                flags = int.from_bytes(values.get(_IFA_FLAGS, bytes((flags,))), sys.byteorder)
                yield InterfaceAddress(index, socket.inet_ntop(family, packed), prefix, flags, scope)

    def routes(self, family: int) -> Iterator[Route]:
        """The unicast routes of a family in the main table."""
        for body in self._dump(_RTM_NEWROUTE + 2, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
            found, prefix, _, _, table, protocol, scope, kind, flags = _ROUTE.unpack_from(body)
            values = _attributes(body[_ROUTE.size :])
            if (found, table, kind) != (family, _RT_TABLE_MAIN, _RTN_UNICAST) or flags & _RTM_F_CLONED:
                continue
            hops = _next_hops(values) or [(values.get(_RTA_OIF, bytes(4)), values)]
            for oif, hop in hops:
                attributes = {code: hop[code] for code in _COPIED if code in hop}
                index = int.from_bytes(oif, sys.byteorder)
                yield Route(index, prefix, protocol, scope, flags & _RTNH_F_ONLINK, attributes)

    def _dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        """Request a table, and read it. Yields the body of each entry."""
        self._number += 1
        length = _HEADER.size + len(body)
        self._sock.send(_HEADER.pack(length, kind, _NLM_F_REQUEST | _NLM_F_DUMP, self._number, 0) + body)
        while True:
            answer = self._sock.recv(1 << 17)
            while answer:
                length, found, _, number, _ = _HEADER.unpack_from(answer)
                if number == self._number:
                    if found == _NLMSG_DONE:
                        return
                    if found == _NLMSG_ERROR:
                        (error,) = _ERROR.unpack_from(answer, _HEADER.size)
                        raise OSError(-error, os.strerror(-error))
                    yield answer[_HEADER.size : length]
                answer = answer[(length + 3) & ~3 :]

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


def _attributes(data: bytes) -> dict[int, bytes]:
    """Read a series of struct rtattr."""
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


def _next_hops(values: dict[int, bytes]) -> list[tuple[bytes, dict[int, bytes]]]:
    """The interface and the attributes of each next hop of a route that has several (struct rtnexthop)."""
    data, hops = values.get(_RTA_MULTIPATH, b""), []
    while len(data) >= 8:
        length, index = int.from_bytes(data[:2], sys.byteorder), data[4:8]
        if length < 8:
            break
        hops.append((index, values | _attributes(data[8:length])))
        data = data[(length + 3) & ~3 :]
    return hops


def _packed(address: str) -> tuple[socket.AddressFamily, bytes]:
    family = socket.AF_INET if ip_address(address).version == 4 else socket.AF_INET6
    return family, socket.inet_pton(family, address)


def _attribute(kind: int, value: bytes) -> bytes:
    """Return a struct rtattr with its value, padded to whole words."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
