"""A packet from a guest, and the functions that take what opens a flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from slirpy.core.neighbor import Neighbor
from slirpy.core.port import LinkPort
from slirpy.tcp import Segment
from slirpy.wire import icmp
from slirpy.wire.ip import Header

__all__ = ["Arrival", "Openers"]


class Arrival(NamedTuple):
    """A packet from a guest, with everything that is known about it."""

    port: LinkPort
    neighbor: Neighbor
    macs: bytes
    """Destination and source MAC."""
    header: Header
    packet: memoryview
    """From the IP header on, without padding."""
    checksummed: bool
    """A link vouches for the transport checksum."""

    @property
    def payload(self) -> memoryview:
        """What follows the IP header."""
        return self.packet[self.header.header_length : self.header.total_length]


class Openers(NamedTuple):
    """Functions of the NAT that take packets which belong to no service and no open TCP connection."""

    tcp: Callable[[Arrival, bytes, Segment], None]
    """Takes a SYN, with its flow key."""
    udp: Callable[[Arrival, int, int, memoryview], None]
    """Takes a datagram: source port, destination port, payload."""
    echo: Callable[[Arrival, int, int, memoryview], None]
    """Takes an echo request to a host outside: identifier, sequence number, payload."""
    icmp_error: Callable[[icmp.Trouble, icmp.Quote], bool]
    """Takes an error by which a guest reports on a packet that it was sent, and the quoted packet.

    False if it was never sent such a packet.
    """
