"""Names of the virtual network: records as people write them, and a function that answers."""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple, TypeAlias

from slirpy.errors import ConfigError
from slirpy.rules.values import as_text, is_whole

__all__ = [
    "TTL",
    "DnsAnswerer",
    "DnsQuestion",
    "DnsRecord",
    "DnsReply",
    "name_from_wire",
    "name_to_wire",
    "parse_dns_record",
]

TTL = 60
"""Seconds for which a guest may keep a record that says nothing else."""
TTL_MAX = 2**31 - 1  # RFC 2181 section 8
TYPES = ("A", "AAAA", "CNAME", "TXT", "PTR", "MX", "SRV", "NS", "CAA", "HTTPS")
"""Types that a record may have."""
_HELP = 'write NAME=ADDRESS, NAME=OTHERNAME, or "NAME [TTL] TYPE VALUE", such as "example.test TXT hello"'
_LABEL = re.compile(rb"[A-Za-z0-9_-]{1,63}")
_SECONDS = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """A record that guests are told.

    Raises:
        ConfigError: the name, the type, the value or the time to live cannot be used.
    """

    name: str
    """Such as ``"web.test"``; ``"*.web.test"`` is every name below that has no record of its own. Case does not
    matter, and a dot at the end is not needed."""
    type: str
    """One of A, AAAA, CNAME, TXT, PTR, MX, SRV, NS, CAA and HTTPS."""
    value: str
    """As in a zone file: ``"10 mail.test"`` for an MX. A TXT needs no quotes, and may be long."""
    ttl: int = TTL
    """Seconds, 0 to 2147483647."""

    def __post_init__(self) -> None:
        for what in ("name", "type", "value"):
            if not isinstance(text := getattr(self, what), str):
                raise ConfigError(f"DNS record: {what} {text!r} is not text; {_HELP}")
        name = self.name.lower().removesuffix(".")
        kind = self.type.upper()
        if kind not in TYPES:
            raise ConfigError(f'{self}: type "{self.type}" is none of {", ".join(TYPES)}')
        if not is_whole(self.ttl) or not 0 <= self.ttl <= TTL_MAX:
            raise ConfigError(
                f"{self}: time to live {self.ttl!r} is not a number of seconds from 0 to {TTL_MAX}"
            )
        try:
            name_to_wire(name.removeprefix("*."))
        except ValueError as error:
            raise ConfigError(f"{self}: {error}") from None
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "type", kind)
        self.data()

    def __str__(self) -> str:
        return f'DNS record "{self.name} {self.type} {self.value}"'

    def data(self) -> bytes:
        """The value in wire format.

        Raises:
            ConfigError: it is none of this type.
        """
        from dnslib import RR, TXT, DNSBuffer  # 10 ms, for those who have records

        value = self.value.strip()
        try:
            if self.type in ("A", "AAAA"):
                address = IPv4Address(value) if self.type == "A" else IPv6Address(value)
                return address.packed
            if not value or not value.isprintable():
                raise ValueError
            if self.type in ("CNAME", "PTR", "NS"):
                return name_to_wire(value)
            if self.type == "TXT" and not value.startswith('"'):
                text = value.encode()
                data = TXT([text[at : at + 255] for at in range(0, len(text), 255)])
            else:
                (record,) = RR.fromZone(f"name. 0 IN {self.type} {value}")
                data = record.rdata
            buffer = DNSBuffer()
            data.pack(buffer)
            packed = bytes(buffer.data)
            if len(packed) > 60_000:
                raise ValueError
        except Exception:  # dnslib complains in many ways
            raise ConfigError(f"{self}: the value is none of type {self.type}; {_HELP}") from None
        return packed


def parse_dns_record(text: str) -> DnsRecord:
    """Read ``NAME=ADDRESS``, ``NAME=OTHERNAME`` (a CNAME), or ``NAME [TTL] TYPE VALUE``.

    Raises:
        ConfigError: it is none of them.
    """
    as_text("DNS record", text)
    words = text.split(None, 1)
    if not words:
        raise ConfigError(f'DNS record "{text}" is empty; {_HELP}')
    name, equals, value = words[0].partition("=")
    if equals:
        value = text.strip()[len(name) + 1 :].strip()
        return DnsRecord(name, _type_of(value), value)
    words = text.split(None, 3)
    ttl = TTL
    if len(words) > 1 and _SECONDS.fullmatch(words[1]):
        ttl = int(words.pop(1))
        rest = words[2:]
    else:
        words = text.split(None, 2)
        rest = words[2:]
    if not rest:
        raise ConfigError(f'DNS record "{text}" has no value; {_HELP}')
    return DnsRecord(words[0], words[1], rest[0], ttl)


def _type_of(value: str) -> str:
    try:
        return "A" if ipaddress.ip_address(value).version == 4 else "AAAA"
    except ValueError:
        return "CNAME"


def name_to_wire(name: str) -> bytes:
    """A name in wire format and lower case. Names in other scripts become ASCII (RFC 3490).

    Raises:
        ValueError: it is no name of a host; the text says why.
    """
    name = name.removesuffix(".")
    try:
        labels = [label.encode() if label.isascii() else label.encode("idna") for label in name.split(".")]
    except UnicodeError:
        raise ValueError(f'"{name}" is not the name of a host') from None
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f'"{name}" is not a name of letters, digits, "-" and "_", with dots between')
    wire = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    if len(wire) > 255:
        raise ValueError(f'"{name}" is longer than a name may be')
    return wire.lower()


def name_from_wire(wire: bytes) -> str:
    """A name without compression as text, such as ``"example.org"``; odd bytes are written ``\\DDD``."""
    labels, at = [], 0
    while at < len(wire) and wire[at]:
        label = wire[at + 1 : at + 1 + wire[at]]
        labels.append("".join(_printed(byte) for byte in label))
        at += 1 + wire[at]
    return ".".join(labels)


def _printed(byte: int) -> str:
    if byte in b".\\":
        return "\\" + chr(byte)
    return chr(byte) if 0x21 <= byte <= 0x7E else f"\\{byte:03}"


class DnsQuestion(NamedTuple):
    """What a guest asks."""

    name: str
    """In lower case, without a dot at the end."""
    type: str
    """Such as ``"A"``; ``"TYPE1234"`` if it has no name."""
    guest: IPv4Address | IPv6Address
    """Who asks."""


class DnsReply(enum.Enum):
    """What a :data:`DnsAnswerer` may say beside records."""

    NXDOMAIN = 3
    """There is no such name."""
    REFUSED = 5
    """You may not ask that."""


DnsAnswerer: TypeAlias = Callable[[DnsQuestion], "Sequence[DnsRecord | str] | DnsReply | None"]
"""Called for each question before anything else is looked up; None lets the question pass on.

Records may be text: an address, which is one for the name that was asked; or what :func:`parse_dns_record` reads.
Those of another type than was asked for are left out, so it is no mistake to give A and AAAA always. An empty list
means that the name exists, and has nothing of this type. The function must not wait, since the network waits for it.
What it raises comes out of the call that drives the network, and the guest gets SERVFAIL.
"""
