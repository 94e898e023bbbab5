"""A router on a path whose next link carries only smaller packets: it fragments them, or says so by ICMP."""

from __future__ import annotations

from slirpy.testing.guest.fragments import fragments
from slirpy.wire import ethernet
from slirpy.wire.icmp import Cause
from slirpy.wire.icmps import messages_of
from slirpy.wire.ip import V6, packet_family

__all__ = ["fragment_frames", "too_big_frame"]

_ROUTER = {4: bytes((198, 18, 255, 254)), 6: bytes.fromhex("20010db8" + 22 * "0" + "fe")}
"""Addresses of the router."""


def fragment_frames(frame: bytes, mtu: int) -> list[bytes]:
    """Return the frames that carry the fragments of a packet; none if it must not be fragmented.

    That is so with DF, and always with IPv6 (RFC 8200, section 5).
    """
    packet = memoryview(frame)[ethernet.HEADER_LENGTH :]
    family = packet_family(packet)
    header = family.parse(packet)
    if header is None or family is V6 or header.dont_fragment or header.is_fragment:
        return []
    payload = packet[header.header_length : header.total_length]
    ident = int.from_bytes(packet[4:6], "big")
    place = header.source, header.destination, header.protocol
    return [
        frame[: ethernet.HEADER_LENGTH] + piece
        for piece in fragments(*place, payload, ident, header.hop_limit - 1, mtu)
    ]


def too_big_frame(frame: bytes, mtu: int) -> bytes | None:
    """Return the router's answer to a packet that does not fit (RFC 1191, RFC 8201); None if it must not answer."""
    packet = memoryview(frame)[ethernet.HEADER_LENGTH :]
    family = packet_family(packet)
    header = family.parse(packet)
    if header is None or header.fragment_offset:
        return None
    codec, own = messages_of(header.source), _ROUTER[family.version]
    if not codec.is_answerable(packet, header):
        return None
    quoted = packet[: min(header.total_length, codec.quote_max)]
    message = codec.build(own, header.source, *codec.error_of(Cause.TOO_BIG, mtu), quoted)
    answer = family.build(own, header.source, family.icmp, len(message)) + message
    return frame[6:12] + frame[:6] + family.ethertype.to_bytes(2, "big") + answer
