"""Capture: a link around a link, which writes what crosses it to a pcap file.

The file shows what the link carries, as tcpdump does on a network card. With offloads that differs from what
is on a wire: a TCP frame may be up to 64 KiB long and stand for many segments, and the transport checksum
of a frame to the guest is then the sum of the pseudo-header alone, because the receiving side fills it in.
Wireshark shows such a checksum as wrong when its validation is turned on; it is not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import BinaryIO

from slirpy.interfaces import Buffer, Frame, Link
from slirpy.links.middleware import Middleware
from slirpy.wire.pcap import PcapWriter

__all__ = ["CaptureLink"]


class CaptureLink(Middleware):
    """Passes frames on between ``inner`` and the stack, and writes each of them to ``file``.

    A frame to the guest is written when ``inner`` has taken it. The file is whole after each batch, so it can
    be opened while the network runs. Should writing fail (a full disk), the capture ends, the network goes
    on, and :attr:`error` says why.
    """

    __slots__ = ("_clock", "_writer", "error")

    error: OSError | None
    """What ended the capture early, if anything did."""

    def __init__(self, inner: Link, file: BinaryIO, clock: Callable[[], int] = time.time_ns) -> None:
        """Begin a capture file.

        Args:
            inner: the link that carries the frames; closed with this one.
            file: opened for writing in binary mode; it stays the caller's to close, after :meth:`close`.
            clock: gives the time of a frame, in nanoseconds since 1970.

        Raises:
            OSError: the file cannot be written.
        """
        super().__init__(inner)
        self._clock = clock
        self.error = None
        self._writer: PcapWriter | None = PcapWriter(file)
        self._writer.flush()

    def send(self, frames: Sequence[Frame]) -> int:
        """Send frames by the inner link, and write those that it took."""
        taken = self._inner.send(frames)
        self._record([frame.parts for frame in frames[:taken]])
        return taken

    def close(self) -> None:
        """Close the inner link and end the capture. Harmless when repeated."""
        super().close()
        self._writer = None

    def input(self, frame: Buffer, checksummed: bool = False) -> None:
        """Write a frame from the guest and pass it on."""
        self._record([(frame,)])
        super().input(frame, checksummed)

    def _record(self, frames: Sequence[Sequence[Buffer]]) -> None:
        if self._writer is None:
            return
        now = self._clock()
        try:
            for parts in frames:
                self._writer.write(now, *parts)
            self._writer.flush()
        except OSError as error:
            self.error = error
            self._writer = None
