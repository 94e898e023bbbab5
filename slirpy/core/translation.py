"""Addresses that stand for hosts of the other IP family.

**NAT64** (RFC 6146, RFC 6052): an IPv6 address with the prefix of the translator stands for the IPv4 host in its last
bits. A guest without IPv4 learns such addresses from the DNS server (RFC 6147) or from the prefix in router
advertisements (RFC 8781).

**Stand-ins** are the reverse: IPv4 addresses of a pool, each of which stands for an IPv6 host. The DNS server assigns
one when a guest without IPv6 asks for a name that has only IPv6 addresses. When the pool is exhausted, the stand-in
that has been unused longest is assigned anew.

Every flow ends at the gateway, so there are no packets to translate: only the address of the far end changes, and the
size of packets, by the difference between the headers (RFC 7915).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from slirpy.config import Config
from slirpy.interfaces import Buffer
from slirpy.wire.ip import family_of
from slirpy.wire.nat64 import Nat64Prefix

__all__ = ["STAND_INS_MAX", "UNASSIGNED", "Translation", "is_small", "translated_mtu"]

STAND_INS_MAX: Final = 4096
"""Stand-ins in use; a small pool has fewer."""
UNASSIGNED: Final = b""
"""In place of a host's address: the stand-in has no meaning now."""
_HEADERS: Final = 40 - 20
"""Difference in bytes between the headers of the two families."""
_SMALL: Final = 1280 - 40 - 8
"""Payload of the largest datagram or echo request in an IPv6 packet that every path can carry."""


class Translation:
    """Translation of addresses between the IP families, as far as the configuration asks for it.

    Attributes:
        prefix: prefix of NAT64; None: there is no NAT64.
    """

    def __init__(self, config: Config) -> None:
        self.prefix: Nat64Prefix | None = None
        if config.nat64:
            network = config.nat64_prefix
            self.prefix = Nat64Prefix(network.network_address.packed, network.prefixlen)
        self._numbers = range(0)  # the pool
        if config.dns46 is not None:
            first = int(config.dns46.network_address)
            self._numbers = range(first, first + config.dns46.num_addresses)
        self._size = min(len(self._numbers) - 2, STAND_INS_MAX)  # without the first and the last address
        self._hosts: OrderedDict[bytes, bytes] = OrderedDict()  # by stand-in, the longest unused first
        self._stand_ins: dict[bytes, bytes] = {}

    def host(self, address: bytes) -> bytes | None:
        """The host that an address stands for.

        Returns:
            Its address; :data:`UNASSIGNED` for a stand-in without a host; None if the address stands for itself.
        """
        if len(address) == 16:
            return None if self.prefix is None else self.prefix.extract(address)
        if not self._numbers or int.from_bytes(address, "big") not in self._numbers:
            return None
        if address not in self._hosts:
            return UNASSIGNED
        self._hosts.move_to_end(address)
        return self._hosts[address]

    @property
    def has_stand_ins(self) -> bool:
        """True if IPv6 hosts get stand-ins."""
        return self._size > 0

    def seen(self, host: bytes) -> bytes | None:
        """The address of the other family under which guests know a host; None if there is none."""
        if len(host) == 4:
            return None if self.prefix is None else self.prefix.embed(host)
        return self._stand_ins.get(host)

    def assign(self, host: bytes) -> bytes | None:
        """Return what :meth:`seen` does, after giving an IPv6 host a stand-in if it has none."""
        return self._stand_in(host) if len(host) == 16 and self.has_stand_ins else self.seen(host)

    def _stand_in(self, host: bytes) -> bytes:
        address = self._stand_ins.get(host)
        if address is None:
            if len(self._hosts) < self._size:
                address = (self._numbers[1 + len(self._hosts)]).to_bytes(4, "big")
            else:
                address, gone = self._hosts.popitem(last=False)
                del self._stand_ins[gone]
            self._stand_ins[host] = address
            self._hosts[address] = host
        self._hosts.move_to_end(address)
        return address


def is_small(payload: Buffer) -> bool:
    """Report whether a guest cannot send the payload of a datagram in a smaller IPv6 packet, whatever it hears
    of the path.

    If it goes to an IPv4 host, routers must be allowed to fragment it (RFC 7915, section 5.1).
    """
    return len(payload) <= _SMALL


def translated_mtu(mtu: int, address: bytes, guest: bytes) -> int:
    """The size of a guest's packet that fits a path to ``address`` with this MTU. An MTU of 0 is unknown.

    The size is unknown, too, then, except that an IPv6 packet of 1280 bytes always fits an IPv4 path, in fragments if
    need be (RFC 7915, section 4.2).
    """
    if len(address) == len(guest):
        return mtu
    if len(guest) == 16:
        return max(mtu + _HEADERS, family_of(guest).least_mtu)
    return mtu and mtu - _HEADERS
