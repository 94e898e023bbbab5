"""Addresses for one message: its associations are worked through one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from slirpy.config.dhcp import LEASE_TIME_FOREVER
from slirpy.interfaces import ServiceNetwork
from slirpy.services.dhcp.book import FamilyLeases
from slirpy.services.dhcp.lease import Client, Lease
from slirpy.services.dhcp.rules import Ruling
from slirpy.services.dhcp6.request import Exchange
from slirpy.wire import dhcp6
from slirpy.wire.dhcp6 import Association

__all__ = ["ASSOCIATIONS", "HINTS", "Leasing"]

ASSOCIATIONS = 4
"""Associations of a message that get an address; the others get none."""
HINTS = 8
"""Addresses of an association that are looked at."""

_EXTENDING = frozenset((dhcp6.RENEW, dhcp6.REBIND))


class Leasing:
    """The answer to the associations of a SOLICIT, REQUEST, RENEW or REBIND message, as it grows."""

    def __init__(
        self,
        leases: FamilyLeases,
        network: ServiceNetwork,
        exchange: Exchange,
        ruling: Ruling,
        done: Callable[[list[bytes]], None],
        *,
        commit: bool,
    ) -> None:
        """Prepare to call ``done`` with the options for the answer.

        Args:
            commit: Addresses are assigned, and not only advertised.
        """
        self._leases = leases
        self._network = network
        self._exchange = exchange
        self._ruling = ruling
        self._done = done
        self._commit = commit
        self._kind = exchange.message.kind
        self._waiting = deque(exchange.associations[:ASSOCIATIONS])
        self._fixed_for = self._choose_for_fixed()
        self._options: list[bytes] = []
        self._given: set[bytes] = set()
        """Addresses of the associations that are done."""

    def _choose_for_fixed(self) -> bytes | None:
        """The association that gets the client's fixed address: the one that has it, or else the first one."""
        fixed = self._ruling.fixed
        if fixed is None or not self._waiting:
            return None
        lease = self._leases.table.at(fixed)
        numbers = [association.iaid for association in self._waiting]
        if lease is not None and lease.client_id == self._exchange.duid and lease.iaid in numbers:
            return lease.iaid
        return numbers[0]

    def proceed(self) -> None:
        """Find an address for the next association, or finish the answer."""
        if not self._waiting:
            exchange = self._exchange
            rest = exchange.associations[ASSOCIATIONS:] + exchange.others
            self._done(self._options + [self._without(association) for association in rest])
            return
        association = self._waiting.popleft()
        pool = self._leases.table.pool
        hints = _hints(association)
        if self._kind == dhcp6.REQUEST and any(hint not in pool for hint in hints):
            self._add(dhcp6.ia_status(association, dhcp6.NOT_ON_LINK, "not an address of this network"))
            return
        ruling = self._ruling
        if ruling.answer.refuse:
            self._add(self._without(association))
            return
        fixed = ruling.fixed if association.iaid == self._fixed_for else None
        hostname = ruling.answer.hostname or self._exchange.hostname
        client = self._exchange.client(association, hostname, fixed)
        self._leases.search.start(
            client,
            hints[0] if hints else None,
            partial(self._found, association, client),
            by_rule=ruling.by_rule,
        )

    def _add(self, option: bytes) -> None:
        self._options.append(option)
        self.proceed()

    def _found(self, association: Association, client: Client, lease: Lease | None) -> None:
        table, now = self._leases.table, self._network.now
        # A card that was known as firmware is known by its MAC address, whatever the association.
        if lease is None or lease.address in self._given:
            self._add(self._without(association))
            return
        address = lease.address
        if self._commit and table.bind(client, address, now, self._ruling.answer.lease_time) is None:
            self._network.stats.drop_dhcp_pool_empty += 1
            self._add(self._without(association))
        else:
            self._given.add(address)
            self._add(self._with(association, address))

    def _with(self, association: Association, address: bytes) -> bytes:
        """The association with its address, and the end of those that it no longer has (RFC 8415 section 18.3.4)."""
        seconds = self._ruling.answer.lease_time or self._leases.table.pool.lease_time
        # An address that is not renewed is deprecated for a while before it ends. dhclient needs that, because it
        # rebinds then and not before.
        preferred = seconds * 3 // 4
        t1, t2 = max(preferred // 2, 1), max(preferred * 4 // 5, 1)  # RFC 8415 section 21.4
        if seconds == LEASE_TIME_FOREVER:
            preferred = t1 = t2 = dhcp6.FOREVER
        addresses = [dhcp6.ia_address(address, preferred, seconds)]
        if self._kind in _EXTENDING:
            addresses += [dhcp6.ia_address(hint, 0, 0) for hint in _hints(association) if hint != address]
        return dhcp6.ia_na(association.iaid, t1, t2, *addresses)

    def _without(self, association: Association) -> bytes:
        """The association without an address, and the reason."""
        if association.code == dhcp6.IA_PD:
            return dhcp6.ia_status(association, dhcp6.NO_PREFIX, "no prefixes are delegated")
        hints = _hints(association)
        if self._kind == dhcp6.REBIND and hints:
            return dhcp6.ia_na(association.iaid, 0, 0, *(dhcp6.ia_address(hint, 0, 0) for hint in hints))
        if self._kind in _EXTENDING and self._ruling.answer.refuse:
            return dhcp6.ia_status(association, dhcp6.NO_BINDING, "no such lease")
        return dhcp6.ia_status(association, dhcp6.NO_ADDRESSES, "no address is free")


def _hints(association: Association) -> list[bytes]:
    """The addresses that a client has or would like to have."""
    return [hint.address for hint in association.addresses[:HINTS] if any(hint.address)]
