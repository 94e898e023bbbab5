"""Where a link meets the stack."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from slirpy.interfaces import Buffer, Frame, Link, Timer
from slirpy.stats import Stats

if TYPE_CHECKING:
    from slirpy.core.stack import IPStack

__all__ = ["LinkPort"]

QUEUE_LIMIT = 1024
"""Frames that wait for a link that has no room."""


class Waiter(Protocol):
    """Who derives its frames from state can wait for room instead of having them queued."""

    def mark(self) -> None:
        """Ask to be served at the next flush."""


class LinkPort:
    """The stack's side of one link: a bounded queue outward, and :class:`~slirpy.interfaces.LinkSink` inward."""

    __slots__ = (
        "_out",
        "_waiters",
        "blocked",
        "checksum_offload",
        "closed",
        "link",
        "mtu",
        "segmentation_offload",
        "stack",
    )

    def __init__(self, stack: IPStack, link: Link) -> None:
        features = link.features
        self.stack = stack
        self.link = link
        self.mtu = min(features.mtu or stack.config.mtu, stack.config.mtu)
        """Largest IP packet in bytes."""
        self.checksum_offload = features.checksum_offload
        self.segmentation_offload = features.checksum_offload and features.segmentation_offload
        self.blocked = False
        """The link has no room; TCP waits."""
        self.closed = False
        """The link was taken out; neighbours may still be remembered behind it."""
        self._out: list[Frame] = []
        self._waiters: dict[Waiter, None] = {}  # each once, however often it asks

    def input(self, frame: Buffer, checksummed: bool = False) -> None:
        """A frame from the guest."""
        self.stack.input(self, frame, checksummed)

    def push(self, frame: Frame, length: int) -> None:
        """Queue a frame of ``length`` bytes for the next :meth:`flush`."""
        stats = self.stack.stats
        if self.closed:
            stats.drop_link_dead += 1
            return
        if self.blocked and len(self._out) >= QUEUE_LIMIT:
            stats.drop_link_queue_full += 1
            return
        stats.frames_out += 1
        stats.bytes_out += length
        self._out.append(frame)

    def wait(self, waiter: Waiter) -> None:
        """Mark ``waiter`` when there is room again."""
        self._waiters[waiter] = None

    def forget(self, waiter: Waiter) -> None:
        """``waiter`` waits no more: else what is over would be kept for as long as the link has no room."""
        self._waiters.pop(waiter, None)

    def flush(self) -> None:
        """Hand to the link what is queued."""
        out = self._out
        if not out or self.blocked:
            return
        self._out = []
        sent = self.link.send(out)
        if sent < len(out):
            self._out = out[sent:] + self._out
            self.blocked = True

    def writable(self) -> None:
        """The link has room again."""
        self.blocked = False
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            waiter.mark()

    def close(self) -> None:
        """The link is taken out: what waits for it will never be sent."""
        self.closed = True
        self.lost(len(self._out))
        self._out = []
        self.writable()  # connections go on, if only to their time-out
        self.link.close()

    def lost(self, frames: int) -> None:
        """Frames that the link could not send at all."""
        self.stack.stats.drop_link_dead += frames

    @property
    def now(self) -> int:
        """The stack's time."""
        return self.stack.now

    @property
    def stats(self) -> Stats:
        """The stack's counters."""
        return self.stack.stats

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        """A timer of the stack, for a link that holds frames back."""
        return self.stack.call_at(when, callback)
