"""Ethernet II framing."""

from __future__ import annotations

__all__ = [
    "BROADCAST",
    "HEADER_LENGTH",
    "MIN_LENGTH",
    "TYPE_ARP",
    "TYPE_IPV4",
    "TYPE_IPV6",
    "is_multicast",
    "virtual_mac",
    "virtual_mac6",
]

HEADER_LENGTH = 14
MIN_LENGTH = 60
"""Shortest frame without its check sequence (IEEE 802.3, section 3.2.8)."""
TYPE_IPV4 = 0x0800
TYPE_ARP = 0x0806
TYPE_IPV6 = 0x86DD
BROADCAST = b"\xff\xff\xff\xff\xff\xff"


def virtual_mac(address: bytes) -> bytes:
    """MAC of a virtual host: 52:55 and the four bytes of its IPv4 address, as libslirp has it."""
    return b"\x52\x55" + address


def virtual_mac6(address: bytes) -> bytes:
    """MAC of a virtual host: 52:56 and the last four bytes of its IPv6 address, as libslirp has it."""
    return b"\x52\x56" + address[12:]


def is_multicast(mac: bytes) -> bool:
    """Whether a MAC address is a group address; broadcast is one too."""
    return bool(mac[0] & 1)
