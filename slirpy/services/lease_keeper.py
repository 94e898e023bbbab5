"""Keeps the lease table in a store, so that it outlives the program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from slirpy.errors import ConfigError
from slirpy.interfaces import ServiceNetwork, Timer
from slirpy.services.lease import Lease
from slirpy.services.leases import LeaseTable
from slirpy.units import MS, SECOND

__all__ = ["LeaseKeeper", "LeaseStore"]


class LeaseStore(Protocol):
    """Where leases are kept across restarts. Times are monotonic nanoseconds, whose start no two runs share."""

    def load(self, now: int) -> tuple[list[Lease], int]:
        """The leases that were saved, and how many entries could not be read.

        Raises:
            OSError: it cannot be used.
        """
        ...

    def save(self, leases: Sequence[Lease], now: int) -> None:
        """Keep these, all or none of them.

        Raises:
            OSError: it did not work; what was there before is still there.
        """
        ...


class LeaseKeeper:
    """Saves the table soon after it has changed.

    The first change after a quiet time is saved in the same batch. Then nothing is for a second, and for a
    millisecond more for each lease: so it costs a few per cent of the time at most, however many leases change.
    A client whose lease was lost that way asks for it by name when it renews, and gets it.
    """

    def __init__(self, table: LeaseTable, network: ServiceNetwork, store: LeaseStore) -> None:
        """Take over what the store has.

        Raises:
            ConfigError: the store cannot be used.
        """
        self._table = table
        self._network = network
        self._store = store
        self._saved = table.changes
        self._not_before = now = network.now
        self._timer: Timer | None = None
        try:
            leases, lost = store.load(now)
            lost += table.restore(leases, now)
            store.save(table.kept(now), now)  # if it cannot, better now than when the first lease is to be kept
        except OSError as error:
            other = ", or repair this one or move it away" if isinstance(error, FileExistsError) else ""
            raise ConfigError(
                f'lease_file "{error.filename}": {error.strerror}; name a file to write to{other}'
            ) from None
        network.stats.dhcp_leases_lost += lost

    def check(self) -> None:
        """See that it is saved if something has changed."""
        if self._timer is None and self._saved != self._table.changes:
            self._timer = self._network.call_at(max(self._network.now, self._not_before), self._save)

    def _save(self) -> None:
        now = self._network.now
        self._timer = None
        self._not_before = now + SECOND + len(self._table) * MS
        try:
            self._store.save(self._table.kept(now), now)
            self._saved = self._table.changes
        except OSError:  # a full disk; the guests cannot help it
            self._network.stats.dhcp_save_failures += 1
            self.check()

    def close(self) -> None:
        """Save what has not been."""
        if self._timer is not None:
            self._timer.cancel()
        if self._saved != self._table.changes:
            self._save()
