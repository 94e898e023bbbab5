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

from slirpy.interfaces import Buffer, Frame, Link, LinkFeatures, LinkSink, Poller
from slirpy.wire.pcap import PcapWriter

__all__ = ["CaptureLink"]


class CaptureLink:
    """Passes frames on between ``inner`` and the stack, and writes each of them to ``file``.

    A frame to the guest is written when ``inner`` has taken it. The file is whole after each batch, so it can
    be opened while the network runs. Should writing fail (a full disk), the capture ends, the network goes
    on, and :attr:`error` says why.
    """

    __slots__ = ("_clock", "_inner", "_sink", "_writer", "error")

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
        self._inner = inner
        self._clock = clock
        self.error = None
        self._sink: LinkSink | None = None
        self._writer: PcapWriter | None = PcapWriter(file)
        self._writer.flush()

    @property
    def features(self) -> LinkFeatures:
        """Those of the inner link."""
        return self._inner.features

    def start(self, sink: LinkSink, poller: Poller) -> None:
        """Deliver the inner link's frames to ``sink``."""
        self._sink = sink
        self._inner.start(self, poller)

    def send(self, frames: Sequence[Frame]) -> int:
        """Send frames by the inner link, and write those that it took."""
        taken = self._inner.send(frames)
        self._record([frame.parts for frame in frames[:taken]])
        return taken

    def close(self) -> None:
        """Close the inner link and end the capture. Harmless when repeated."""
        self._inner.close()
        self._writer = None

    # ------------------------------------------------------------- the side that the inner link sees

    def input(self, frame: Buffer, checksummed: bool = False) -> None:
        """Write a frame from the guest and pass it on."""
        self._record([(frame,)])
        assert self._sink is not None
        self._sink.input(frame, checksummed)

    def writable(self) -> None:
        """Pass on that there is room."""
        assert self._sink is not None
        self._sink.writable()

    def lost(self, frames: int) -> None:
        """Pass on that frames were lost; they are in the file all the same."""
        assert self._sink is not None
        self._sink.lost(frames)

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
