"""Tools for tests of your own protocols: a guest in pure Python, a whole network in virtual time, and ladders of
frames.

None of them needs pytest or opens a socket.
"""

from slirpy.testing.guest import (
    DEFAULT_MAC,
    DhcpClient,
    DhcpLease,
    Guest,
    GuestCounters,
    GuestListener,
    GuestStream,
    IcmpError,
    Lookup,
    Message,
    Ping,
    UdpSocket,
)
from slirpy.testing.ladder import ladder
from slirpy.testing.network import Captured, UnmetError, VirtualNetwork

__all__ = [
    "DEFAULT_MAC",
    "Captured",
    "DhcpClient",
    "DhcpLease",
    "Guest",
    "GuestCounters",
    "GuestListener",
    "GuestStream",
    "IcmpError",
    "Lookup",
    "Message",
    "Ping",
    "UdpSocket",
    "UnmetError",
    "VirtualNetwork",
    "ladder",
]
