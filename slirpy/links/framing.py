"""Frames on a byte stream in QEMU's format: 32 bits of length, most significant byte first, and the frame.

Input is read into one large buffer that lives as long as the connection, and frames are handed on as views of it,
without a copy. The views are valid until the flush after this poll; the next read, at the next poll, reuses the
buffer. A turn ends after :data:`~slirpy.fair.TURN`, and the next one begins with the frames that are left. Output
goes to the kernel many frames at a time.
"""

from __future__ import annotations

import socket
import struct
from bisect import bisect_right
from collections.abc import Sequence
from time import monotonic_ns
from typing import Final

from slirpy.fair import TURN, TURN_FRAMES
from slirpy.interfaces import Buffer, Frame, LinkSink

__all__ = ["LONGEST", "SHORTEST", "FrameStream"]

SHORTEST: Final = 14
"""Bytes of an Ethernet header; no frame is shorter."""
LONGEST: Final = 69632
"""QEMU's limit (4096 + 65536); a sender that announces more is out of step."""

_LENGTH: Final = struct.Struct("!I")
_ROOM: Final = 256 * 1024
_HALF: Final = _ROOM // 2  # more than the longest frame with its length
_SHORT_LOOK: Final = 4 * 1024
_LONG_LOOK: Final = 16 * 1024
"""Bytes of frames on the fast path, small ones and large ones, after which the end of the turn is considered."""
_FEW: Final = 8
"""Number of frames in ``_SHORT_LOOK`` bytes up to which they are large."""
_HAS_SENDMSG: Final = hasattr(socket.socket, "sendmsg")
_IOV_MAX: Final = 1024  # buffers per sendmsg; every system accepts at least 1024


class FrameStream:
    """One connection.

    Attributes:
        blocked: the kernel has no room; call :meth:`resume` when it has.
        unfinished: the last turn has left frames; call :meth:`receive` again, even if nothing arrives.
        broken: nothing can be sent any more. Reading will report the same.
    """

    __slots__ = ("_buffer", "_end", "_rest", "_start", "_view", "blocked", "broken", "sock",
                 "unfinished")  # fmt: skip

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.blocked = self.broken = self.unfinished = False
        self._buffer = bytearray(_ROOM)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0  # the incomplete frame received so far
        self._rest = b""  # the rest of a frame that the kernel accepted in part

    def receive(self, sink: LinkSink) -> bool:
        """Read once, and hand on complete frames until the turn ends. Returns False when the connection has ended."""
        return (self.unfinished or self._read(sink)) and self._hand_on(sink)

    def _read(self, sink: LinkSink) -> bool:
        """Read once. Returns False when the connection has ended."""
        view, start, end = self._view, self._start, self._end
        if start == end:
            start = end = 0
        elif end > _HALF:
            # Not at each read: a frame that arrives byte by byte would be moved each time.
            view[: end - start] = view[start:end]
            start, end = 0, end - start
        try:
            count = self.sock.recv_into(view[end:])
        except (BlockingIOError, InterruptedError):
            self._start, self._end = start, end
            return True
        except OSError:
            count = 0
        if not count:
            if end > start or self._rest:
                sink.stats.drop_link_truncated += 1
            return False
        self._start, self._end = start, end + count
        return True

    def _hand_on(self, sink: LinkSink) -> bool:
        """Hand on complete frames until the turn ends. Returns False if the other end is out of step."""
        view, start, end = self._view, self._start, self._end
        buffer, unpack, put = self._buffer, _LENGTH.unpack_from, sink.input
        stats = sink.stats
        over = monotonic_ns() + TURN
        first = seen = stats.frames_in
        look = start + _SHORT_LOOK
        self.unfinished = False
        while end - start >= 4:
            (length,) = unpack(buffer, start)
            if not SHORTEST <= length <= LONGEST:
                sink.stats.drop_link_framing += 1
                return False
            stop = start + 4 + length
            if stop > end:
                break
            slow = put(view[start + 4 : stop])
            start = stop
            if slow or start >= look:
                frames = stats.frames_in
                if frames - first >= TURN_FRAMES or monotonic_ns() >= over:
                    self.unfinished = end > start
                    break
                large = start >= look and frames - seen <= _FEW
                look = start + (_LONG_LOOK if large else _SHORT_LOOK)
                seen = frames
        self._start, self._end = start, end
        return True

    def send(self, frames: Sequence[Frame], sink: LinkSink) -> int:
        """Send as many frames as the kernel accepts, and return the count; a partly accepted frame counts.

        Must not be called while ``blocked``.
        """
        pack = _LENGTH.pack
        buffers: list[Buffer] = []
        firsts: list[int] = []  # index in buffers at which each frame begins
        ends: list[int] = []  # offset in the stream at which each ends
        total = taken = 0
        for frame in frames:
            parts = frame[0]
            length = sum(map(len, parts))
            if len(buffers) + len(parts) >= _IOV_MAX or length > LONGEST:
                if buffers:
                    taken += self._write(buffers, firsts, ends, sink)
                    if self.blocked:
                        return taken
                    buffers, firsts, ends, total = [], [], [], 0
                if length > LONGEST:
                    sink.lost(1)  # the other end would close the connection
                    taken += 1
                    continue
                if len(parts) >= _IOV_MAX:
                    parts = (b"".join(parts),)
            firsts.append(len(buffers))
            buffers.append(pack(length))
            buffers += parts
            total += length + 4
            ends.append(total)
        if ends:
            taken += self._write(buffers, firsts, ends, sink)
        return taken

    def _write(self, buffers: list[Buffer], firsts: list[int], ends: list[int], sink: LinkSink) -> int:
        if self.broken:
            sink.lost(len(ends))
            return len(ends)
        total = ends[-1]
        try:
            sent = self.sock.sendmsg(buffers) if _HAS_SENDMSG else self.sock.send(b"".join(buffers))
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._fail()
            sink.lost(len(ends))
            return len(ends)
        if sent == total:
            return len(ends)
        self.blocked = True
        taken = bisect_right(ends, sent)
        over = sent - (ends[taken - 1] if taken else 0)
        if over:
            # The parts may change after this call: keep a copy of the rest of the cut frame.
            stop = firsts[taken + 1] if taken + 1 < len(firsts) else len(buffers)
            self._rest = b"".join(buffers[firsts[taken] : stop])[over:]
            taken += 1
        return taken

    def resume(self) -> bool:
        """Send the rest of the cut frame; returns whether there is room for more."""
        if self._rest:
            try:
                sent = self.sock.send(self._rest)
            except (BlockingIOError, InterruptedError):
                return False
            except OSError:
                self._fail()
                return True
            self._rest = self._rest[sent:]
        self.blocked = bool(self._rest)
        return not self.blocked

    def _fail(self) -> None:
        """Stop sending. Only the reading side ends the connection, at the next poll."""
        self.broken = True
        self.blocked = False
        try:
            self.sock.shutdown(socket.SHUT_RDWR)  # makes the reading side see the end
        except OSError:
            pass

    def close(self) -> None:
        """Close the socket; views that were handed on stay valid."""
        self.sock.close()
