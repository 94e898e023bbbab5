"""What sockets can be told about the IP header, and what they tell about errors, where the system can do it.

Linux queues what routers and hosts say by ICMP about the packets of a socket (``IP_RECVERR``, see ip(7)): who, what,
about which packet. Without it a socket that is not connected never hears of a refusal.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from struct import Struct

from slirpy.host.addresses import place_of
from slirpy.interfaces import IcmpReport

__all__ = ["hear_errors", "hear_ttl", "queued_errors", "set_ttl", "set_whole", "ttl_of"]

# <linux/in.h>, <linux/in6.h> and <linux/errqueue.h>.
_IP_TTL, _IP_MTU_DISCOVER, _IP_RECVERR, _IP_RECVTTL = 2, 10, 11, 12
_IPPROTO_IPV6, _IPV6_RECVERR = 41, 25
_PMTUDISC_DONT, _PMTUDISC_PROBE = 0, 3
_MSG_ERRQUEUE = 0x2000
_ERROR_KINDS = ((0, _IP_RECVERR), (_IPPROTO_IPV6, _IPV6_RECVERR))
_EXTENDED_ERROR = Struct("=IBBBxII")  # errno, origin, type, code, info, data
_OFFENDER = Struct("=HH4s")  # struct sockaddr_in, without its padding
_ORIGIN_LOCAL, _ORIGIN_ICMP = 1, 2
_ROOM = 512
_QUOTE = 548
_DARWIN_IP_DONTFRAG = 28  # <netinet/in.h>
_BATCH = 64


def hear_errors(sock: socket.socket) -> None:
    """Let the system queue errors for :func:`queued_errors`, where it can."""
    if sys.platform == "linux":
        level, option = _ERROR_KINDS[sock.family == socket.AF_INET6]
        sock.setsockopt(level, option, 1)


def hear_ttl(sock: socket.socket) -> None:
    """Let the system tell what was left of the time to live of what is received, for :func:`ttl_of`."""
    if sys.platform == "linux" and sock.family == socket.AF_INET:
        sock.setsockopt(0, _IP_RECVTTL, 1)


def set_ttl(sock: socket.socket, ttl: int) -> None:
    """Send packets with a time to live of 1 to 255 from here on."""
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)


def set_whole(sock: socket.socket, whole: bool) -> None:
    """Set or clear DF on what is sent from here on.

    On Linux a set DF means ``IP_PMTUDISC_PROBE``: whoever is behind the socket finds the path's MTU by itself, so the
    packet goes out even where the system believes to know a smaller MTU, and the answer of the router that refuses
    it is passed on. Only what is larger than the interface's own MTU is refused at once.
    """
    if sock.family != socket.AF_INET:
        return
    if sys.platform == "linux":
        sock.setsockopt(0, _IP_MTU_DISCOVER, _PMTUDISC_PROBE if whole else _PMTUDISC_DONT)
    elif sys.platform == "darwin":
        sock.setsockopt(socket.IPPROTO_IP, _DARWIN_IP_DONTFRAG, int(whole))


def ttl_of(ancillary: list[tuple[int, int, bytes]]) -> int:
    """The time to live among the ancillary data of a packet; 0 if it is not there."""
    for level, kind, data in ancillary:
        if level == 0 and kind == _IP_TTL:
            return int.from_bytes(data[:4], sys.byteorder)
    return 0


def queued_errors(sock: socket.socket) -> Iterator[tuple[int, IcmpReport | None, int]]:
    """Take the errors that wait, some at a time: ``errno`` value, what was reported, and an MTU.

    The MTU is that of a packet that the system itself refused as too long, else 0. The report is None unless the
    error came by ICMP (of IPv4).
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
            if origin == _ORIGIN_LOCAL:
                yield number, None, info
            elif origin == _ORIGIN_ICMP and len(data) >= _EXTENDED_ERROR.size + _OFFENDER.size and name:
                _, _, offender = _OFFENDER.unpack_from(data, _EXTENDED_ERROR.size)
                place = place_of(name)
                report = IcmpReport(
                    number, message, code, info, offender, *place, quoted=quoted, ttl=ttl_of(ancillary)
                )
                yield number, report, 0
            else:
                yield number, None, 0
