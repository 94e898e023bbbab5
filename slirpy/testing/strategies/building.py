"""Frames from layers: their ends, lengths and checksums, and one flaw at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import pairwise
from typing import Literal, TypeAlias

from hypothesis import strategies as st

from slirpy.addresses import address_bytes, mac_bytes
from slirpy.checks import switch
from slirpy.errors import ConfigError
from slirpy.records import NamedTuple
from slirpy.wire import ethernet, ipv4, ipv6
from slirpy.wire.checksum import checksum
from slirpy.wire.ip import V4, V6, Family, family_of

__all__ = [
    "FROM_GUEST",
    "TO_GUEST",
    "Addresses",
    "Ends",
    "Flaw",
    "Kind",
    "Made",
    "check_kind",
    "families",
    "ip_frame",
    "kinds",
    "ports",
    "repair",
    "set_length",
    "with_ethernet",
]

Kind: TypeAlias = Literal["valid", "near", "garbage"]
"""``"valid"``: a receiver takes it; ``"near"``: one thing is wrong; ``"garbage"``: any bytes."""

_KINDS = ("valid", "near", "garbage")
_CHECKSUM_AT = {ipv4.TCP: 16, ipv4.UDP: 6, ipv4.ICMP: 2, ipv6.ICMPV6: 2}

ports = st.integers(1, 65535)
families = st.sampled_from((V4, V6))


class Addresses(NamedTuple):
    """The ends of a frame, as bytes; ``local`` are link-local addresses of IPv6."""

    source_mac: bytes
    destination_mac: bytes
    source4: bytes
    destination4: bytes
    source6: bytes
    destination6: bytes
    source_local: bytes
    destination_local: bytes
    from_server: bool

    def of(self, family: Family) -> tuple[bytes, bytes]:
        """Source and destination of a family."""
        return (self.source4, self.destination4) if family is V4 else (self.source6, self.destination6)


@dataclass(frozen=True)
class Ends:
    """The two ends of frames. The default is QEMU's first guest, which sends to its router.

    Addresses are text. ``FROM_GUEST`` is the default, ``TO_GUEST`` the other direction.

    Raises:
        ConfigError: a value that is not an address of its kind, or ``from_server`` is not a switch.
    """

    source_mac: str = "52:54:00:12:34:56"
    destination_mac: str = "52:55:0a:00:02:02"
    source: str = "10.0.2.15"
    destination: str = "10.0.2.2"
    source6: str = "fec0::5054:ff:fe12:3456"
    destination6: str = "fec0::2"
    source_local: str = "fe80::5054:ff:fe12:3456"
    """Link-local address, for Neighbor Discovery and MLD."""
    destination_local: str = "fe80::2"
    from_server: bool = False
    """True if the source sends what servers send: of DHCP, DHCPv6, DNS and TFTP."""

    def __post_init__(self) -> None:
        switch("from_server", self.from_server)
        for name in ("source_mac", "destination_mac"):
            mac_bytes(name, getattr(self, name))
        for name in ("source", "destination", "source6", "destination6", "source_local", "destination_local"):
            size = 4 if name in ("source", "destination") else 16
            if len(address_bytes(name, getattr(self, name))) != size:
                raise ConfigError(
                    f'{name} "{getattr(self, name)}" is not an IPv{4 if size == 4 else 6} address'
                )

    def reversed(self) -> Ends:
        """Return the ends of the answers."""
        return Ends(
            self.destination_mac,
            self.source_mac,
            self.destination,
            self.source,
            self.destination6,
            self.source6,
            self.destination_local,
            self.source_local,
            not self.from_server,
        )

    @property
    def packed(self) -> Addresses:
        """The addresses as bytes."""
        four = (ip_address(each).packed for each in (self.source, self.destination))
        six = (self.source6, self.destination6, self.source_local, self.destination_local)
        macs = mac_bytes("source_mac", self.source_mac), mac_bytes("destination_mac", self.destination_mac)
        return Addresses._make((*macs, *four, *(ip_address(each).packed for each in six), self.from_server))


FROM_GUEST = Ends()
TO_GUEST = FROM_GUEST.reversed()


class Made(NamedTuple):
    """A frame, and the place where the header of its protocol begins."""

    frame: bytes
    at: int


Edit: TypeAlias = Callable[[st.DrawFn, bytearray, int], None]
"""Makes one thing wrong in a frame, whose header of the protocol begins at the third argument."""


class Flaw(NamedTuple):
    """One thing that is wrong with a frame."""

    name: str
    edit: Edit
    repaired: bool = True
    """True if the checksums are made correct again, so that nothing else is wrong."""
    tolerated: bool = False
    """True if receivers may accept it nevertheless."""


def check_kind(kind: Kind) -> None:
    """Check a caller's argument.

    Raises:
        ConfigError: it is not a kind.
    """
    if kind not in _KINDS:
        raise ConfigError(f'kind {kind!r} is not "valid", "near" or "garbage"')


def kinds(kind: Kind, valid: st.SearchStrategy[Made], flaws: Sequence[Flaw]) -> st.SearchStrategy[bytes]:
    """Return frames of a kind, made of valid ones."""
    if kind == "valid":
        return valid.map(lambda made: made.frame)
    if kind == "near":
        return _near(valid, tuple(flaws))
    return _garbage(valid)


@st.composite
def _near(draw: st.DrawFn, valid: st.SearchStrategy[Made], flaws: tuple[Flaw, ...]) -> bytes:
    flaw = draw(st.sampled_from(flaws))
    made = draw(valid)
    frame = bytearray(made.frame)
    flaw.edit(draw, frame, made.at)
    if flaw.repaired:
        repair(frame)
    return bytes(frame)


@st.composite
def _garbage(draw: st.DrawFn, valid: st.SearchStrategy[Made]) -> bytes:
    made = draw(valid)
    frame = bytearray(made.frame[: made.at] + draw(st.binary(max_size=200)))
    set_length(frame, made.at)
    repair(frame, upto=made.at)
    return bytes(frame)


def with_ethernet(ends: Addresses, kind: int, payload: bytes, destination: bytes | None = None) -> bytes:
    """Put an Ethernet header before a payload."""
    return (destination or ends.destination_mac) + ends.source_mac + kind.to_bytes(2, "big") + payload


def ip_frame(
    ends: Addresses,
    protocol: int,
    payload: bytes,
    *,
    source: bytes,
    destination: bytes,
    hop_limit: int = 64,
    chain: bytes = b"",
) -> Made:
    """Put Ethernet and IP headers before a payload, and compute its checksum.

    Args:
        ends: MAC addresses; a group has its own.
        protocol: of the first header after IP's.
        payload: the transport header and its data.
        source: of either family.
        destination: of the same family, or a group.
        hop_limit: TTL or hop limit.
        chain: extension headers of IPv6, the first of which is ``protocol``.
    """
    family = family_of(source)
    size = len(chain) + len(payload)
    header = family.build(source, destination, protocol, size, hop_limit=hop_limit)
    mac = ends.destination_mac
    if family.is_multicast(destination):
        mac = ipv6.multicast_mac(destination)
    elif destination == b"\xff" * 4:
        mac = ethernet.BROADCAST
    frame = bytearray(with_ethernet(ends, family.ethertype, header + chain + payload, mac))
    repair(frame)
    return Made(bytes(frame), ethernet.HEADER_LENGTH + len(header) + len(chain))


def _transport(frame: bytes | bytearray) -> tuple[int, int] | None:
    """Find the transport header: its protocol and its place; None if there is none, or not all of it."""
    start = ethernet.HEADER_LENGTH
    kind = frame[12:start]
    if kind == b"\x08\x00" and len(frame) >= start + ipv4.HEADER_LENGTH:
        if int.from_bytes(frame[start + 6 : start + 8], "big") & (ipv4.MF | ipv4.OFFSET_MASK):
            return None
        return frame[start + 9], start + (frame[start] & 15) * 4
    if kind != b"\x86\xdd" or len(frame) < start + ipv6.HEADER_LENGTH:
        return None
    protocol, at = frame[start + ipv6.NEXT_HEADER_AT], start + ipv6.HEADER_LENGTH
    while protocol in (ipv6.HOP_BY_HOP, ipv6.ROUTING, ipv6.DESTINATION_OPTIONS, ipv6.FRAGMENT):
        if at + 8 > len(frame):
            return None
        if protocol == ipv6.FRAGMENT:
            if int.from_bytes(frame[at + 2 : at + 4], "big") & (ipv6.OFFSET_MASK | ipv6.MF):
                return None
            protocol, at = frame[at], at + 8
        else:
            protocol, at = frame[at], at + (frame[at + 1] + 1) * 8
    return protocol, at


def repair(frame: bytearray, upto: int | None = None) -> None:
    """Make the checksums of a frame correct: that of an IPv4 header, and that of TCP, UDP, ICMP or ICMPv6.

    Args:
        frame: changed in place; what cannot be read is left alone.
        upto: repair only headers that begin before this place.
    """
    start = ethernet.HEADER_LENGTH
    four = frame[12:start] == b"\x08\x00"
    if four and len(frame) >= start + ipv4.HEADER_LENGTH:
        size = (frame[start] & 15) * 4
        if ipv4.HEADER_LENGTH <= size <= len(frame) - start:
            frame[start + 10 : start + 12] = b"\0\0"
            frame[start + 10 : start + 12] = checksum(frame[start : start + size]).to_bytes(2, "big")
    found = _transport(frame)
    if found is None or (upto is not None and found[1] >= upto):
        return
    protocol, at = found
    family = V4 if four else V6
    field = at + _CHECKSUM_AT.get(protocol, 0)
    if field == at or protocol == (ipv6.ICMPV6 if four else ipv4.ICMP) or field + 2 > len(frame):
        return
    total = int.from_bytes(frame[start + 2 : start + 4], "big")
    end = start + total if four else start + 40 + int.from_bytes(frame[start + 4 : start + 6], "big")
    end = min(end, len(frame))
    if field + 2 > end:
        return
    addresses = (start + 12, start + 16, start + 20) if four else (start + 8, start + 24, start + 40)
    source, destination = (bytes(frame[a:b]) for a, b in pairwise(addresses))
    pseudo = 0 if protocol == ipv4.ICMP else family.pseudo_sum(source, destination, protocol, end - at)
    frame[field : field + 2] = b"\0\0"
    value = checksum(frame[at:end], pseudo)
    if protocol == ipv4.UDP:
        value = value or 0xFFFF
    frame[field : field + 2] = value.to_bytes(2, "big")


def set_length(frame: bytearray, upto: int | None = None) -> None:
    """Make the lengths in IP and UDP headers those of the frame.

    Args:
        frame: changed in place.
        upto: leave headers alone that begin here, or later.
    """
    start = ethernet.HEADER_LENGTH
    bound = len(frame) if upto is None else upto
    if bound <= start:
        return
    if frame[12:start] == b"\x08\x00" and len(frame) >= start + ipv4.HEADER_LENGTH:
        frame[start + 2 : start + 4] = (len(frame) - start).to_bytes(2, "big")
    elif frame[12:start] == b"\x86\xdd" and len(frame) >= start + ipv6.HEADER_LENGTH:
        frame[start + 4 : start + 6] = (len(frame) - start - 40).to_bytes(2, "big")
    found = _transport(frame)
    if found is not None and found[0] == ipv4.UDP and found[1] + 6 <= len(frame) and found[1] < bound:
        at = found[1]
        frame[at + 4 : at + 6] = (len(frame) - at).to_bytes(2, "big")
