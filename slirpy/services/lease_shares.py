"""Which link holds how many addresses of the pool, so that no guest takes all of them.

A guest can show as many MAC addresses as it likes, and the link that it is behind is one all the same. While there
is only one link, it may have all. With others beside it, a link that holds as many addresses as are left gets no
more: whoever comes then finds some. Nobody loses a lease by it.
"""

from __future__ import annotations

from collections.abc import Callable, Container

from slirpy.services.lease import Lease, LeaseState
from slirpy.services.lease_expiry import ExpiryHeap

__all__ = ["LeaseShares"]


class LeaseShares:
    """The leases that hold an address now, by link.

    Args:
        never: addresses that are not counted.
        links: how many links there are.
    """

    __slots__ = ("_expiry", "_held", "_link", "_links", "_never", "_number", "_offered")

    def __init__(self, never: Container[bytes], links: Callable[[], int]) -> None:
        self._never = never
        self._links = links
        self._held: dict[bytes, Lease] = {}
        self._link: dict[bytes, object] = {}
        """Of the addresses above; None: the program reserved it, or it was restored, and no guest has renewed it."""
        self._number: dict[object, int] = {}
        self._offered: dict[object, dict[bytes, Lease]] = {}
        """The oldest first."""
        self._expiry = ExpiryHeap(self._held, never)

    def __len__(self) -> int:
        """Addresses that are held."""
        return len(self._held)

    def number(self, link: object) -> int:
        """How many a link has."""
        return self._number.get(link, 0)

    def link(self, address: bytes) -> object:
        """The link that an address is held by; None: none that is known."""
        return self._link.get(address)

    def may_have(self, link: object, pool: int, now: int) -> bool:
        """Whether a link may have one more, of ``pool`` addresses in all."""
        self._expire(now)
        return link is None or self._links() < 2 or self.number(link) < max(pool - len(self._held), 1)

    def spare(self, link: object, now: int) -> Lease | None:
        """An offer to make way for a link that has less: the oldest of the one that holds most."""
        self._expire(now)
        most = max(self._offered, key=self.number, default=None)
        if link is None or most is None or self.number(most) <= self.number(link) + 1:
            return None
        return next(iter(self._offered[most].values()))

    def note(self, lease: Lease, link: object, now: int) -> None:
        """A lease has changed, by a word from ``link``."""
        self.drop(lease)
        if lease.expires > now and lease.address not in self._never:
            self._held[lease.address] = lease
            self._link[lease.address] = link
            self._number[link] = self.number(link) + 1
            if lease.state is LeaseState.OFFERED:
                self._offered.setdefault(link, {})[lease.address] = lease
            self._expiry.note(lease)

    def drop(self, lease: Lease) -> None:
        """It holds its address no more."""
        if self._held.pop(lease.address, None) is None:
            return
        link = self._link.pop(lease.address)
        self._number[link] -= 1
        if not self._number[link]:
            del self._number[link]
        offered = self._offered.get(link)
        if offered is not None and offered.pop(lease.address, None) is not None and not offered:
            del self._offered[link]

    def _expire(self, now: int) -> None:
        while (lease := self._expiry.oldest(now)) is not None:
            self.drop(lease)
