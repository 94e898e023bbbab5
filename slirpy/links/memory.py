"""Destinations of captures in memory: a queue to another thread, and a ring of the last records."""

from __future__ import annotations

import abc
from collections import deque
from collections.abc import Callable

__all__ = ["Memory", "RecordQueue", "RecordRing"]


class Memory(abc.ABC):
    """A destination in memory, with a bound."""

    def begin(self, header: Callable[[], bytes]) -> None:
        """Take the function that returns the beginning of a file, with all descriptions so far."""
        self._header = header

    @abc.abstractmethod
    def write(self, records: list[bytes]) -> int:
        """Take whole records, and return the number dropped."""

    @abc.abstractmethod
    def describe(self, block: bytes) -> None:
        """Take a description that every later record needs."""

    @abc.abstractmethod
    def close(self) -> None:
        """End. What is held remains readable."""

    def abandon(self) -> None:
        """End after a failure."""
        self.close()


class RecordQueue(Memory):
    """Passes records to a reader in another thread, and never waits for it.

    One thread writes, and one reads.

    Args:
        room: maximum number of bytes that wait; records beyond are dropped.
        arrived: called when there is something to read, once until it has been read, and at the end.

    Attributes:
        ended: True if nothing follows what waits.
    """

    def __init__(self, room: int, arrived: Callable[[], object]) -> None:
        self.ended = False
        self._room = room
        self._arrived = arrived
        self._waiting: deque[bytes] = deque()
        # Two numbers, each of which only one of the threads changes.
        self._written = self._read = 0
        self._announced = False

    def begin(self, header: Callable[[], bytes]) -> None:
        """Queue the beginning of the file."""
        super().begin(header)
        self.describe(header())

    def write(self, records: list[bytes]) -> int:
        """Queue the records for which there is room, and return the number of the others."""
        dropped = 0
        for record in records:
            if self._written - self._read + len(record) > self._room:
                dropped += 1
            else:
                self._written += len(record)
                self._waiting.append(record)
        self._announce()
        return dropped

    def describe(self, block: bytes) -> None:
        """Queue a description, for which there is always room."""
        self._written += len(block)
        self._waiting.append(block)
        self._announce()

    def close(self) -> None:
        """End: what waits can be read, and nothing follows."""
        self.ended = True
        self._arrived()

    def take(self) -> bytes:
        """Remove and return what waits. Called by the reader."""
        self._announced = False
        found = []
        while self._waiting:
            found.append(self._waiting.popleft())
        data = b"".join(found)
        self._read += len(data)
        return data

    def _announce(self) -> None:
        if not self._announced and self._waiting:
            self._announced = True
            self._arrived()


class RecordRing(Memory):
    """Keeps the last records.

    Args:
        room: maximum number of bytes of records.

    Attributes:
        evicted: number of records that made room for later ones.
    """

    def __init__(self, room: int) -> None:
        self.evicted = 0
        self._room = room
        self._size = 0
        self._records: deque[bytes] = deque()

    def write(self, records: list[bytes]) -> int:
        """Keep records, and remove the oldest that have no room beside them; none is dropped."""
        self._records += records
        self._size += sum(map(len, records))
        while self._size > self._room:
            self._size -= len(self._records.popleft())
            self.evicted += 1
        return 0

    def describe(self, block: bytes) -> None:
        """Take a description; the beginning of the file has it, too."""

    def close(self) -> None:
        """End; the records remain readable."""

    def contents(self) -> tuple[bytes, list[bytes]]:
        """Return the beginning of a file, and the records that follow it."""
        return self._header(), list(self._records)
