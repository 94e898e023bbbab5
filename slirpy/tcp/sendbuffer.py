"""What was written and is not acknowledged yet: the retransmission buffer and the send queue in one.

The chunks are the very objects that were written. They are sliced, never copied: what a host socket gave by one
``recv`` goes to the link as views, and stays here until it is acknowledged.
"""

from __future__ import annotations

from collections import deque

from slirpy.interfaces import Buffer

__all__ = ["SendBuffer"]

COALESCE = 4096
"""Chunks up to this many bytes in all are joined, so that many small writes do not make long lists."""


class SendBuffer:
    """A queue of bytes with a cursor: before it lies what was sent, after it what was not."""

    __slots__ = ("_chunks", "_head", "_index", "_offset", "length", "sent")

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._head = 0  # bytes of the first chunk that were acknowledged
        self._index = 0  # the cursor: a chunk ...
        self._offset = 0  # ... and a place in it
        self.length = 0
        """Bytes held, sent or not."""
        self.sent = 0
        """Bytes before the cursor."""

    def append(self, data: bytes) -> None:
        """Add bytes at the end; the object must not change."""
        self.length += len(data)
        chunks = self._chunks
        if chunks and len(chunks[-1]) + len(data) <= COALESCE:
            if self._index == len(
                chunks
            ):  # at the very end the cursor names the next chunk: now it is in this one
                self._index, self._offset = self._index - 1, len(chunks[-1])
            chunks[-1] += data
        else:
            chunks.append(data)

    def take(self, count: int) -> list[Buffer]:
        """The next ``count`` bytes after the cursor, which moves behind them."""
        parts: list[Buffer] = []
        chunks, index, offset = self._chunks, self._index, self._offset
        self.sent += count
        while count:
            chunk = chunks[index]
            available = len(chunk) - offset
            if available > count:
                parts.append(memoryview(chunk)[offset : offset + count])
                offset += count
                break
            parts.append(memoryview(chunk)[offset:] if offset else chunk)
            count -= available
            index += 1
            offset = 0
        self._index, self._offset = index, offset
        return parts

    def peek(self, count: int, offset: int = 0) -> list[Buffer]:
        """``count`` bytes from ``offset`` on, wherever the cursor is: for sending them again."""
        parts: list[Buffer] = []
        offset += self._head
        for chunk in self._chunks:
            if not count:
                break
            if offset >= len(chunk):
                offset -= len(chunk)
                continue
            part = memoryview(chunk)[offset : offset + count]
            parts.append(part)
            count -= len(part)
            offset = 0
        return parts

    def rewind(self) -> None:
        """Move the cursor to the start: everything will be sent again."""
        self._index, self._offset, self.sent = 0, self._head, 0

    def acknowledge(self, count: int) -> None:
        """Forget the first ``count`` bytes; a cursor among them moves behind them."""
        self.length -= count
        behind = count > self.sent
        self.sent = 0 if behind else self.sent - count
        chunks, head, index = self._chunks, self._head + count, self._index
        while chunks and head >= len(chunks[0]):
            head -= len(chunks[0])
            chunks.popleft()
            index -= 1
        self._head = head
        if behind or index < 0:
            self._index, self._offset = 0, head
        else:
            self._index = index

    def clear(self) -> None:
        """Drop everything."""
        self._chunks.clear()
        self._head = self._index = self._offset = self.length = self.sent = 0
