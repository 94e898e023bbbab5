"""Names that the virtual network answers itself.

The order is: what the function of the configuration returns; the records of the configuration; the names of the
gateway and of guests with a lease, and the addresses of the virtual network, which nobody outside can know (as for
private networks in RFC 6303); records with a wildcard; ``localhost`` (RFC 6761, section 6.3).

The gateway has its names bare, below ``internal``, and below the domain of the configuration, and so do guests whose
names a static lease assigns. Other guests choose their own names. So such a name has no dots, is not one that
programs look up on their own, and never replaces another name. It does not exist below the domain of the
configuration, which may exist outside: a guest that calls itself ``git`` must not become the ``git`` of the company
for the other guests. Bare, it could be that of a top-level domain, whose records about zones are asked for outside.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address
from typing import TypeAlias

from slirpy.config import Config
from slirpy.config.dnsrecord import (
    DnsQuestion,
    DnsRecord,
    DnsReply,
    name_from_wire,
    name_to_wire,
    parse_dns_record,
)
from slirpy.core.translation import Translation
from slirpy.errors import ConfigError
from slirpy.records import NamedTuple, Protocol
from slirpy.wire.dns import NXDOMAIN, REFUSED, SERVFAIL, Query

__all__ = ["Alias", "GuestNames", "LocalNames", "with_alias"]

A, CNAME, PTR, AAAA, ANY = 1, 5, 12, 28, 255
TYPE_NUMBERS = {
    "A": A, "NS": 2, "CNAME": CNAME, "PTR": PTR, "MX": 15, "TXT": 16, "AAAA": AAAA, "SRV": 33, "HTTPS": 65,
    "CAA": 257,
}  # fmt: skip
CHAIN_MAX = 8
"""Longest chain of aliases that is followed."""
LIVE_TTL = 30
"""Time to live of records that can change."""
_HERE = b"\xc0\x0c"
"""A pointer to the name in the question."""
_INTERNAL = "internal"
_FOR_EVERYONE = 2
"""Number of domains, bare names and ``internal``, in which guests have names that they chose."""
_REVERSE = b"\x07in-addr\x04arpa\0"
_REVERSE6 = b"\x03ip6\x04arpa\0"
_HEX = "0123456789abcdef"
_KINDS = {4: A, 16: AAAA}
"""The type of the record that holds an address, by the length of the address."""
_LOCALHOST = b"\x09localhost\0"
_IPV4_ONLY = b"\x08ipv4only\x04arpa\0"
"""The name whose IPv6 addresses tell the prefix of NAT64 (RFC 7050; RFC 8880, section 7.1)."""
_TAKEN = frozenset(("gateway", "host", "localhost", "wpad", "isatap", "_gateway"))
"""Names that no guest gets. Programs trust any host called WPAD or ISATAP."""
_HOSTNAME = r"[a-z0-9_-]{1,63}"

_ZONE_TYPES = frozenset((2, 6, 43, 48))
"""Types of records about zones: NS, SOA, DS, DNSKEY."""


class GuestNames(Protocol):
    """The host names of guests that have a lease, in lower case up to the first dot."""

    def addresses_of(self, label: str) -> Mapping[int, bytes]:
        """Return the addresses of the guest with this name, by their length."""

    def label_at(self, address: bytes) -> str | None:
        """Return the name of the guest with this address."""


class _Entry(NamedTuple):
    """One record of a name."""

    kind: int
    ttl: int
    data: bytes


_Table: TypeAlias = Mapping[bytes, list[_Entry]]


class Alias(NamedTuple):
    """A local name that is an alias for a name outside."""

    target: bytes
    """The name outside, in wire format."""
    records: bytes
    """The answer section up to there."""
    size: int
    """Number of records in it."""


class LocalNames:
    """The names and the order in which they are searched; see the module's text."""

    def __init__(self, config: Config, guests: GuestNames | None, translation: Translation) -> None:
        self._config = config
        self._guests = guests
        self._translation = translation
        self._domains = tuple(dict.fromkeys(("", _INTERNAL, *_domain(config))))
        self._suffixes = tuple(name_to_wire(domain) if domain else b"\0" for domain in self._domains)
        self._assigned = frozenset(
            (lease.hostname.partition(".")[0].lower(), lease.address.packed)
            for lease in config.static_leases
            if lease.hostname
        )
        """Names that the configuration assigns, with their addresses."""
        self.replace(config.dns_records)

    def replace(self, records: Sequence[DnsRecord]) -> None:
        """Answer with these records from now on, in place of the former ones."""
        self.records = tuple(records)
        """The records of the operator, in force."""
        self._exact: dict[bytes, list[_Entry]] = {}
        self._wild: dict[bytes, list[_Entry]] = {}
        config = self._config
        gateways = [config.gateway_address] if config.ipv4 else []
        if config.ipv6:
            gateways.append(config.gateway_address6)
        for name in ("gateway", "host"):
            for domain in self._domains:
                for address in gateways:
                    self._put(self._exact, _join(name, domain), _address_entry(address))
        if self._translation.prefix is not None:
            for last in b"\xaa\xab":
                self._put(self._exact, _IPV4_ONLY, _Entry(A, LIVE_TTL, b"\xc0\0\0" + bytes((last,))))
        for record in self.records:
            self._add(record)
        pointer = _Entry(PTR, LIVE_TTL, _join("gateway", self._domains[-1]))
        for address in gateways:
            self._put(self._exact, _reverse_name(address), pointer)

    @staticmethod
    def _put(table: dict[bytes, list[_Entry]], name: bytes, entry: _Entry) -> None:
        table.setdefault(name, []).append(entry)

    def _add(self, record: DnsRecord) -> None:
        entry = _Entry(TYPE_NUMBERS[record.type], record.ttl, record.data())
        wild = record.name.startswith("*.")
        name = name_to_wire(record.name.removeprefix("*."))
        self._put(self._wild if wild else self._exact, name, entry)
        if record.type in ("A", "AAAA") and not wild:
            self._put(self._exact, _reverse_name(entry.data), _Entry(PTR, record.ttl, name))

    # ------------------------------------------------------------------------------------- answers

    def answer(self, query: Query, guest: bytes) -> bytes | Alias | None:
        """The answer to a query, or the name outside to ask for; None if the name is not local.

        A query for a local name never goes outside, so one that cannot be answered is refused here.

        Args:
            query: the query; it has a question.
            guest: address of the guest that asks.

        Raises:
            Exception: whatever the function of the configuration raises, or a ConfigError about what it returns.
        """
        own: dict[bytes, list[_Entry]] = {}
        if self._config.dns_answer is not None:
            question = _question_of(query, guest)
            said = self._config.dns_answer(question)
            if isinstance(said, DnsReply):
                return query.reply(query.refusal or said.value, authoritative=not query.refusal)
            if said is not None:
                own[query.name] = []
                for item in _as_sequence(said, question):
                    record = _as_record(item, question)
                    entry = _Entry(TYPE_NUMBERS[record.type], record.ttl, record.data())
                    self._put(own, name_to_wire(record.name), entry)
        refusal = query.refusal or (0 if query.accepts_internet else REFUSED)
        if refusal:
            ours = query.name in own or self._find(query.name, query.qtype) is not None
            return query.reply(refusal) if ours else None
        return self._follow(query, own)

    def is_of_guest(self, name: bytes) -> bool:
        """Report whether a name may be one that a guest chose: no record of the operator has it."""
        return name not in self._exact and self._config.dns_answer is None and not self._is_wild(name)

    def _is_wild(self, name: bytes) -> bool:
        at = 0
        while self._wild and name[at]:
            at += 1 + name[at]
            if name[at:] in self._wild:
                return True
        return False

    def _follow(self, query: Query, own: _Table) -> bytes | Alias | None:
        """Go from alias to alias until there is an answer or a name that is not local."""
        name, owner, kind = query.name, _HERE, query.qtype
        records, count = b"", 0
        for _ in range(CHAIN_MAX):
            entries = own.get(name)
            if entries is None:
                entries = self._find(name, kind)
            if entries is None:
                return Alias(name, records, count) if count else None
            if entries is _NOWHERE:
                return query.reply(NXDOMAIN, records, count, authoritative=True)
            found = [entry for entry in entries if kind in (entry.kind, ANY)] or self._translated(entries, kind)
            alias = next((entry for entry in entries if entry.kind == CNAME), None)
            for entry in found or ([alias] if alias else []):
                records += _record(owner, entry)
                count += 1
            if found or alias is None:
                return query.reply(0, records, count, authoritative=True)
            name, owner = alias.data, alias.data
        return query.reply(SERVFAIL)

    def _translated(self, entries: Sequence[_Entry], kind: int) -> list[_Entry]:
        """Addresses of the other family, by which a guest reaches hosts outside."""
        found = []
        if kind in (A, AAAA):
            for entry in entries:
                if entry.kind == A + AAAA - kind and not self._config.contains(entry.data):
                    address = self._translation.assign(entry.data)
                    if address is not None:
                        found.append(_Entry(kind, entry.ttl, address))
        return found

    def _find(self, name: bytes, kind: int) -> list[_Entry] | None:
        """The records of a name; None if it is not local, as far as ``kind`` is concerned."""
        entries = self._exact.get(name)
        if entries is None:
            entries = self._of_guest(name, kind)
        at = 0
        while entries is None and self._wild and name[at]:
            at += 1 + name[at]
            entries = self._wild.get(name[at:])
        if entries is None and name.endswith(_LOCALHOST):
            entries = [_Entry(A, LIVE_TTL, b"\x7f\0\0\1"), _Entry(AAAA, LIVE_TTL, bytes(15) + b"\1")]
        return entries

    def _of_guest(self, name: bytes, kind: int) -> list[_Entry] | None:
        """The records of a guest's name or reverse name."""
        if name.endswith((_REVERSE, _REVERSE6)):
            return self._of_address(name)
        label, suffix = name[1 : 1 + name[0]].decode("latin-1"), name[1 + name[0] :]
        if self._guests is None or suffix not in self._suffixes or not _is_allowed(label):
            return None
        if suffix == b"\0" and kind in _ZONE_TYPES:
            return None
        found = self._guests.addresses_of(label).values()
        if suffix not in self._suffixes[:_FOR_EVERYONE] and not self._is_assigned(label, found):
            return None
        return [_address_entry(address) for address in found] or None

    def _of_address(self, name: bytes) -> list[_Entry] | None:
        address = _address_of(name)
        if address is None:
            return None
        host = self._translation.host(address)
        if host:  # the name of the host itself (RFC 6147, section 5.3.1)
            return [_Entry(CNAME, LIVE_TTL, _reverse_name(host))]
        if host is None and not self._config.contains(address):
            return None
        guests = self._guests
        label = None if guests is None else guests.label_at(address)
        if guests is None or label is None or not _is_allowed(label):
            return _NOWHERE
        assigned = self._is_assigned(label, guests.addresses_of(label).values())
        return [_Entry(PTR, LIVE_TTL, _join(label, self._domains[-1] if assigned else _INTERNAL))]

    def _is_assigned(self, label: str, addresses: Iterable[bytes]) -> bool:
        """Report whether the configuration assigns a name to the guest with these addresses, of both families."""
        return any((label, address) in self._assigned for address in addresses)


_NOWHERE: list[_Entry] = []
"""The records of a name that does not exist, in a part of the tree that is local."""


def _is_allowed(label: str) -> bool:
    """Report whether a guest may have this name."""
    return label not in _TAKEN and re.fullmatch(_HOSTNAME, label) is not None


def _domain(config: Config) -> tuple[str, ...]:
    domain = (config.domainname or "").lower().strip(".")
    try:
        name_to_wire(f"{'x' * 63}.{domain}")
    except ValueError:
        return ()  # not a domain, or one that DHCP can carry but DNS cannot
    return (domain,)


def _join(label: str, domain: str) -> bytes:
    return name_to_wire(f"{label}.{domain}" if domain else label)


def _address_entry(address: bytes) -> _Entry:
    return _Entry(_KINDS[len(address)], LIVE_TTL, address)


def _reverse_name(address: bytes) -> bytes:
    return name_to_wire(ipaddress.ip_address(address).reverse_pointer)


def _address_of(reverse_name: bytes) -> bytes | None:
    """The address that a reverse name stands for (RFC 1035, section 3.5; RFC 3596, section 2.5), or None."""
    parts = name_from_wire(reverse_name).split(".")[-3::-1]
    try:
        if reverse_name.endswith(_REVERSE):
            return IPv4Address(".".join(parts)).packed
        if len(parts) == 32 and all(len(part) == 1 and part in _HEX for part in parts):
            return bytes.fromhex("".join(parts))
    except ValueError:
        pass
    return None


def _record(owner: bytes, entry: _Entry) -> bytes:
    """A record in wire format."""
    head = entry.kind.to_bytes(2, "big") + b"\0\1" + entry.ttl.to_bytes(4, "big")
    return b"".join((owner, head, len(entry.data).to_bytes(2, "big"), entry.data))


def with_alias(query: Query, alias: Alias, answer: bytes) -> bytes | None:
    """The answer to a query for an alias: the alias itself, followed by the answer for its target.

    Returns:
        The message, or None if the answer for the target cannot be read.
    """
    from dnslib import DNSRecord

    try:
        whole = DNSRecord.parse(query.reply(answer[3] & 0x0F, alias.records, alias.size))
        target = DNSRecord.parse(answer)
        whole.add_answer(*target.rr)
        whole.add_auth(*(record for record in target.auth if record.rtype == 6))
        if target.header.tc:
            whole.header.tc = 1
        packed: bytes = whole.pack()
    except Exception:  # dnslib raises many kinds, and this came from outside
        return None
    return query.readdressed(packed)


# --------------------------------------------------------------------- the function of the configuration


def _question_of(query: Query, guest: bytes) -> DnsQuestion:
    """The question in the form that the function takes."""
    from dnslib import QTYPE

    try:
        kind = str(QTYPE[query.qtype])
    except Exception:  # dnslib's own form, for a type that it does not know
        kind = f"TYPE{query.qtype}"
    return DnsQuestion(name_from_wire(query.name), kind, ipaddress.ip_address(guest))


def _as_sequence(said: object, question: DnsQuestion) -> Sequence[object]:
    """Check that the function has returned several records.

    Raises:
        ConfigError: it has returned something else.
    """
    if isinstance(said, str) or not isinstance(said, Sequence):
        raise ConfigError(
            f"dns_answer gave {said!r} for {question.name}; it may give a list of records, a DnsReply, or None"
        )
    return said


def _as_record(item: object, question: DnsQuestion) -> DnsRecord:
    """The record that an item of the function's list stands for.

    Raises:
        ConfigError: the item is not a record, the text of one, or an address.
    """
    if isinstance(item, DnsRecord):
        return item
    if not isinstance(item, str):
        raise ConfigError(
            f"dns_answer gave a list with {item!r} for {question.name}; it may have records, their text, addresses"
        )
    try:
        version = ipaddress.ip_address(item).version
    except ValueError:
        return parse_dns_record(item)
    return DnsRecord(question.name, "A" if version == 4 else "AAAA", item, LIVE_TTL)
