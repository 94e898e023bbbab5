"""The link to a guest in the same process: a function that takes frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from slirpy.checks import instance
from slirpy.config.values import function
from slirpy.interfaces import Frame, LinkFeatures, LinkSink, Poller
from slirpy.links.starting import check_start, state_of
from slirpy.mypyc import mypyc_attr
from slirpy.reprs import never_raises

__all__ = ["CallbackLink"]


@mypyc_attr(allow_interpreted_subclasses=True)
class CallbackLink:
    """Calls ``on_frame`` with each frame for the guest, as ``bytes``.

    Exceptions of ``on_frame`` propagate to the caller of ``poll`` or ``send``; the other frames of that batch are
    lost.

    Raises:
        ConfigError: ``on_frame`` cannot be called, or ``features`` is not a :class:`~slirpy.interfaces.LinkFeatures`.
    """

    def __init__(self, on_frame: Callable[[bytes], object], features: LinkFeatures | None = None) -> None:
        function("on_frame", on_frame, " that takes a frame")
        if features is not None:
            instance("features", features, LinkFeatures, "a LinkFeatures")
        self.features = features or LinkFeatures()
        self.on_frame = on_frame
        self._closed = False
        self.sink: LinkSink | None = None
        """Receiver of the guest's frames, from start to close: the stack, or a link around this one."""

    @never_raises
    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {state_of(started=self.sink is not None, closed=self._closed)}>"

    def start(self, sink: LinkSink, poller: Poller) -> None:
        """Remember ``sink``. No descriptor is watched: ``Nic.send`` passes the guest's frames to ``sink``.

        Raises:
            StateError: the link is started already, or closed.
        """
        check_start(self, started=self.sink is not None, closed=self._closed)
        self.sink = sink

    def send(self, frames: Sequence[Frame]) -> int:
        """Hand over all frames."""
        if not self._closed:
            on_frame = self.on_frame
            called = 0
            try:
                for frame in frames:
                    called += 1
                    on_frame(b"".join(frame.parts))
            finally:
                if called < len(frames) and self.sink is not None:
                    self.sink.lost(len(frames) - called)
        return len(frames)

    def close(self) -> None:
        """Stop calling ``on_frame``."""
        self._closed = True
        self.sink = None

    def abandon(self) -> None:
        """Stop calling ``on_frame``, in a forked child."""
        CallbackLink.close(self)
