"""Socket options about the IP header and about errors, on systems that support them.

Linux queues ICMP errors about the packets of a socket (``IP_RECVERR`` and ``IPV6_RECVERR``, see ip(7) and ipv6(7)),
with sender, kind and packet. Without this, an unconnected socket never learns of a refusal.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from struct import Struct
from typing import Final, TypeAlias

from slirpy.host.addresses import place_of
from slirpy.interfaces import IcmpReport
from slirpy.wire.scope import is_link_local, split_scope, with_scope

__all__ = [
    "LOCAL_ROOM",
    "Control",
    "hear_errors",
    "hear_local",
    "hear_no_errors",
    "hear_ttl",
    "local_of",
    "queued_errors",
    "send_from",
    "set_dont_fragment",
    "set_ttl",
    "ttl_of",
]

Control: TypeAlias = tuple[tuple[int, int, bytes], ...]
"""Ancillary data for ``sendmsg``."""

# <linux/in.h>, <linux/in6.h> and <linux/errqueue.h>.
_IP_TTL: Final = 2
_IP_MTU_DISCOVER: Final = 10
_IP_RECVERR: Final = 11
_IP_RECVTTL: Final = 12
_IP_PKTINFO: Final = 8
_IPPROTO_IPV6: Final = 41
_IPV6_MTU_DISCOVER: Final = 23
_IPV6_RECVERR: Final = 25
_IPV6_RECVPKTINFO: Final = 49
_IPV6_PKTINFO: Final = 50
_IPV6_RECVHOPLIMIT: Final = 51
_IPV6_HOPLIMIT: Final = 52
_PMTUDISC_DONT: Final = 0
_PMTUDISC_PROBE: Final = 3
_MSG_ERRQUEUE: Final = 0x2000
_ERROR_KINDS: Final = ((0, _IP_RECVERR), (_IPPROTO_IPV6, _IPV6_RECVERR))
_EXTENDED_ERROR: Final = Struct("=IBBBxII")  # errno, origin, type, code, info, data
# struct sockaddr_in, without its padding, and struct sockaddr_in6, by the origin of the error.
_ORIGIN_LOCAL: Final = 1
_ORIGIN_ICMP: Final = 2
_ORIGIN_ICMP6: Final = 3
_REPORTERS: Final = {_ORIGIN_ICMP: Struct("=4x4s"), _ORIGIN_ICMP6: Struct("=8x16s")}
_ROOM: Final = 512
_QUOTE: Final = 548
_DARWIN_IP_DONTFRAG: Final = 28
_DARWIN_IPV6_DONTFRAG: Final = 62
_BATCH: Final = 64
# struct in_pktinfo: interface, address to answer from, destination in the header.
_PKTINFO: Final = Struct("=i4s4s")
_PKTINFO6: Final = Struct("=16si")  # struct in6_pktinfo: address, interface
LOCAL_ROOM: Final = 128
"""Bytes of ancillary data for :func:`local_of`, including other options."""


def hear_errors(sock: socket.socket) -> None:
    """Make the system queue errors for :func:`queued_errors`, if it can."""
    if sys.platform == "linux":
        level, option = _ERROR_KINDS[sock.family == socket.AF_INET6]
        sock.setsockopt(level, option, 1)


def hear_no_errors(sock: socket.socket) -> None:
    """Undo :func:`hear_errors`, and discard queued errors."""
    if sys.platform == "linux":
        level, option = _ERROR_KINDS[sock.family == socket.AF_INET6]
        sock.setsockopt(level, option, 0)


def hear_ttl(sock: socket.socket) -> None:
    """Make the system report the time to live of received packets, for :func:`ttl_of`."""
    if sys.platform == "linux":
        if sock.family == socket.AF_INET6:
            sock.setsockopt(_IPPROTO_IPV6, _IPV6_RECVHOPLIMIT, 1)
        else:
            sock.setsockopt(0, _IP_RECVTTL, 1)


def hear_local(sock: socket.socket) -> bool:
    """Make the system report the destination of received packets, for :func:`local_of`; False if it cannot.

    macOS and Windows have different options for this, which are not used.
    """
    if sys.platform != "linux":
        return False
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(_IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(0, _IP_PKTINFO, 1)
    except OSError:
        return False
    return True


def local_of(ancillary: list[tuple[int, int, bytes]]) -> bytes:
    """Return the address from which to answer a packet, by its ancillary data; empty if unknown.

    It is the destination of the packet or, for a broadcast, the host's address on that network. A link-local one
    contains its interface (:mod:`slirpy.wire.scope`).
    """
    for level, kind, data in ancillary:
        if (level, kind) == (0, _IP_PKTINFO) and len(data) >= _PKTINFO.size:
            address: bytes = _PKTINFO.unpack_from(data)[1]
        elif (level, kind) == (_IPPROTO_IPV6, _IPV6_PKTINFO) and len(data) >= _PKTINFO6.size:
            address, interface = _PKTINFO6.unpack_from(data)
            if address[0] == 0xFF:  # multicast
                return b""
            if is_link_local(address):
                return with_scope(address, interface)
        else:
            continue
        return address if any(address) else b""
    return b""


def send_from(address: bytes) -> Control:
    """Return ancillary data that sends a packet from a given local address, by any interface with a route.

    A link-local address is used on its own interface.
    """
    if len(address) == 16:
        return ((_IPPROTO_IPV6, _IPV6_PKTINFO, _PKTINFO6.pack(*split_scope(address))),)
    return ((0, _IP_PKTINFO, _PKTINFO.pack(0, address, bytes(4))),)


def set_ttl(sock: socket.socket, ttl: int, *, inet6: bool) -> None:
    """Set the time to live or hop limit, 1 to 255, of all further packets.

    ``inet6`` is the family of the socket, which is an enumeration, and slow to ask for.
    """
    if inet6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)


def set_dont_fragment(sock: socket.socket, dont_fragment: bool) -> None:
    """Allow or forbid fragments of all further packets, on this host and (by DF, with IPv4) on the path.

    On Linux they are forbidden by ``IP_PMTUDISC_PROBE``: the user of the socket discovers the path's MTU, so the
    packet is sent even if the system assumes a smaller MTU, and the answer of the router that refuses it is passed
    on. Only a packet larger than the interface's own MTU is refused at once.
    """
    inet6 = sock.family == socket.AF_INET6
    if sys.platform == "linux":
        level, option = (_IPPROTO_IPV6, _IPV6_MTU_DISCOVER) if inet6 else (0, _IP_MTU_DISCOVER)
        sock.setsockopt(level, option, _PMTUDISC_PROBE if dont_fragment else _PMTUDISC_DONT)
    elif sys.platform == "darwin":
        level, option = (_IPPROTO_IPV6, _DARWIN_IPV6_DONTFRAG) if inet6 else (0, _DARWIN_IP_DONTFRAG)
        sock.setsockopt(level, option, int(dont_fragment))


def ttl_of(ancillary: list[tuple[int, int, bytes]]) -> int:
    """Return the time to live or hop limit in the ancillary data of a packet; 0 if absent."""
    for level, kind, data in ancillary:
        if (level, kind) in ((0, _IP_TTL), (_IPPROTO_IPV6, _IPV6_HOPLIMIT)):
            return int.from_bytes(data[:4], sys.byteorder)
    return 0


def queued_errors(sock: socket.socket) -> Iterator[tuple[int, IcmpReport | None, int]]:
    """Take some of the queued errors: ``errno`` value, report, and MTU.

    The MTU is that of a packet that the system itself refused as too long, otherwise 0. The report is None unless
    the error arrived by ICMP.
    """
    if sys.platform != "linux":
        return
    for _ in range(_BATCH):
        try:
            quoted, ancillary, _, name = sock.recvmsg(_QUOTE, _ROOM, _MSG_ERRQUEUE)
        except OSError:
            return
        for level, kind, data in ancillary:
            if (level, kind) not in _ERROR_KINDS or len(data) < _EXTENDED_ERROR.size:
                continue
            number, origin, message, code, info, _ = _EXTENDED_ERROR.unpack_from(data)
            reporter = _REPORTERS.get(origin)
            if origin == _ORIGIN_LOCAL:
                yield number, None, info
            elif reporter is not None and len(data) >= _EXTENDED_ERROR.size + reporter.size and name:
                (source,) = reporter.unpack_from(data, _EXTENDED_ERROR.size)
                place = place_of(name)
                report = IcmpReport(
                    number, message, code, info, source, *place, quoted=quoted, ttl=ttl_of(ancillary)
                )
                yield number, report, 0
            else:
                yield number, None, 0
