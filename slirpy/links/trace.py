"""A link around a link that prints one line for each frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TextIO

from slirpy.checks import moment
from slirpy.config.values import as_text, function
from slirpy.errors import ConfigError
from slirpy.interfaces import Buffer, Frame, Link, LinkSink, Poller
from slirpy.links.middleware import Middleware
from slirpy.links.tracefile import TraceFile
from slirpy.units import SECOND
from slirpy.wire.describe import describe

__all__ = ["TraceLink", "wall_time"]


def wall_time(now: int) -> str:
    """Format nanoseconds since 1970 as local time of day, to the microsecond."""
    seconds, rest = divmod(now, SECOND)
    return f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{rest // 1000:06d}"


class TraceLink(Middleware):
    """Passes frames on between ``inner`` and the stack, and prints a line about each, like ::

        13:05:01.123456 in  IP 10.0.2.15.40312 > 10.0.2.2.80: Flags [S], seq 7, win 64240, options [mss 1460]

    ``in`` is from the guest, ``out`` to it. A frame to the guest is printed when ``inner`` has accepted it. Lines
    contain no control characters, whatever is in a frame, so they are safe for a terminal.

    Args:
        inner: the link that carries the frames; closed with this one.
        out: called with each line, without its end; or a text file, or a :class:`~slirpy.links.tracefile.TraceFile`,
            both of which remain the caller's. If the file cannot be written, the trace ends and the network goes on;
            :attr:`error` contains the reason. Exceptions of a callable are not caught.
        clock: returns the time of a frame in nanoseconds since 1970; None: the stack's time, as seconds.
        name: printed in each line before the direction, to distinguish several links.

    Raises:
        ConfigError: an argument that cannot be used.
    """

    __slots__ = ("_clock", "_file", "_name", "_out", "_running", "error")

    error: OSError | ValueError | None
    """The error that ended the trace early, or None; a closed file raises ValueError."""

    def __init__(
        self,
        inner: Link,
        out: Callable[[str], object] | TextIO | TraceFile,
        clock: Callable[[], int] | None = time.time_ns,
        *,
        name: str = "",
    ) -> None:
        super().__init__(inner)
        if clock is not None:
            function("clock", clock, " that gives nanoseconds, such as time.time_ns")
        self._clock = clock
        self._name = f" {name}" if as_text("name", name) else ""
        self._file: TextIO | TraceFile | None = None
        self._running: TraceFile | None = None
        self._out: Callable[[str], object] | None = None
        if callable(out):
            function("out", out, " that takes a line")
            self._out = out
        elif not isinstance(out, TraceFile) and not callable(getattr(out, "write", None)):
            raise ConfigError(f"out must be a function, a text file, or a TraceFile; given was {out!r}")
        else:
            self._file = out
        self.error = None

    def start(self, sink: LinkSink, poller: Poller) -> None:
        """Start both directions: frames from the inner link go to ``sink``."""
        if isinstance(self._file, TraceFile) and self._running is None:
            self._running = self._file
            self._file.start(poller)
        super().start(sink, poller)

    def close(self) -> None:
        """Close the inner link. Harmless when repeated."""
        super().close()
        started, self._running = self._running, None
        if started is not None:
            started.stop()

    def send(self, frames: Sequence[Frame]) -> int:
        """Send frames by the inner link, and print those that it accepted."""
        taken = self._inner.send(frames)
        if self._out is not None or self._file is not None:
            self._tell("out", [b"".join(frame.parts) for frame in frames[:taken]])
        return taken

    def input(self, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> bool | None:
        """Print a frame from the guest and pass it on."""
        if self._out is not None or self._file is not None:
            self._tell("in ", (frame,))
        return super().input(frame, checksummed, gso_size)

    def _tell(self, direction: str, frames: Sequence[Buffer]) -> None:
        if self._clock is not None:
            now = wall_time(moment("clock() =", self._clock(), "time.time"))
        else:
            seconds, rest = divmod(self.now, SECOND)
            now = f"{seconds}.{rest // 1000:06d}"
        lines = [f"{now}{self._name} {direction} {describe(frame)}" for frame in frames]
        if self._out is not None:
            for line in lines:
                self._out(line)
        elif self._file is not None and lines:
            try:
                if isinstance(self._file, TraceFile):
                    self._file.write(lines)
                else:
                    self._file.write("\n".join(lines) + "\n")
                    self._file.flush()
            except (OSError, ValueError) as error:
                self.error = error
                self._file = None
