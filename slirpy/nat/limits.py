"""Bounds on what guests can make grow: at the bound the flow that was idle for longest goes."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

__all__ = ["Evictor"]

BATCH = 64


class Idle(Protocol):
    """Something that knows when it last was of use."""

    last_activity: int


T = TypeVar("T", bound=Idle)


class Evictor(Generic[T]):
    """Finds who has to go. A scan of the whole table names the next :data:`BATCH`, so a flood does not scan."""

    def __init__(self, table: dict[bytes, T], limit: int) -> None:
        self._table = table
        self._limit = limit
        self._candidates: list[tuple[int, bytes]] = []

    def victim(self) -> T | None:
        """The entry to end before another is added; None while there is room."""
        table = self._table
        if len(table) < self._limit:
            return None
        while True:
            while self._candidates:
                idle_since, key = self._candidates.pop()
                found = table.get(key)
                if found is not None and found.last_activity == idle_since:
                    return found
            ranked = sorted(((entry.last_activity, key) for key, entry in table.items()), reverse=True)
            self._candidates = ranked[-BATCH:]
