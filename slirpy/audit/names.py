"""Names of DNS for an audit: their types, and how much they could carry."""

from __future__ import annotations

import math
from collections import Counter

__all__ = ["entropy", "rcode_name", "type_name"]

_TYPES = {
    1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 13: "HINFO", 15: "MX", 16: "TXT", 24: "SIG", 25: "KEY",
    28: "AAAA", 29: "LOC", 33: "SRV", 35: "NAPTR", 39: "DNAME", 43: "DS", 44: "SSHFP", 46: "RRSIG", 47: "NSEC",
    48: "DNSKEY", 52: "TLSA", 64: "SVCB", 65: "HTTPS", 99: "SPF", 249: "TKEY", 250: "TSIG", 251: "IXFR",
    252: "AXFR", 255: "ANY", 256: "URI", 257: "CAA",
}  # fmt: skip
_RCODES = (
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH",
    "NOTZONE",
)  # fmt: skip


def type_name(number: int) -> str:
    """The name of a record type, or ``TYPE`` and its number (RFC 3597, section 5)."""
    return _TYPES.get(number) or f"TYPE{number}"


def rcode_name(number: int) -> str:
    """The name of a response code (RFC 6895, section 2.3), or ``RCODE`` and its number."""
    return _RCODES[number] if 0 <= number < len(_RCODES) else f"RCODE{number}"


def entropy(name: str) -> float:
    """Shannon entropy of a name's characters without the dots, in bits a character, with two decimals.

    Names that people have chosen have about 2 to 3.5 bits; data in base 32 or base 64 has about 4 and more, if it is
    long enough.
    """
    counts = Counter(name.replace(".", ""))
    total = sum(counts.values())
    if not total:
        return 0.0
    return round(-sum(n / total * math.log2(n / total) for n in counts.values()), 2) + 0.0
