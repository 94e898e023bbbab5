"""ARP for IPv4 over Ethernet (RFC 826)."""

from __future__ import annotations

from typing import NamedTuple

import dpkt

from slirpy.interfaces import Buffer

__all__ = ["REPLY", "REQUEST", "ArpPacket", "build", "parse"]

REQUEST = 1
REPLY = 2
LENGTH = 28


class ArpPacket(NamedTuple):
    """A request or reply: the sender's addresses, and the target's."""

    operation: int
    sender_mac: bytes
    sender: bytes
    target_mac: bytes
    target: bytes


def parse(data: Buffer) -> ArpPacket | None:
    """Read a packet; None if it is too short or not for IPv4 over Ethernet."""
    try:
        arp = dpkt.arp.ARP(bytes(data[:LENGTH]))
    except dpkt.UnpackError:
        return None
    if (arp.hrd, arp.pro, arp.hln, arp.pln) != (1, 0x0800, 6, 4):
        return None
    return ArpPacket(arp.op, arp.sha, arp.spa, arp.tha, arp.tpa)


def build(packet: ArpPacket) -> bytes:
    """Build the 28 bytes of a packet."""
    operation, sha, spa, tha, tpa = packet
    return bytes(dpkt.arp.ARP(op=operation, sha=sha, spa=spa, tha=tha, tpa=tpa))
