"""IPv6 addresses with an IPv4 address inside (RFC 6052): what a NAT64 and DNS64 translate between."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import NamedTuple

__all__ = ["LENGTHS", "WELL_KNOWN", "Nat64Prefix"]

LENGTHS = (32, 40, 48, 56, 64, 96)
"""Lengths that a prefix may have (RFC 6052 section 2.2)."""
_ZERO_AT = 8
"""Position of the byte that stays zero, over which the IPv4 address is written around."""
_ADDRESS_LENGTH = 16


class Nat64Prefix(NamedTuple):
    """The prefix of a translator.

    :func:`Nat64Prefix.check` tells whether it is one; the other methods expect that it is.
    """

    prefix: bytes
    """Sixteen bytes; zero after ``length`` bits."""
    length: int
    """One of :data:`LENGTHS`."""

    def check(self) -> str | None:
        """The reason why this is no prefix of a translator (RFC 6052 section 2.2), or None."""
        if self.length not in LENGTHS:
            return f"its length must be one of {', '.join(map(str, LENGTHS))}"
        if any(self.prefix[self.length // 8 :]):
            return f"it has bits after the first {self.length}"
        if self.prefix[_ZERO_AT]:
            return "bits 64 to 71 must be zero"
        return None

    def embed(self, address: bytes) -> bytes:
        """The IPv6 address of an IPv4 address."""
        start = self.length // 8
        whole = self.prefix[:start] + address
        if start <= _ZERO_AT:
            whole = whole[:_ZERO_AT] + b"\0" + whole[_ZERO_AT:]
        return whole.ljust(_ADDRESS_LENGTH, b"\0")

    def extract(self, address: bytes) -> bytes | None:
        """The IPv4 address in an IPv6 address; None if that is not of this prefix, or has bits where none belong.

        What comes after the IPv4 address is ignored (RFC 6052 section 2.2: the suffix is reserved).
        """
        start = self.length // 8
        if address[:start] != self.prefix[:start] or address[_ZERO_AT]:
            return None
        if start <= _ZERO_AT:
            address = address[:_ZERO_AT] + address[_ZERO_AT + 1 :]
        return address[start : start + 4]

    def may_embed(self, address: bytes) -> bool:
        """Whether an IPv4 address may be written with this prefix.

        The well-known prefix is for addresses that mean the same everywhere (RFC 6052 section 3.1).
        """
        return self != WELL_KNOWN or IPv4Address(address).is_global


WELL_KNOWN = Nat64Prefix(bytes.fromhex("0064ff9b") + bytes(12), 96)
"""64:ff9b::/96 (RFC 6052 section 2.1)."""
