"""IPv6 addresses with an IPv4 address inside (RFC 6052): the addresses that NAT64 and DNS64 translate."""

from __future__ import annotations

from slirpy.records import NamedTuple

__all__ = ["Nat64Prefix"]

_ZERO_AT = 8
"""Position of the byte that stays zero, over which the IPv4 address is written around."""
_ADDRESS_LENGTH = 16


class Nat64Prefix(NamedTuple):
    """The prefix of a translator; :class:`slirpy.Config` checks it."""

    prefix: bytes
    """Sixteen bytes; zero after ``length`` bits."""
    length: int
    """32, 40, 48, 56, 64 or 96."""

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
