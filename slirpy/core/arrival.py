"""A packet from a guest, and the functions that open flows."""

from __future__ import annotations

from collections.abc import Callable

from slirpy.core.neighbor import Neighbor
from slirpy.core.port import LinkPort
from slirpy.records import NamedTuple
from slirpy.tcp import Segment
from slirpy.wire import icmp
from slirpy.wire.ip import Header

__all__ = ["Arrival", "FlowOpeners"]


class Arrival(NamedTuple):
    """A packet from a guest, with its link, sender and parsed IP header."""

    port: LinkPort
    neighbor: Neighbor
    macs: bytes
    """Destination and source MAC address."""
    header: Header
    packet: memoryview
    """The packet from its IP header on, without padding."""
    checksummed: bool
    """True if the link vouches for the transport checksum."""

    @property
    def payload(self) -> memoryview:
        """Payload of the IP packet."""
        return self.packet[self.header.header_length : self.header.total_length]


class FlowOpeners(NamedTuple):
    """Functions of the NAT for packets that belong to no service and no open TCP connection."""

    tcp: Callable[[Arrival, bytes, Segment], None]
    """Takes a SYN, with its flow key."""
    udp: Callable[[Arrival, int, int, memoryview], None]
    """Takes a datagram: source port, destination port, payload."""
    echo: Callable[[Arrival, int, int, memoryview], None]
    """Takes an echo request to a host outside: identifier, sequence number, payload."""
    icmp_error: Callable[[icmp.Trouble, icmp.Quote], bool]
    """Takes a guest's error and the packet quoted in it. Returns False if that guest was never sent such a packet."""
