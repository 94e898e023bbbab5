"""A link with a limited bandwidth, so that one guest does not use what all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from slirpy.checks import whole
from slirpy.interfaces import Buffer, Frame, Link
from slirpy.links.faults import FaultLink
from slirpy.links.faultypath import Faults

__all__ = ["RateLink"]

_LEAST_BURST = 65_549
"""Bytes of the largest frame."""
_BURSTS, _QUEUES = 20, 5
"""Parts of a second that pass at once after a pause, and that may wait."""
_LEAST_QUEUE = 262_144


class RateLink(FaultLink):
    """Limits the bytes a second of ``inner`` in each direction, by a token bucket with a queue before it.

    After a pause, the bytes of 50 ms pass at once, but at least a frame of 64 KiB. Those of 200 ms wait, but at least
    256 KiB; frames beyond are dropped, and count as ``drop_link_rate``.

    Args:
        inner: the link that carries the frames; closed with this one.
        rate: bytes a second, at least 1000.

    Raises:
        ConfigError: an argument of another type, or out of range.
    """

    __slots__ = ("_dropped",)

    def __init__(self, inner: Link, rate: int) -> None:
        whole("rate", rate, 1000, 1 << 50)
        limit = Faults(
            rate=8 * rate,
            burst=max(rate // _BURSTS, _LEAST_BURST),
            queue=max(rate // _QUEUES, _LEAST_QUEUE),
            limit=1 << 16,
        )
        super().__init__(inner, Random(0), to_guest=limit, from_guest=limit)
        self._dropped = 0

    def send(self, frames: Sequence[Frame]) -> int:
        """Send frames when it is their time; see :class:`~slirpy.links.FaultLink`."""
        taken = super().send(frames)
        self._count()
        return taken

    def input(self, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> bool | None:
        """Pass on a frame from the guest when it is its time."""
        slow = super().input(frame, checksummed, gso_size)
        self._count()
        return slow

    @property
    def inner(self) -> Link:
        """The link that carries the frames."""
        return self._inner

    def _count(self) -> None:
        dropped = self.to_guest_counters.dropped + self.from_guest_counters.dropped
        if dropped != self._dropped and self._sink is not None:
            self._sink.stats.drop_link_rate += dropped - self._dropped
            self._dropped = dropped
