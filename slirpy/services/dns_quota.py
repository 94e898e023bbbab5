"""How many queries may be under way: in all, of each link and of each address."""

from __future__ import annotations

__all__ = ["Quota"]


class Quota:
    """Counts what guests have under way.

    Whoever comes late finds room, whatever the others do: a link may have three times as many as it leaves, so three
    quarters of what the other links do not have.

    Args:
        total: the most of all guests.
        each: the most of one address; a guest can have several.
    """

    __slots__ = ("_each", "_of_guest", "_of_link", "_taken", "_total")

    def __init__(self, total: int, each: int) -> None:
        self._total = total
        self._each = each
        self._taken = 0
        self._of_link: dict[object, int] = {}
        self._of_guest: dict[tuple[object, bytes], int] = {}

    def __len__(self) -> int:
        """How many addresses have something under way."""
        return len(self._of_guest)

    def take(self, link: object, guest: bytes) -> bool:
        """One more of an address behind a link, if it may have that."""
        of_guest, of_link = self._of_guest.get((link, guest), 0), self._of_link.get(link, 0)
        if of_link >= 3 * (self._total - self._taken) or of_guest >= self._each:
            return False
        self._taken += 1
        self._of_link[link] = of_link + 1
        self._of_guest[link, guest] = of_guest + 1
        return True

    def give(self, link: object, guest: bytes) -> None:
        """One of them is over."""
        self._taken -= 1
        self._of_link[link] -= 1
        self._of_guest[link, guest] -= 1
        if not self._of_guest[link, guest]:
            del self._of_guest[link, guest]
            if not self._of_link[link]:
                del self._of_link[link]

    def clear(self) -> None:
        """All are over."""
        self._taken = 0
        self._of_link.clear()
        self._of_guest.clear()
