"""For tests of your own protocols: a guest in pure Python, a whole network in virtual time, and ladders of frames.

Nothing here needs pytest, and nothing here opens a socket.
"""

from slirpy.testing.guest import DEFAULT_MAC, Guest, GuestCounters
from slirpy.testing.guest_dhcp import DhcpClient, DhcpLease
from slirpy.testing.guest_dns import Lookup
from slirpy.testing.guest_icmp import IcmpError, Ping
from slirpy.testing.guest_tcp import GuestListener, GuestStream
from slirpy.testing.guest_udp import Message, UdpSocket
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
