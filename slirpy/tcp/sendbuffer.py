"""Send queue and retransmission buffer in one: data that was written and is not acknowledged.

The chunks are the objects that were written. They are sliced, never copied: the result of one ``recv`` on a host
socket goes to the link as views, and stays here until it is acknowledged.
"""

from __future__ import annotations

from collections import deque

from slirpy.interfaces import Buffer
from slirpy.mypyc import Final

__all__ = ["SendBuffer"]

COALESCE: Final = 4096
"""Chunks of up to this many bytes in total are joined, so that many small writes do not make long lists."""


class SendBuffer:
    """A queue of bytes with a cursor: bytes before it were sent, bytes after it were not."""

    __slots__ = ("_chunks", "_head", "_index", "_offset", "length", "sent")

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._head = 0  # number of acknowledged bytes in the first chunk
        self._index = 0  # the cursor: a chunk ...
        self._offset = 0  # ... and an offset in it
        self.length = 0
        """Number of bytes held, sent or not."""
        self.sent = 0
        """Number of bytes before the cursor."""

    def append(self, data: bytes) -> None:
        """Append bytes; the object must not change."""
        self.length += len(data)
        chunks = self._chunks
        if chunks and len(chunks[-1]) + len(data) <= COALESCE:
            # A cursor at the very end points to the next chunk, which does not exist. Move it to the end of this one.
            if self._index == len(chunks):
                self._index, self._offset = self._index - 1, len(chunks[-1])
            chunks[-1] += data
        else:
            chunks.append(data)

    def append_sent(self, data: bytes, length: int) -> None:
        """Append ``length`` bytes to an empty buffer, with the cursor behind them."""
        self._chunks.append(data)
        self._index = 1
        self.length = self.sent = length

    def take(self, count: int) -> list[Buffer]:
        """Return the next ``count`` bytes after the cursor, and move it past them."""
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
        """Return ``count`` bytes beginning at ``offset``, for retransmission. The cursor does not move."""
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
        """Move the cursor to the start, to send everything again."""
        self._index, self._offset, self.sent = 0, self._head, 0

    def acknowledge(self, count: int) -> None:
        """Discard the first ``count`` bytes; a cursor among them moves past them."""
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
        """Discard everything."""
        self._chunks.clear()
        self._head = self._index = self._offset = self.length = self.sent = 0
