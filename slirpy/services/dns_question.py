"""Questions and records as a function of the configuration sees and gives them."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from slirpy.errors import ConfigError
from slirpy.rules.dnsrecord import DnsQuestion, DnsRecord, name_from_wire, parse_dns_record
from slirpy.services.dns_message import Query

__all__ = ["LIVE_TTL", "as_record", "as_sequence", "question_of"]

LIVE_TTL = 30
"""Seconds, of what may change."""


def question_of(query: Query, guest: bytes) -> DnsQuestion:
    """What a guest asks."""
    from dnslib import QTYPE

    try:
        kind = str(QTYPE[query.qtype])
    except Exception:  # dnslib's own, for a type that it does not know
        kind = f"TYPE{query.qtype}"
    return DnsQuestion(name_from_wire(query.name), kind, ipaddress.ip_address(guest))


def as_sequence(said: object, question: DnsQuestion) -> Sequence[object]:
    """Several records as :data:`~slirpy.rules.dnsrecord.DnsAnswerer` may give them.

    Raises:
        ConfigError: it is something else.
    """
    if isinstance(said, str) or not isinstance(said, Sequence):
        raise ConfigError(
            f"dns_answer gave {said!r} for {question.name}; it may give a list of records, a DnsReply, or None"
        )
    return said


def as_record(item: object, question: DnsQuestion) -> DnsRecord:
    """A record as :data:`~slirpy.rules.dnsrecord.DnsAnswerer` may give it.

    Raises:
        ConfigError: it is something else.
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
