"""Messages of ICMP and ICMPv6: echo, and errors about a packet (RFC 792, RFC 4443)."""

from __future__ import annotations

from hypothesis import strategies as st

from slirpy.addresses import AnyAddress, address_bytes
from slirpy.checks import octets
from slirpy.errors import ConfigError
from slirpy.testing.strategies.building import (
    Addresses,
    Flaw,
    Kind,
    Made,
    check_kind,
    ip_frame,
    set_length,
    with_ethernet,
)
from slirpy.testing.strategies.ip import echo
from slirpy.wire import icmp, icmpv6, ipv4
from slirpy.wire.icmps import messages_of
from slirpy.wire.ip import V4, V6, Family, family_of

__all__ = ["ICMP6_FLAWS", "ICMP_FLAWS", "icmp_errors", "icmp_frames"]

_ERRORS = {
    V4: (
        (icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, 0),
        (icmp.UNREACHABLE, icmp.HOST_UNREACHABLE, 0),
        (icmp.UNREACHABLE, icmp.NET_UNREACHABLE, 0),
        (icmp.UNREACHABLE, icmp.PROTOCOL_UNREACHABLE, 0),
        (icmp.UNREACHABLE, icmp.ADMIN_PROHIBITED, 0),
        (icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, 1400),
        (icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, 0),
        (icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, 68),
        (icmp.TIME_EXCEEDED, 0, 0),
        (icmp.TIME_EXCEEDED, icmp.REASSEMBLY_TIME, 0),
        (4, 0, 0),  # source quench
        (12, 0, 9 << 24),  # parameter problem
    ),
    V6: (
        (icmpv6.UNREACHABLE, icmpv6.PORT_UNREACHABLE, 0),
        (icmpv6.UNREACHABLE, icmpv6.ADDRESS_UNREACHABLE, 0),
        (icmpv6.UNREACHABLE, icmpv6.NO_ROUTE, 0),
        (icmpv6.UNREACHABLE, icmpv6.ADMIN_PROHIBITED, 0),
        (icmpv6.UNREACHABLE, icmpv6.BEYOND_SCOPE, 0),
        (icmpv6.PACKET_TOO_BIG, 0, 1400),
        (icmpv6.PACKET_TOO_BIG, 0, 1280),
        (icmpv6.PACKET_TOO_BIG, 0, 0),
        (icmpv6.TIME_EXCEEDED, 0, 0),
        (icmpv6.TIME_EXCEEDED, icmpv6.REASSEMBLY_TIME, 0),
        (icmpv6.PARAMETER_PROBLEM, icmpv6.UNKNOWN_NEXT_HEADER, 6),
    ),
}
"""Type, code and second word of each error."""


def icmp_errors(
    packet: bytes, kind: Kind = "valid", *, reporter: AnyAddress | None = None
) -> st.SearchStrategy[bytes]:
    """Make IP packets with an ICMP error about a packet, which go back to its sender.

    Types and codes are those of unreachable destinations, packets that are too big (with a plausible MTU, the least
    one, and none), exceeded times, and parameter problems. The quote has its eight bytes of the transport header, or
    more. The simplest example is "port unreachable" with the shortest quote.

    Args:
        packet: an IPv4 or IPv6 packet from its IP header on.
        kind: ``"near"``: the checksum is wrong, the quote is too short, or quotes a packet of another sender;
            ``"garbage"``: any bytes after the IP header.
        reporter: address of the sender of the error; None: the packet's destination.

    Raises:
        ConfigError: not a packet, or an address of the other family.
    """
    check_kind(kind)
    octets("packet", packet)
    family = V6 if packet[:1] and packet[0] >> 4 == 6 else V4
    header = family.parse(packet)
    if header is None:
        raise ConfigError(f"packet of {len(packet)} bytes is not an IP packet; pass it from its IP header on")
    source = header.destination if reporter is None else address_bytes("reporter", reporter)
    if len(source) != len(header.source):
        raise ConfigError(f'reporter "{reporter}" is not of the packet\'s family')
    whole = bytes(packet[: header.total_length])
    if kind == "garbage":
        return st.binary(max_size=100).map(lambda data: _packet(source, header.source, data))
    return _errors(whole, header.header_length, source, header.source, near=kind == "near")


def _packet(source: bytes, destination: bytes, message: bytes) -> bytes:
    family = family_of(source)
    return family.build(source, destination, family.icmp, len(message)) + message


@st.composite
def _errors(
    draw: st.DrawFn, packet: bytes, start: int, source: bytes, destination: bytes, *, near: bool
) -> bytes:
    family = family_of(source)
    kind, code, word = draw(st.sampled_from(_ERRORS[family]))
    least = min(start + 8, len(packet))
    most = min(len(packet), 548 if family is V4 else icmpv6.QUOTE_MAX)
    quote = packet[: draw(st.integers(least, max(most, least)))]
    flaw = draw(st.sampled_from(("checksum", "short quote", "foreign quote"))) if near else ""
    if flaw == "short quote":
        quote = packet[: draw(st.integers(0, min(start + 7, len(packet))))]
    elif flaw == "foreign quote":
        at = 12 if family is V4 else 8
        quote = quote[:at] + bytes(len(source)) + quote[at + len(source) :]
    message = bytearray(messages_of(source).build(source, destination, kind, code, word, quote))
    if flaw == "checksum":
        message[2] ^= draw(st.integers(1, 254))
    return _packet(source, destination, bytes(message))


# ---------------------------------------------------------------------------------------------- frames


def icmp_frames(ends: Addresses, family: Family) -> st.SearchStrategy[Made]:
    """Make echo requests, echo replies, and errors about a datagram of the destination."""
    source, destination = ends.of(family)
    requests = echo(ends, family)

    def reply(made: Made) -> Made:
        message = bytes((messages_of(source).echo_reply,)) + made.frame[made.at + 1 :]
        return ip_frame(ends, family.icmp, message, source=source, destination=destination)

    quoted = family.build(destination, source, ipv4.UDP, 16) + b"\x10\0\0\x07\0\x10\0\0" + bytes(8)
    errors = _errors(quoted, family.header_length, source, destination, near=False)
    at = 14 + family.header_length
    return st.one_of(
        requests,
        requests.map(reply),
        errors.map(lambda packet: Made(with_ethernet(ends, family.ethertype, packet), at)),
    )


def _checksum(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    frame[at + 2] ^= draw(st.integers(1, 254))


def _cut(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    del frame[at + draw(st.integers(0, icmp.HEADER_LENGTH - 1)) :]
    set_length(frame)


def _unknown(*kinds: int) -> Flaw:
    def edit(draw: st.DrawFn, frame: bytearray, at: int) -> None:
        frame[at] = draw(st.sampled_from(kinds))

    return Flaw("unknown type", edit)


ICMP_FLAWS = (
    Flaw("checksum", _checksum, repaired=False),
    Flaw("message cut short", _cut),
    _unknown(1, 2, 7, 20, 41, 255),
)
ICMP6_FLAWS = (
    Flaw("checksum", _checksum, repaired=False),
    Flaw("message cut short", _cut),
    _unknown(150, 199, 254),
)
