"""How many queries may be under way, in all and of each guest."""

from __future__ import annotations

__all__ = ["Quota"]


class Quota:
    """Counts what guests have under way.

    Args:
        total: the most of all guests.
        each: the most of one guest.
    """

    __slots__ = ("_each", "_of_guest", "_taken", "_total")

    def __init__(self, total: int, each: int) -> None:
        self._total = total
        self._each = each
        self._taken = 0
        self._of_guest: dict[bytes, int] = {}

    def __len__(self) -> int:
        """How many guests have something under way."""
        return len(self._of_guest)

    def take(self, guest: bytes) -> bool:
        """One more of a guest, if it may have that."""
        count = self._of_guest.get(guest, 0)
        if self._taken >= self._total or count >= self._each:
            return False
        self._taken += 1
        self._of_guest[guest] = count + 1
        return True

    def give(self, guest: bytes) -> None:
        """One of them is over."""
        self._taken -= 1
        count = self._of_guest[guest] - 1
        if count:
            self._of_guest[guest] = count
        else:
            del self._of_guest[guest]

    def clear(self) -> None:
        """All are over."""
        self._taken = 0
        self._of_guest.clear()
