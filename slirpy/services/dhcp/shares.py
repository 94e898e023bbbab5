"""Shares of the address pool by link, so that no guest can take all addresses.

A guest can invent MAC addresses without limit, but it cannot change the link that it is behind. The only link of a
network may use the whole pool. With several links, one that holds as many addresses as are free gets no more, so
there are always some left for the next guest. No lease is ended for this; only offers are.
"""

from __future__ import annotations

from collections.abc import Callable, Container

from slirpy.fair import Tally
from slirpy.services.dhcp.index import ExpiryHeap
from slirpy.services.dhcp.lease import Lease, LeaseState

__all__ = ["LeaseShares"]


class LeaseShares:
    """The leases that hold an address now, by link.

    Args:
        excluded: addresses that are not counted.
        links: returns the number of links.
    """

    __slots__ = ("_excluded", "_expiry", "_held", "_link", "_links", "_number", "_offered")

    def __init__(self, excluded: Container[bytes], links: Callable[[], int]) -> None:
        self._excluded = excluded
        self._links = links
        self._held: dict[bytes, Lease] = {}
        self._link: dict[bytes, object] = {}
        """The link of each held address; None if the program reserved it, or it was restored and not renewed yet."""
        self._number: Tally[object] = Tally()
        self._offered: dict[object, dict[bytes, Lease]] = {}
        """The offers of each link, the oldest first."""
        self._expiry = ExpiryHeap(self._held, excluded)

    def __len__(self) -> int:
        """The number of addresses that are held."""
        return len(self._held)

    def number(self, link: object) -> int:
        """The number of addresses that a link holds."""
        return self._number.number(link)

    def link(self, address: bytes) -> object:
        """The link that holds an address; None if it is not known."""
        return self._link.get(address)

    def may_have(self, link: object, pool: int, now: int) -> bool:
        """Report whether a link may hold one more address of a pool of ``pool`` addresses."""
        self._expire(now)
        return link is None or self._links() < 2 or self.number(link) < max(pool - len(self._held), 1)

    def to_evict(self, link: object, now: int) -> Lease | None:
        """The offer to evict for the sake of a link that holds fewer addresses.

        It is the oldest offer of the link that holds the most; None if that is not at least two more.
        """
        self._expire(now)
        most = max(self._offered, key=self.number, default=None)
        if link is None or most is None or self.number(most) <= self.number(link) + 1:
            return None
        return next(iter(self._offered[most].values()))

    def update(self, lease: Lease, link: object, now: int) -> None:
        """Count a new or changed lease for ``link``."""
        self.drop(lease)
        if lease.expires > now and lease.address not in self._excluded:
            self._held[lease.address] = lease
            self._link[lease.address] = link
            self._number.change(link, 1)
            if lease.state is LeaseState.OFFERED:
                self._offered.setdefault(link, {})[lease.address] = lease
            self._expiry.update(lease)

    def drop(self, lease: Lease) -> None:
        """Stop counting a lease; nothing happens if it is not counted."""
        if self._held.pop(lease.address, None) is None:
            return
        link = self._link.pop(lease.address)
        self._number.change(link, -1)
        offered = self._offered.get(link)
        if offered is not None and offered.pop(lease.address, None) is not None and not offered:
            del self._offered[link]

    def _expire(self, now: int) -> None:
        while (lease := self._expiry.oldest(now)) is not None:
            self.drop(lease)
