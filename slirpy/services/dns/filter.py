"""Queries that go outside: few kinds, and under a policy with names only names that it may allow.

A DNS server that forwards everything is a channel outward whatever the policy says: in the name, in the type, behind
the question. So only ordinary questions pass, those that a stub resolver asks. The host's resolver would refuse the
rest, or worse, obey it: updates of the zone (RFC 2136), zone transfers, the server's own data in class CHAOS.

A guest can still write into names of a domain that it may ask for. :class:`NameRate` bounds how many new names below
one domain that can be.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable

from slirpy.config import Config
from slirpy.config.dnsrecord import name_from_wire
from slirpy.fair import TokenBucket
from slirpy.interfaces import Policy
from slirpy.stats import Stats
from slirpy.wire.dns import FORMERR, NOTIMP, NXDOMAIN, REFUSED, Query

__all__ = ["NameRate", "OutsideFilter", "Refusal", "entropy", "registered_domain"]

_TYPES_ONLY_ASKED = frozenset((0, 41, *range(128, 255)))
"""Types of questions that no stub resolver asks: zone transfers (251, 252), mailboxes, keys of sessions, OPT."""
DOMAINS_MAX = 4096
"""Domains, each for one guest, whose rate is remembered."""
NAMES_MAX = 16_384
"""Names that are remembered as not new."""
_SHORT = 3
"""Longest second-level label that is taken for part of a public suffix, as in ``co.uk``."""


class Refusal(tuple[int, str]):
    """The response code and the reason of a refused query."""

    __slots__ = ()


def registered_domain(name: str) -> str:
    """Return the registered domain, as far as it can be determined without a list of suffixes.

    It has two labels, or three where the second is short and the last the code of a country: ``example.co.uk``.
    """
    labels = name.split(".")
    two_letters = len(labels) > 2 and len(labels[-1]) == 2
    return ".".join(labels[-3 if two_letters and len(labels[-2]) <= _SHORT else -2 :])


def entropy(text: str) -> float:
    """Return the entropy of a text in bits for each character, as its own characters are distributed."""
    size = len(text)
    return sum(-count / size * math.log2(count / size) for count in Counter(text).values()) if size else 0.0


class NameRate:
    """Limits the new names that a guest may ask for below one domain.

    Args:
        a_minute: names a minute, which may also come at once; 0: no limit.
    """

    def __init__(self, a_minute: int) -> None:
        self._a_minute = a_minute
        self._buckets: OrderedDict[tuple[object, bytes, str], TokenBucket] = OrderedDict()
        self._names: OrderedDict[tuple[bytes, str], None] = OrderedDict()

    def take(self, link: object, mac: bytes, name: str, now: int) -> bool:
        """Count a name. Returns False if it is new, and too many were."""
        if not self._a_minute:
            return True
        known = mac, name
        if known in self._names:
            self._names.move_to_end(known)
            return True
        key = link, mac, registered_domain(name)
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= DOMAINS_MAX:
                self._buckets.popitem(last=False)
            bucket = self._buckets[key] = TokenBucket(self._a_minute, self._a_minute, now // 60)
        self._buckets.move_to_end(key)
        if not bucket.take(now // 60):  # a bucket counts seconds
            return False
        if len(self._names) >= NAMES_MAX:
            self._names.popitem(last=False)
        self._names[known] = None
        return True


class OutsideFilter:
    """Decides which queries may be forwarded.

    Args:
        config: the options of DNS.
        stats: counters.
        policy: returns the policy in force.
    """

    def __init__(self, config: Config, stats: Stats, policy: Callable[[], Policy | None]) -> None:
        self._stats = stats
        self._policy = policy
        self._other = NXDOMAIN if config.dns_refused == "nxdomain" else REFUSED
        self._rate = NameRate(config.dns_name_rate)

    @property
    def by_name(self) -> bool:
        """True if the policy has rules by name."""
        return bool(getattr(self._policy(), "has_names", False))

    def refusal(self, query: Query, wire_name: bytes, link: object, mac: bytes, now: int) -> Refusal | None:
        """Return the reason why a query may not go outside; None if it may.

        Args:
            query: as it is asked outside.
            wire_name: the name that the guest asked for, which may be a local alias.
        """
        stats = self._stats
        if query.refusal == NOTIMP:
            stats.drop_dns_opcode += 1
            return Refusal((NOTIMP, "opcode"))
        if query.refusal or not query.is_plain:
            stats.drop_dns_extra += 1
            return Refusal((query.refusal or FORMERR, "more than a question"))
        if not query.is_internet:
            stats.drop_dns_class += 1
            return Refusal((REFUSED, "class"))
        if query.qtype in _TYPES_ONLY_ASKED:
            stats.drop_dns_type += 1
            return Refusal((REFUSED, "type"))
        may_resolve = getattr(self._policy(), "may_resolve", None)
        if may_resolve is None:
            return None
        name = name_from_wire(wire_name)
        if not may_resolve(name):
            stats.dns_names_refused += 1
            return Refusal((self._other, "no rule allows the name"))
        if self.by_name and not self._rate.take(link, mac, name, now):
            stats.drop_dns_name_rate += 1
            return Refusal((REFUSED, "too many names below one domain"))
        return None
