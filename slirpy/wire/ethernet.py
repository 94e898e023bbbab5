"""Ethernet II framing."""

from __future__ import annotations

from typing import Final

from slirpy.interfaces import Buffer

__all__ = [
    "BROADCAST",
    "HEADER_LENGTH",
    "MIN_LENGTH",
    "TAGS",
    "TAG_LENGTH",
    "TYPE_ARP",
    "TYPE_IPV4",
    "TYPE_IPV6",
    "is_multicast",
    "payload_offset",
    "virtual_mac",
]

HEADER_LENGTH: Final = 14
MIN_LENGTH: Final = 60
"""Shortest frame without its check sequence (IEEE 802.3, section 3.2.8)."""
TYPE_IPV4: Final = 0x0800
TYPE_ARP: Final = 0x0806
TYPE_IPV6: Final = 0x86DD
TAGS: Final = (0x8100, 0x88A8)
"""EtherTypes of VLAN tags (IEEE 802.1Q): of the customer, of the service provider."""
TAG_LENGTH: Final = 4
BROADCAST: Final = b"\xff\xff\xff\xff\xff\xff"


def virtual_mac(address: bytes) -> bytes:
    """Return the MAC address of a virtual host, as in libslirp: 52:55, or 52:56 for IPv6, and its last four bytes.

    Raises:
        ValueError: the address has neither 4 nor 16 bytes.
    """
    if len(address) == 4:
        return b"\x52\x55" + address
    if len(address) == 16:
        return b"\x52\x56" + address[12:]
    raise ValueError(f"an address has 4 or 16 bytes; given were {len(address)}")


def payload_offset(frame: Buffer) -> int:
    """Return the offset of the payload in a frame of at least 14 bytes: after its EtherType and any VLAN tags."""
    at = 12
    while at + 6 <= len(frame) and (frame[at] << 8 | frame[at + 1]) in TAGS:
        at += TAG_LENGTH
    return at + 2


def is_multicast(mac: bytes) -> bool:
    """Report whether a MAC address is a group address; broadcast is one too."""
    return bool(mac[0] & 1)
