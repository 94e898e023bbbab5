"""Names of the virtual network: DNS records as users write them, and functions that answer questions."""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

from slirpy.checks import is_whole
from slirpy.config.values import as_text
from slirpy.errors import ConfigError
from slirpy.records import NamedTuple

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import dataclass
else:
    from dataclasses import dataclass

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
"""Seconds for which guests may cache a record that has no TTL."""
TTL_MAX = 2**31 - 1  # RFC 2181 section 8
TYPES = ("A", "AAAA", "CNAME", "TXT", "PTR", "MX", "SRV", "NS", "CAA", "HTTPS")
"""Types that a record may have."""
_HELP = 'write NAME=ADDRESS, NAME=OTHERNAME, or "NAME [TTL] TYPE VALUE", such as "example.test TXT hello"'
_PLAIN = bytes(set(range(0x21, 0x7F)) - set(b".\\"))
"""Bytes of a label that text shows as they are."""
_LABEL = rb"[A-Za-z0-9_-]{1,63}"
_SECONDS = r"[0-9]{1,10}"


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """A DNS record to serve to guests.

    Raises:
        ConfigError: the name, the type, the value or the time to live cannot be used.
    """

    name: str
    """Such as ``"web.test"``; ``"*.web.test"`` is every name below without a record. Case does not
    matter, and a dot at the end is not needed."""
    type: str
    """One of A, AAAA, CNAME, TXT, PTR, MX, SRV, NS, CAA and HTTPS."""
    value: str
    """Value as in a zone file: ``"10 mail.test"`` for an MX. A TXT needs no quotes, and may be long."""
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
        """Encode the value in wire format.

        Raises:
            ConfigError: not a valid value of this type.
        """
        from dnslib import RR, TXT, DNSBuffer  # takes 10 ms, so only for users that have records

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
        except Exception:  # dnslib raises many kinds of exceptions
            raise ConfigError(f"{self}: the value is none of type {self.type}; {_HELP}") from None
        return packed


def parse_dns_record(text: str) -> DnsRecord:
    """Read ``NAME=ADDRESS``, ``NAME=OTHERNAME`` (a CNAME), or ``NAME [TTL] TYPE VALUE``.

    Raises:
        ConfigError: not in any of these forms.
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
    if len(words) > 1 and re.fullmatch(_SECONDS, words[1]):
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
    """Encode a name in wire format and lower case. Names in other scripts become ASCII (RFC 3490).

    Raises:
        ValueError: not a valid host name; the text says why.
    """
    name = name.removesuffix(".")
    try:
        labels = [label.encode() if label.isascii() else label.encode("idna") for label in name.split(".")]
    except UnicodeError:
        raise ValueError(f'"{name}" is not the name of a host') from None
    if not all(re.fullmatch(_LABEL, label) for label in labels):
        raise ValueError(f'"{name}" is not a name of letters, digits, "-" and "_", with dots between')
    wire = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    if len(wire) > 255:
        raise ValueError(f'"{name}" is longer than a name may be')
    return wire.lower()


def name_from_wire(wire: bytes) -> str:
    """Decode a name without compression to text, such as ``"example.org"``; other bytes as ``\\DDD``."""
    labels, at = [], 0
    while at < len(wire) and wire[at]:
        label = wire[at + 1 : at + 1 + wire[at]]
        if label.translate(None, _PLAIN):
            labels.append("".join(map(_printed, label)))
        else:
            labels.append(label.decode("ascii"))  # nearly all, in a tenth of the time
        at += 1 + wire[at]
    return ".".join(labels)


def _printed(byte: int) -> str:
    if byte in b".\\":
        return "\\" + chr(byte)
    return chr(byte) if 0x21 <= byte <= 0x7E else f"\\{byte:03}"


class DnsQuestion(NamedTuple):
    """A guest's question."""

    name: str
    """In lower case, without a dot at the end."""
    type: str
    """Such as ``"A"``; ``"TYPE1234"`` for a type without a name."""
    guest: IPv4Address | IPv6Address
    """Address of the guest that asks."""


class DnsReply(enum.Enum):
    """An answer of a :data:`DnsAnswerer` other than records."""

    NXDOMAIN = 3
    """The name does not exist."""
    REFUSED = 5
    """The query is refused."""


DnsAnswerer: TypeAlias = Callable[[DnsQuestion], "Sequence[DnsRecord | str] | DnsReply | None"]
"""Called for each question before anything else is looked up; None lets the question pass on.

Records may be text: an address for the name in the question, or any text that :func:`parse_dns_record` reads. Records
of other types than requested are left out, so the function can always return both A and AAAA. An empty list means
that the name exists but has no record of this type. The function must not block, since the network waits for it. Its
exceptions propagate from the call that drives the network, and the guest gets SERVFAIL.
"""
