"""Both IP families behind one face: headers, addresses, and flow keys.

Addresses are bytes, so their length says which family they belong to. :func:`family_of` returns it, and refuses any
other length: an address that was cut or mixed up must not become a wrong packet. A flow key is source, destination,
source port and destination port, as they lie side by side in a packet: 12 bytes for IPv4, 36 for IPv6.

The fast paths read and write all headers of a frame at once; see :mod:`slirpy.wire.headers`.
"""

from __future__ import annotations

import abc
from struct import Struct
from typing import Final

from slirpy.interfaces import Buffer
from slirpy.records import NamedTuple, Protocol
from slirpy.wire import ethernet, ipv4, ipv6
from slirpy.wire.checksum import checksum, ones_sum

__all__ = [
    "V4",
    "V6",
    "Family",
    "FlowKey",
    "Header",
    "family_of",
    "flow_key",
    "packet_family",
    "reverse_key",
    "split_key",
]

_PORTS: Final = Struct("!HH")
_KEY_LENGTHS: Final = {12: 4, 36: 16}
_new: Final = tuple.__new__  # half of the time of calling FlowKey


class Header(Protocol):
    """The fields that the headers of both families have in common."""

    @property
    def source(self) -> bytes: ...

    @property
    def destination(self) -> bytes: ...

    @property
    def protocol(self) -> int:
        """Protocol number of the payload: 6 for TCP, 17 for UDP, 1 or 58 for ICMP."""

    @property
    def hop_limit(self) -> int:
        """Number of hops that are left; IPv4 calls them time to live."""

    @property
    def traffic_class(self) -> int:
        """DSCP and ECN; IPv4 calls them type of service."""

    @property
    def dont_fragment(self) -> bool:
        """True if no router may cut the packet; always so with IPv6."""

    @property
    def header_length(self) -> int:
        """Bytes before the payload."""

    @property
    def total_length(self) -> int:
        """Bytes of the packet with its header."""

    @property
    def is_fragment(self) -> bool:
        """True if this is a part of a packet."""

    @property
    def more_fragments(self) -> bool:
        """True if this is not the last part of a packet."""

    @property
    def fragment_offset(self) -> int:
        """Position of the payload in that of the whole packet, in bytes."""


class Family(abc.ABC):
    """One IP family.

    Attributes:
        version: 4 or 6.
        address_length: bytes.
        header_length: bytes of a header without options.
        least_mtu: bytes of a packet that every link carries.
        ethertype: of its frames.
        icmp: protocol number of its ICMP.
        unspecified: the address that stands for none.
    """

    def __init__(
        self,
        version: int,
        address_length: int,
        header_length: int,
        least_mtu: int,
        ethertype: int,
        icmp: int,
        unspecified: bytes,
    ) -> None:
        self.version = version
        self.address_length = address_length
        self.header_length = header_length
        self.least_mtu = least_mtu
        self.ethertype = ethertype
        self.icmp = icmp
        self.unspecified = unspecified

    @abc.abstractmethod
    def parse(self, packet: Buffer) -> Header | None:
        """Read the header at the start of ``packet``; None if it is short or lies about its lengths."""

    @abc.abstractmethod
    def build(
        self,
        source: bytes,
        destination: bytes,
        protocol: int,
        payload_length: int,
        *,
        hop_limit: int = 64,
        traffic_class: int = 0,
        dont_fragment: bool = False,
    ) -> bytes:
        """Make a header for ``payload_length`` bytes after it.

        ``dont_fragment`` sets the flag that IPv4 has for it; no router fragments IPv6.

        Raises:
            ValueError: an address is of the other family.
        """

    @abc.abstractmethod
    def with_hop_limit(self, header: bytes, hop_limit: int) -> bytes:
        """Return a header with another hop limit."""

    @abc.abstractmethod
    def is_multicast(self, address: bytes) -> bool:
        """Report whether an address is a group's."""

    @abc.abstractmethod
    def is_martian(self, address: bytes) -> bool:
        """Report whether no packet on a wire can have this destination and lead to one host elsewhere."""

    def is_unspecified(self, address: bytes) -> bool:
        """Report whether an address stands for none."""
        return address == self.unspecified

    def pseudo_sum(self, source: bytes, destination: bytes, protocol: int, length: int) -> int:
        """The ones' complement sum of the pseudo-header of ``length`` bytes of TCP, UDP or ICMPv6.

        It is the same for both families: where the fields stand makes no difference to the sum.
        """
        return ones_sum(source + destination) + protocol + length


class _IPv4(Family):
    def __init__(self) -> None:
        super().__init__(4, 4, ipv4.HEADER_LENGTH, 68, ethernet.TYPE_IPV4, ipv4.ICMP, bytes(4))

    def parse(self, packet: Buffer) -> ipv4.IPv4Header | None:
        return ipv4.parse(packet)

    def build(
        self,
        source: bytes,
        destination: bytes,
        protocol: int,
        payload_length: int,
        *,
        hop_limit: int = 64,
        traffic_class: int = 0,
        dont_fragment: bool = False,
    ) -> bytes:
        fragment = ipv4.DF if dont_fragment else 0
        return ipv4.build(
            source,
            destination,
            protocol,
            payload_length,
            fragment=fragment,
            ttl=hop_limit,
            tos=traffic_class,
        )

    def with_hop_limit(self, header: bytes, hop_limit: int) -> bytes:
        header = header[:8] + bytes((hop_limit,)) + header[9:10] + b"\0\0" + header[12:]
        return header[:10] + checksum(header).to_bytes(2, "big") + header[12:]

    def is_multicast(self, address: bytes) -> bool:
        return 0xE0 <= address[0] <= 0xEF

    def is_martian(self, address: bytes) -> bool:
        return address[0] in (0, 127) or address[0] >= 0xE0  # "this network", loopback, multicast, reserved


class _IPv6(Family):
    def __init__(self) -> None:
        super().__init__(6, 16, ipv6.HEADER_LENGTH, 1280, ethernet.TYPE_IPV6, ipv6.ICMPV6, ipv6.UNSPECIFIED)

    def parse(self, packet: Buffer) -> ipv6.IPv6Header | None:
        return ipv6.parse(packet)

    def build(
        self,
        source: bytes,
        destination: bytes,
        protocol: int,
        payload_length: int,
        *,
        hop_limit: int = 64,
        traffic_class: int = 0,
        dont_fragment: bool = False,
    ) -> bytes:
        return ipv6.build(source, destination, protocol, payload_length, hop_limit, traffic_class)

    def with_hop_limit(self, header: bytes, hop_limit: int) -> bytes:
        return header[:7] + bytes((hop_limit,)) + header[8:]

    def is_multicast(self, address: bytes) -> bool:
        return ipv6.is_multicast(address)

    def is_martian(self, address: bytes) -> bool:
        # The unspecified address, loopback and IPv4 in disguise are in the reserved 0::/8 (RFC 4291, section 2.4).
        # The addresses of translators are there too, and may lead to one that the host knows (RFC 6052, RFC 8215).
        return (address[0] == 0 and address[:4] != _TRANSLATORS) or ipv6.is_multicast(address)


_TRANSLATORS: Final = bytes.fromhex("0064ff9b")
V4: Final[Family] = _IPv4()
V6: Final[Family] = _IPv6()
_FAMILIES: Final = {4: V4, 16: V6}


def packet_family(packet: Buffer) -> Family:
    """Return the family of a packet, by the version in its first byte."""
    return V6 if packet[0] >> 4 == 6 else V4


def family_of(address: bytes) -> Family:
    """The family of an address.

    Raises:
        ValueError: it has neither 4 nor 16 bytes.
    """
    family = _FAMILIES.get(len(address))
    if family is None:
        raise ValueError(f"an address has 4 or 16 bytes; given were {len(address)}")
    return family


class FlowKey(NamedTuple):
    """The parts of a flow key."""

    source: bytes
    source_port: int
    destination: bytes
    destination_port: int


def flow_key(source: bytes, source_port: int, destination: bytes, destination_port: int) -> bytes:
    """Make a flow key.

    Raises:
        ValueError: the addresses are not of one family.
    """
    key = source + destination + _PORTS.pack(source_port, destination_port)
    if len(source) != len(destination) or len(key) not in _KEY_LENGTHS:
        raise ValueError(f"two addresses of 4 or of 16 bytes; given were {len(source)} and {len(destination)}")
    return key


def split_key(key: bytes) -> FlowKey:
    """Take a flow key apart.

    Raises:
        ValueError: it has neither 12 nor 36 bytes.
    """
    size = _address_length(key)
    source_port, destination_port = _PORTS.unpack_from(key, 2 * size)
    return _new(FlowKey, (key[:size], source_port, key[size : 2 * size], destination_port))


def reverse_key(key: bytes) -> bytes:
    """The key of the same flow as the other end sends it.

    Raises:
        ValueError: it has neither 12 nor 36 bytes.
    """
    size = _address_length(key)
    return key[size : 2 * size] + key[:size] + key[-2:] + key[-4:-2]


def _address_length(key: bytes) -> int:
    size = _KEY_LENGTHS.get(len(key))
    if size is None:
        raise ValueError(f"a flow key has 12 or 36 bytes; given were {len(key)}")
    return size
