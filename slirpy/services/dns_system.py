"""Names that the host's own resolver library looks up: for hosts where no DNS server can be reached or is known.

It finds what a program of the host would find, also from its hosts file, or by multicast. It knows addresses only,
and not for how long they hold.
"""

from __future__ import annotations

import re

from slirpy.interfaces import HostNetwork, NameAnswer, ServiceNetwork, Timer
from slirpy.rules.dnsrecord import name_from_wire
from slirpy.services.dns_cache import records_of
from slirpy.services.dns_message import NXDOMAIN, Query
from slirpy.services.dns_upstream import Answer, Done
from slirpy.units import SECOND

__all__ = ["SystemLookup", "may_look_up"]

A, AAAA = 1, 28
TTL = 30
TIMEOUT = 10 * SECOND
"""Nanoseconds; the library's own time-outs may be longer."""
ADDRESSES_MAX = 64
_NAME = re.compile(r"(?:[A-Za-z0-9_-]+\.)*[A-Za-z0-9_-]*[A-Za-z_-][A-Za-z0-9_-]*")
"""The last label is no number: the library would take that for an address, and so would it ``0x7f000001``."""
_HEX = re.compile(r"0[xX][0-9a-fA-F]*")


def may_look_up(query: Query) -> bool:
    """Whether the library can answer it."""
    return query.plain and query.internet and query.qtype in (A, AAAA)


class SystemLookup:
    """A :class:`~slirpy.services.dns_upstream.Pending` that is answered by the host's library."""

    __slots__ = ("_done", "_host", "_network", "_timer", "query")

    def __init__(self, network: ServiceNetwork, host: HostNetwork, query: Query, done: Done) -> None:
        """``query`` is one of which :func:`may_look_up` is true; ``done`` may be called by :meth:`start` already."""
        self._network = network
        self._host = host
        self._done: Done | None = done
        self._timer: Timer | None = None
        self.query = query

    def start(self) -> None:
        """Ask the library."""
        name = name_from_wire(self.query.name)
        if not _NAME.fullmatch(name) or _HEX.fullmatch(name.rpartition(".")[2]):
            self._finish(self.query.reply(NXDOMAIN))  # no name of a host, and the root has no numbers
            return
        self._network.stats.dns_system_lookups += 1
        if not self._host.lookup(name, self._answered):
            self._network.stats.drop_dns_limit += 1
            self._finish(None)
            return
        self._timer = self._network.call_at(self._network.now + TIMEOUT, self._late)

    def cancel(self) -> None:
        """Nobody wants the answer any more. The library cannot be told."""
        self._done = None
        self._stop()

    def _late(self) -> None:
        self._timer = None
        self._finish(None)

    def _answered(self, found: NameAnswer) -> None:
        if found.exists is None:
            self._finish(None)
            return
        if not found.exists:
            self._finish(self.query.reply(NXDOMAIN))
            return
        kind = self.query.qtype
        size = 4 if kind == A else 16
        records, count = b"", 0
        for address in dict.fromkeys(found.addresses):
            if len(address) == size and count < ADDRESSES_MAX:
                head = b"\xc0\x0c" + kind.to_bytes(2, "big") + b"\0\1" + TTL.to_bytes(4, "big")
                records += head + size.to_bytes(2, "big") + address
                count += 1
        self._finish(self.query.reply(0, records, count))

    def _finish(self, message: bytes | None) -> None:
        done, self._done = self._done, None
        self._stop()
        if done is not None:
            done(self, None if message is None else Answer(message, records_of(self.query, message)))

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
