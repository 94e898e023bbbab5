"""Lists of what has arrived, of bounded length."""

from __future__ import annotations

from typing import TypeVar

__all__ = ["KEPT", "Recent"]

KEPT = 10_000
"""Items that a :class:`Recent` keeps by default."""
_T = TypeVar("_T")


class Recent(list[_T]):
    """A list of the newest items: beyond ``limit``, :meth:`append` drops the oldest.

    Attributes:
        limit: largest length.
        dropped: number of items that :meth:`append` has dropped.
    """

    __slots__ = ("dropped", "limit")

    def __init__(self, limit: int = KEPT) -> None:
        super().__init__()
        self.limit = limit
        self.dropped = 0

    def append(self, item: _T) -> None:
        """Add an item, and drop the oldest one if there are too many."""
        if len(self) >= self.limit:
            del self[0]
            self.dropped += 1
        super().append(item)
