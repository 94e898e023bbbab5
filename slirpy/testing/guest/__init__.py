"""A small network guest in pure Python, sans-I/O: the other end of the wire. The entry point is :class:`Guest`."""

from slirpy.testing.guest.dhcp import DhcpClient, DhcpLease, DhcpMessage
from slirpy.testing.guest.dhcp6 import Dhcp6Client, Dhcp6Lease
from slirpy.testing.guest.dns import Lookup
from slirpy.testing.guest.guest import Guest
from slirpy.testing.guest.host import DEFAULT_MAC, GuestCounters, packed
from slirpy.testing.guest.icmp import IcmpError, Ping
from slirpy.testing.guest.slaac import Autoconfiguration
from slirpy.testing.guest.tcp import GuestStream, StreamListener
from slirpy.testing.guest.udp import Message, UdpSocket

__all__ = [
    "DEFAULT_MAC",
    "Autoconfiguration",
    "Dhcp6Client",
    "Dhcp6Lease",
    "DhcpClient",
    "DhcpLease",
    "DhcpMessage",
    "Guest",
    "GuestCounters",
    "GuestStream",
    "IcmpError",
    "Lookup",
    "Message",
    "Ping",
    "StreamListener",
    "UdpSocket",
    "packed",
]
