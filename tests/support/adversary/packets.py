"""Packets of one's own making, of both IP families."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from random import Random

from tests.support.harness import rfc1071

GATEWAY_MAC = {4: bytes.fromhex("52550a000202"), 6: bytes.fromhex("525600000002")}
ETHERTYPE = {4: 0x0800, 6: 0x86DD}
UDP = 17


def udp(source: str, destination: str, ports: tuple[int, int], payload: bytes) -> bytes:
    """A datagram with its checksum."""
    a, b = ip_address(source).packed, ip_address(destination).packed
    header = struct.pack("!HHHH", *ports, 8 + len(payload), 0)
    pseudo = a + b + struct.pack("!IHBB", 8 + len(payload), 0, 0, UDP)
    if len(a) == 4:
        pseudo = a + b + struct.pack("!BBH", 0, UDP, 8 + len(payload))
    data = pseudo + header + payload
    return header[:6] + struct.pack("!H", rfc1071(data + bytes(len(data) % 2)) or 0xFFFF) + payload


def ipv4(source: str, destination: str, payload: bytes, more: int = 0, options: bytes = b"") -> bytes:
    """An IPv4 packet, or a fragment."""
    size = 20 + len(options)
    header = struct.pack("!BBHHHBBH", 0x40 | size // 4, 0, size + len(payload), 7, more, 64, UDP, 0)
    header += ip_address(source).packed + ip_address(destination).packed + options
    return header[:10] + struct.pack("!H", rfc1071(header)) + header[12:] + payload


def ipv6(source: str, destination: str, payload: bytes, following: int = UDP) -> bytes:
    """An IPv6 packet."""
    header = struct.pack("!IHBB", 0x60000000, len(payload), following, 64)
    return header + ip_address(source).packed + ip_address(destination).packed + payload


def extended(random: Random, payload: bytes, other: str) -> tuple[int, bytes]:
    """The payload behind an extension header or several; the first of them."""
    pad = b"\1\4\0\0\0\0"
    kind = random.randrange(5)
    if kind == 0:
        return 0, bytes((60, 0)) + pad + bytes((UDP, 0)) + pad + payload
    if kind == 1:  # a routing header with another destination
        return 43, bytes((UDP, 2, 0, 1)) + bytes(4) + ip_address(other).packed + payload
    if kind == 2:  # an atomic fragment
        return 44, bytes((UDP, 0, 0, 0)) + b"\0\0\0\7" + payload
    if kind == 3:
        return 60, bytes((UDP, 0)) + pad + payload
    return 43, bytes((UDP, 0, 4, 0)) + bytes(4) + payload


def fragments6(source: str, destination: str, data: bytes, overlap: bool) -> list[bytes]:
    """A datagram in two fragments; perhaps the second writes over the first."""
    first, rest = data[:16], data[8:] if overlap else data[16:]
    offset = 8 if overlap else 16
    one = bytes((UDP, 0)) + struct.pack("!HI", 1, 9) + first
    two = bytes((UDP, 0)) + struct.pack("!HI", offset, 9) + rest
    return [ipv6(source, destination, one, 44), ipv6(source, destination, two, 44)]
