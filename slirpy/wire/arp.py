"""ARP for IPv4 over Ethernet (RFC 826)."""

from __future__ import annotations

from struct import Struct

from slirpy.interfaces import Buffer
from slirpy.records import NamedTuple

__all__ = ["REPLY", "REQUEST", "ArpPacket", "build", "parse"]

REQUEST = 1
REPLY = 2
LENGTH = 28
_IPV4_OVER_ETHERNET = bytes.fromhex("0001 0800 06 04")
"""Hardware and protocol, and the lengths of their addresses."""
_PACKET = Struct("!6sH6s4s6s4s")


class ArpPacket(NamedTuple):
    """A request or reply: the sender's addresses, and the target's."""

    operation: int
    sender_mac: bytes
    sender: bytes
    target_mac: bytes
    target: bytes


def parse(data: Buffer) -> ArpPacket | None:
    """Read a packet; None if it is too short or not for IPv4 over Ethernet."""
    if len(data) < LENGTH:
        return None
    kind, *fields = _PACKET.unpack_from(data)
    return ArpPacket(*fields) if kind == _IPV4_OVER_ETHERNET else None


def build(packet: ArpPacket) -> bytes:
    """Build the 28 bytes of a packet."""
    return _PACKET.pack(_IPV4_OVER_ETHERNET, *packet)
