"""A link around a link that writes every frame to a capture file, for Wireshark and similar tools.

The file shows what the link carries, as tcpdump does on a network card. With offloads that differs from the wire: a
TCP frame may be up to 64 KiB long and stand for many segments, and the transport checksum of a frame to the guest is
only the sum of the pseudo-header, because the receiving side completes it. Wireshark reports such a checksum as
wrong when its validation is turned on; it is not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from slirpy.config.values import as_text, function
from slirpy.errors import StateError
from slirpy.interfaces import Buffer, Frame, Link, LinkSink, Poller
from slirpy.links.middleware import Middleware
from slirpy.links.recorder import Recorder, Target

__all__ = ["CaptureLink"]


class CaptureLink(Middleware):
    """Passes frames on between ``inner`` and the stack, and writes each of them while a capture is running.

    A frame to the guest is written when ``inner`` has accepted it. The file is complete after each batch, so it can
    be opened while the network runs. If writing fails (a full disk), the capture ends, the network continues, and
    :attr:`error` contains the reason.
    """

    __slots__ = ("_interface", "_name", "_own", "_poller", "_recorder")

    def __init__(
        self,
        inner: Link,
        target: Target | Recorder | None = None,
        clock: Callable[[], int] = time.time_ns,
        *,
        name: str = "slirpy",
    ) -> None:
        """Wrap a link, and begin a capture if there is a target.

        Args:
            inner: the link that carries the frames; closed with this one.
            target: see :meth:`start_capture`; None: begin later.
            clock: returns the time of a frame, in nanoseconds since 1970.
            name: name of the interface in a pcapng file, which distinguishes links that share a recorder.

        Raises:
            ConfigError: an argument that cannot be used.
            LinkError: the file cannot be written.
            OSError: the file object cannot be written.
        """
        super().__init__(inner)
        self._poller: Poller | None = None
        self._recorder: Recorder | None = None
        self._name = as_text("name", name)
        function("clock", clock, " that gives nanoseconds, such as time.time_ns")
        self._interface = 0
        self._own = False
        if target is not None:
            self.start_capture(target, clock=clock)

    def start_capture(
        self,
        target: Target | Recorder,
        *,
        file_format: str | None = None,
        max_bytes: int | None = None,
        max_files: int = 2,
        clock: Callable[[], int] = time.time_ns,
    ) -> Recorder:
        """Write frames from now on; for the arguments see :class:`~slirpy.links.recorder.Recorder`.

        Instead of them a recorder may be passed. It may serve several links, and remains the caller's to close.

        Returns:
            The recorder, whose ``frames``, ``dropped`` and ``error`` report its state.

        Raises:
            StateError: a capture is running.
            ConfigError: an argument that cannot be used.
            LinkError: the file cannot be written.
            OSError: the file object cannot be written.
        """
        if self._recorder is not None and self._recorder.error is None:
            raise StateError("a capture is running on this link; call stop_capture() first")
        self._own = not isinstance(target, Recorder)
        if not isinstance(target, Recorder):
            target = Recorder(
                target, file_format=file_format, max_bytes=max_bytes, max_files=max_files, clock=clock
            )
        self._recorder = target
        self._interface = target.interface(self._name)
        if self._poller is not None:
            target.start(self._poller)
        return target

    def stop_capture(self) -> Recorder | None:
        """End the capture; the network continues. Returns the recorder, or None if there is no capture."""
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            if self._poller is not None:
                recorder.stop()
            if self._own:
                recorder.close()
        return recorder

    @property
    def error(self) -> OSError | None:
        """The error that ended the capture early, or None."""
        return None if self._recorder is None else self._recorder.error

    def start(self, sink: LinkSink, poller: Poller) -> None:
        """Deliver the inner link's frames to ``sink``."""
        self._poller = poller
        if self._recorder is not None:
            self._recorder.start(poller)
        super().start(sink, poller)

    def send(self, frames: Sequence[Frame]) -> int:
        """Send frames by the inner link, and write those that it accepted."""
        taken = self._inner.send(frames)
        if self._recorder is not None:
            self._recorder.record([frame.parts for frame in frames[:taken]], False, self._interface)
        return taken

    def close(self) -> None:
        """Close the inner link and end the capture. Harmless when repeated."""
        super().close()
        poller, self._poller = self._poller, None
        if self._recorder is not None:  # kept for error
            if poller is not None:
                self._recorder.stop()
            if self._own:
                self._recorder.close()

    def abandon(self) -> None:
        """Close the inner link's descriptors and the capture's, in a forked child."""
        super().abandon()
        if self._recorder is not None and self._own:
            self._recorder.close()

    def input(self, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> bool | None:
        """Write a frame from the guest and pass it on."""
        if self._recorder is not None:
            self._recorder.record(((frame,),), True, self._interface)
        return super().input(frame, checksummed, gso_size)
