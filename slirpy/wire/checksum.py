"""The Internet checksum (RFC 1071), by arithmetic on one large integer.

The ones' complement sum of 16-bit words is the value of the data, read as one big-endian number, modulo
65535: each word weighs a power of 65536, and 65536 is 1 modulo 65535. CPython divides a large integer by a
small one in C, so this takes 3 us for 1460 bytes where a loop in Python takes hundreds. For the size of a full
segment it is worth folding first: to add the upper half of the number to the lower half, at a multiple of 16
bits, is quicker than to divide, and leaves a number of a sixteenth to be divided; 1.7 us.

The result 0 stands for both zeros of ones' complement arithmetic. A sum over a header is never all zero
bits, so 0 always means 0xFFFF there.
"""

from __future__ import annotations

from slirpy.interfaces import Buffer

_from_bytes = int.from_bytes
_MASK_8192 = (1 << 8192) - 1
_MASK_4096 = (1 << 4096) - 1
_MASK_2048 = (1 << 2048) - 1
_MASK_1024 = (1 << 1024) - 1

__all__ = ["checksum", "ones_sum", "transport_ok"]


def ones_sum(data: Buffer) -> int:
    """The ones' complement sum of ``data``, 0 to 65534; an odd byte at the end counts as a high one."""
    length = len(data)
    number = _from_bytes(data, "big")
    if length & 1:
        number <<= 8
    if 1000 < length <= 2048:
        number = (number >> 8192) + (number & _MASK_8192)
        number = (number >> 4096) + (number & _MASK_4096)
        number = (number >> 2048) + (number & _MASK_2048)
        number = (number >> 1024) + (number & _MASK_1024)
    return number % 65535


def checksum(data: Buffer, initial: int = 0) -> int:
    """The value of the checksum field for ``data``, in which the field itself is zero.

    ``initial`` is added to the sum, for a pseudo-header. The result is 0 to 65534.
    """
    return -(ones_sum(data) + initial) % 65535


def transport_ok(packet: Buffer, header_length: int, total_length: int, protocol: int) -> bool:
    """Whether the TCP or UDP checksum in an IPv4 packet is right.

    Args:
        packet: the packet from its IPv4 header on.
        header_length: of the IPv4 header, in bytes, 20 to 60.
        total_length: of the packet, at most ``len(packet)``.
        protocol: 6 or 17.
    """
    # Without options the addresses lie just before the segment, so one number takes in both.
    segment_length = total_length - header_length
    if header_length == 20:
        total = ones_sum(packet[12:total_length])
    else:
        total = ones_sum(packet[12:20]) + ones_sum(packet[header_length:total_length])
    return (total + protocol + segment_length) % 65535 == 0
