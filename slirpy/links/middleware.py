"""Base of links around links: passes everything on, and lets subclasses change what they need to.

A middleware is a :class:`~slirpy.interfaces.Link` towards the stack and a :class:`~slirpy.interfaces.LinkSink`
towards the link that it wraps, so middlewares can wrap each other. The order matters:
``CaptureLink(FaultLink(tap))`` records the frames that the stack sends and those that survived the faults,
``FaultLink(CaptureLink(tap))`` those that the guest sends and receives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from slirpy import forks
from slirpy.errors import StateError
from slirpy.interfaces import Buffer, Frame, Link, LinkFeatures, LinkSink, Poller, Timer
from slirpy.interfaces.links import check_link
from slirpy.links.starting import check_start
from slirpy.reprs import never_raises
from slirpy.stats import Stats

__all__ = ["Middleware"]


class Middleware:
    """Passes frames on between ``inner`` and the stack. For subclasses.

    Args:
        inner: the link that carries the frames; it is started and closed with this one.

    Raises:
        ConfigError: ``inner`` is not a link.
    """

    __slots__ = ("_inner", "_sink")

    def __init__(self, inner: Link) -> None:
        check_link("inner", inner)
        self._inner = inner
        self._sink: LinkSink | None = None

    @never_raises
    def __repr__(self) -> str:
        return f"<{type(self).__name__} around {self._inner!r}>"

    # ------------------------------------------------------------------- a link, as the stack sees it

    @property
    def features(self) -> LinkFeatures:
        """Features of the inner link."""
        return self._inner.features

    def start(self, sink: LinkSink, poller: Poller) -> None:
        """Deliver the inner link's frames to ``sink``.

        Raises:
            StateError: this link or the inner one is started already or closed.
        """
        check_start(self, started=self._sink is not None, closed=False)
        self._sink = sink
        try:
            self._inner.start(self, poller)
        except BaseException:
            self._sink = None
            raise

    def send(self, frames: Sequence[Frame]) -> int:
        """Send by the inner link."""
        return self._inner.send(frames)

    def close(self) -> None:
        """Close the inner link and stop delivering. Harmless when repeated."""
        self._inner.close()
        self._sink = None

    def abandon(self) -> None:
        """Close the inner link's descriptors, in a forked child."""
        forks.abandon(self._inner)
        self._sink = None

    # --------------------------------------------------------------- a sink, as the inner link sees it

    def input(self, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> bool | None:
        """Pass on a frame from the guest."""
        return None if self._sink is None else self._sink.input(frame, checksummed, gso_size)

    def writable(self) -> None:
        """Pass on that the inner link has room again."""
        if self._sink is not None:
            self._sink.writable()

    def lost(self, frames: int) -> None:
        """Pass on that frames were lost."""
        if self._sink is not None:
            self._sink.lost(frames)

    @property
    def now(self) -> int:
        """The stack's time, in nanoseconds.

        Raises:
            StateError: the link is not started, or closed.
        """
        return self._started().now

    @property
    def stats(self) -> Stats:
        """The stack's counters.

        Raises:
            StateError: the link is not started, or closed.
        """
        return self._started().stats

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        """Set a timer of the stack.

        Raises:
            StateError: the link is not started, or closed.
        """
        return self._started().call_at(when, callback)

    def _started(self) -> LinkSink:
        if self._sink is None:
            raise StateError(
                "a link has the time and counters only while it is started; attach it to a network first"
            )
        return self._sink
