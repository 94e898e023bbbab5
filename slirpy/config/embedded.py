"""IPv6 addresses that lead to an IPv4 host, by a translator or through a tunnel.

A network between the host and the destination, or the host itself, may have one. A rule that forbids an IPv4 address
must not be passed by writing the address in one of these ways.
"""

from __future__ import annotations

__all__ = ["embedded_ipv4"]

_MAPPED = bytes(10) + b"\xff\xff"
_COMPATIBLE = bytes(12)
_TRANSLATED = bytes(8) + b"\xff\xff\0\0"
_NAT64 = bytes.fromhex("0064ff9b0000000000000000")
_LOCAL_NAT64 = bytes.fromhex("0064ff9b0001")
_TEREDO = bytes.fromhex("20010000")
_SIX_TO_FOUR = bytes.fromhex("2002")
_ISATAP = (bytes.fromhex("00005efe"), bytes.fromhex("02005efe"))
_ALL_ONES = 0xFFFFFFFF


def embedded_ipv4(address: bytes) -> list[int]:
    """Return the IPv4 addresses, as numbers, to which traffic for an IPv6 address may lead.

    - IPv4-mapped and IPv4-compatible addresses (RFC 4291, section 2.5.5), IPv4-translated ones (RFC 2765);
    - NAT64: 64:ff9b::/96 (RFC 6052), and 64:ff9b:1::/48 (RFC 8215), whose operator may place the address after 48,
      56, 64 or 96 bits;
    - 6to4: 2002::/16 (RFC 3056); Teredo: 2001::/32, server and client (RFC 4380); ISATAP in any network (RFC 5214).

    Args:
        address: sixteen bytes.
    """
    last = int.from_bytes(address[12:], "big")
    head = address[:12]
    if head in (_MAPPED, _COMPATIBLE, _TRANSLATED, _NAT64):
        return [last]
    if address[:6] == _LOCAL_NAT64:
        bits = address[:8] + address[9:]  # without the byte that stays zero (RFC 6052, section 2.2)
        return [last, *(int.from_bytes(bits[at : at + 4], "big") for at in (6, 7, 8))]
    if address[:2] == _SIX_TO_FOUR:
        return [int.from_bytes(address[2:6], "big")]
    if address[:4] == _TEREDO:
        return [int.from_bytes(address[4:8], "big"), last ^ _ALL_ONES]
    return [last] if address[8:12] in _ISATAP else []
