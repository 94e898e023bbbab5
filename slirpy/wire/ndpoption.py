"""Options of Neighbor Discovery messages (RFC 4861 section 4.6, RFC 8106, RFC 8781)."""

from __future__ import annotations

from struct import Struct
from typing import TypeAlias

from slirpy.interfaces import Buffer
from slirpy.records import NamedTuple, Protocol
from slirpy.wire.domainname import pack_names, read_names

__all__ = [
    "FOREVER",
    "Dnssl",
    "LinkAddress",
    "Mtu",
    "NdpOption",
    "Options",
    "Pref64",
    "PrefixInformation",
    "Rdnss",
    "read_options",
]

SOURCE_LINK_ADDRESS, TARGET_LINK_ADDRESS, PREFIX_INFORMATION, MTU = 1, 2, 3, 5
RDNSS, DNSSL, PREF64 = 25, 31, 38

FOREVER = 0xFFFFFFFF
"""A lifetime without end, in seconds."""
OPTIONS_MAX = 160
"""Options of a message: as many as fit into the least MTU."""

_PREFIX = Struct("!BBIIxxxx16s")
_ON_LINK, _AUTONOMOUS = 0x80, 0x40
_LIFETIME = Struct("!HI")
"""Of RDNSS and DNSSL: reserved, lifetime."""
_PREF64_LENGTHS = (96, 64, 56, 48, 40, 32)
"""Prefix length by the code in the option (RFC 8781 section 4)."""
_PREF64_STEP = 8
"""Seconds of a unit of that option's lifetime."""


class NdpOption(Protocol):
    """An option that can be written."""

    def pack(self) -> bytes:
        """Encode the option with its type and its length, filled up to a multiple of eight bytes."""


def _packed(kind: int, value: bytes) -> bytes:
    units = (2 + len(value) + 7) // 8
    if units > 255:
        raise ValueError(f"option {kind}: {len(value)} bytes do not fit")
    return (bytes((kind, units)) + value).ljust(units * 8, b"\0")


class LinkAddress(NamedTuple):
    """A MAC address, of the sender or of the target."""

    kind: int
    """:data:`SOURCE_LINK_ADDRESS` or :data:`TARGET_LINK_ADDRESS`."""
    mac: bytes

    def pack(self) -> bytes:
        return _packed(self.kind, self.mac)


class Mtu(NamedTuple):
    """The MTU of the link."""

    mtu: int

    def pack(self) -> bytes:
        return _packed(MTU, bytes(2) + self.mtu.to_bytes(4, "big"))


class PrefixInformation(NamedTuple):
    """A prefix of the link (RFC 4861 section 4.6.2)."""

    prefix: bytes
    length: int
    on_link: bool = True
    """True if its addresses are reached without a router."""
    autonomous: bool = True
    """True if hosts make addresses of it themselves (SLAAC, RFC 4862), which takes a length of 64 on Ethernet."""
    valid: int = 86400
    """Seconds; :data:`FOREVER` has no end."""
    preferred: int = 14400
    """Seconds for which new connections may use it, at most ``valid``."""

    def pack(self) -> bytes:
        flags = (_ON_LINK if self.on_link else 0) | (_AUTONOMOUS if self.autonomous else 0)
        return _packed(
            PREFIX_INFORMATION, _PREFIX.pack(self.length, flags, self.valid, self.preferred, self.prefix)
        )


class Rdnss(NamedTuple):
    """Addresses of DNS servers (RFC 8106 section 5.1)."""

    lifetime: int
    """Seconds; 0: no longer to be used."""
    addresses: tuple[bytes, ...]

    def pack(self) -> bytes:
        return _packed(RDNSS, _LIFETIME.pack(0, self.lifetime) + b"".join(self.addresses))


class Dnssl(NamedTuple):
    """A search list of domains (RFC 8106 section 5.2)."""

    lifetime: int
    """Seconds; 0: no longer to be used."""
    names: tuple[str, ...]

    def pack(self) -> bytes:
        """See :class:`NdpOption`.

        Raises:
            ValueError: DNS cannot carry a name, or the names together are longer than about 2000 bytes.
        """
        return _packed(DNSSL, _LIFETIME.pack(0, self.lifetime) + pack_names(self.names))


class Pref64(NamedTuple):
    """The prefix of a NAT64 (RFC 8781)."""

    lifetime: int
    """Seconds, at most 65528; written in steps of eight, rounded up."""
    prefix: bytes
    """Sixteen bytes, of which the first twelve are written."""
    length: int
    """32, 40, 48, 56, 64 or 96."""

    def pack(self) -> bytes:
        steps = min(-(-self.lifetime // _PREF64_STEP), 0x1FFF)
        return _packed(
            PREF64, (steps << 3 | _PREF64_LENGTHS.index(self.length)).to_bytes(2, "big") + self.prefix[:12]
        )


_Read: TypeAlias = LinkAddress | Mtu | PrefixInformation | Rdnss | Dnssl | Pref64


class Options(NamedTuple):
    """The options of a message that are known and readable; the others are ignored."""

    source_mac: bytes | None = None
    target_mac: bytes | None = None
    mtu: int | None = None
    prefixes: tuple[PrefixInformation, ...] = ()
    rdnss: tuple[Rdnss, ...] = ()
    dnssl: tuple[Dnssl, ...] = ()
    pref64: tuple[Pref64, ...] = ()


def read_options(area: Buffer) -> Options | None:
    """Read the options at the end of a message; the first of those that may come once only.

    None if one of them has length 0 or exceeds the message, which makes the whole message invalid (RFC 4861 section
    4.6), or if there are more than :data:`OPTIONS_MAX`.
    """
    found: list[_Read] = []
    at, end = 0, len(area)
    for _ in range(OPTIONS_MAX):
        if at == end:
            return _sorted(found)
        length = area[at + 1] * 8 if at + 1 < end else 0
        if not 0 < length <= end - at:
            return None
        option = _read(area[at], bytes(area[at + 2 : at + length]))
        if option is not None:
            found.append(option)
        at += length
    return _sorted(found) if at == end else None


def _sorted(found: list[_Read]) -> Options:
    link = {option.kind: option.mac for option in reversed(found) if isinstance(option, LinkAddress)}
    return Options(
        link.get(SOURCE_LINK_ADDRESS),
        link.get(TARGET_LINK_ADDRESS),
        next((option.mtu for option in found if isinstance(option, Mtu)), None),
        tuple(option for option in found if isinstance(option, PrefixInformation)),
        tuple(option for option in found if isinstance(option, Rdnss)),
        tuple(option for option in found if isinstance(option, Dnssl)),
        tuple(option for option in found if isinstance(option, Pref64)),
    )


def _read(kind: int, value: bytes) -> _Read | None:
    """Read one option from the bytes after its length, six at least."""
    if kind in (SOURCE_LINK_ADDRESS, TARGET_LINK_ADDRESS):
        return LinkAddress(kind, value[:6])
    if kind == MTU and len(value) == 6:
        return Mtu(int.from_bytes(value[2:], "big"))
    if kind == PREFIX_INFORMATION and len(value) == _PREFIX.size:
        length, flags, valid, preferred, prefix = _PREFIX.unpack(value)
        if length > 128:
            return None
        return PrefixInformation(
            prefix, length, bool(flags & _ON_LINK), bool(flags & _AUTONOMOUS), valid, preferred
        )
    if kind in (RDNSS, DNSSL):
        _, lifetime = _LIFETIME.unpack_from(value)
        rest = value[_LIFETIME.size :]
        if kind == DNSSL:
            names = read_names(rest)
            return Dnssl(lifetime, names) if names else None
        if not rest or len(rest) % 16:
            return None
        return Rdnss(lifetime, tuple(rest[i : i + 16] for i in range(0, len(rest), 16)))
    if kind == PREF64 and len(value) == 14:
        word = int.from_bytes(value[:2], "big")
        if word & 7 >= len(_PREF64_LENGTHS):
            return None
        return Pref64((word >> 3) * _PREF64_STEP, value[2:] + bytes(4), _PREF64_LENGTHS[word & 7])
    return None
