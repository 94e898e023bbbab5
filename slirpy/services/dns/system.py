"""Lookups by the host's own resolver library, for hosts where no DNS server is known or can be reached.

The library finds what a program of the host would find, including names from its hosts file and from multicast DNS.
It reports addresses only, without a time to live.
"""

from __future__ import annotations

import re

from slirpy.config.dnsrecord import name_from_wire
from slirpy.interfaces import HostNetwork, NameAnswer, ServiceNetwork, Timer
from slirpy.services.dns.lookup import Finished, Lookup
from slirpy.services.dns.resolution import Answer
from slirpy.units import SECOND
from slirpy.wire.dns import NXDOMAIN, Query, records_of

__all__ = ["SystemLookup", "may_look_up"]

A, AAAA = 1, 28
TTL = 30
TIMEOUT = 10 * SECOND
"""Nanoseconds; the library's own timeouts may be longer."""
ADDRESSES_MAX = 64
_NAME = r"(?:[A-Za-z0-9_-]+\.)*[A-Za-z0-9_-]*[A-Za-z_-][A-Za-z0-9_-]*"
"""A host name whose last label is not a number: the library would read that as an address."""
_HEX = r"0[xX][0-9a-fA-F]*"
"""A last label that the library would read as an address too: ``0x7f000001``."""


def may_look_up(query: Query) -> bool:
    """Report whether the library can answer a query."""
    return query.is_plain and query.is_internet and query.qtype in (A, AAAA)


class SystemLookup(Lookup):
    """A lookup that the host's library answers. :func:`may_look_up` is true for its query."""

    __slots__ = ("_host", "_network", "_timer")

    def __init__(
        self, key: bytes, query: Query, finished: Finished, network: ServiceNetwork, host: HostNetwork
    ) -> None:
        super().__init__(key, query, finished)
        self._network = network
        self._host = host
        self._timer: Timer | None = None

    def start(self) -> None:
        """Ask the library."""
        name = name_from_wire(self.query.name)
        if not re.fullmatch(_NAME, name) or re.fullmatch(_HEX, name.rpartition(".")[2]):
            self._finish_with(self.query.reply(NXDOMAIN))  # not a host name, and the root has no numbers
            return
        self._network.stats.dns_system_lookups += 1
        if not self._host.lookup(name, self._answered):
            self._network.stats.drop_dns_limit += 1
            self._finish(None)
            return
        self._timer = self._network.call_at(self._network.now + TIMEOUT, self._timed_out)

    def _timed_out(self) -> None:
        self._timer = None
        self._finish(None)

    def _answered(self, found: NameAnswer) -> None:
        if found.exists is None:
            self._finish(None)
            return
        if not found.exists:
            self._finish_with(self.query.reply(NXDOMAIN))
            return
        kind = self.query.qtype
        size = 4 if kind == A else 16
        records, count = b"", 0
        for address in dict.fromkeys(found.addresses):
            if len(address) == size and count < ADDRESSES_MAX:
                head = b"\xc0\x0c" + kind.to_bytes(2, "big") + b"\0\1" + TTL.to_bytes(4, "big")
                records += head + size.to_bytes(2, "big") + address
                count += 1
        self._finish_with(self.query.reply(0, records, count))

    def _finish_with(self, message: bytes) -> None:
        self._finish(Answer(message, records_of(self.query, message)))

    def _stop(self) -> None:
        # The library cannot be interrupted; an answer that comes later finds the lookup finished.
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
