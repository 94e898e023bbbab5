"""A link around a link that loses, delays, reorders, duplicates and corrupts frames, or limits their rate.

Each direction has its own faults; see :mod:`slirpy.links.faultypath`. Time comes from the stack. Frames that are not
delayed are passed on in the same call, without a copy.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from random import Random
from typing import Generic, TypeVar

from slirpy.checks import instance
from slirpy.interfaces import Buffer, Frame, Link, LinkFeatures, Timer
from slirpy.links.corruption import Received, corrupt_received, corrupt_sent
from slirpy.links.faultypath import NONE, FaultCounters, Faults, FaultyPath
from slirpy.links.middleware import Middleware

__all__ = ["FaultLink"]

_T = TypeVar("_T")
_EVER = 1 << 63
"""Nanoseconds; no frame is held for so long."""


class _Direction(Generic[_T]):
    """One direction: holds the frames that its path delays, and has a timer for the first of them."""

    def __init__(
        self,
        random: Random,
        corrupt: Callable[[_T, Random], _T],
        keep: Callable[[_T], _T],
        release: Callable[[list[_T]], None],
    ) -> None:
        self.path = FaultyPath[_T](random, corrupt=corrupt)
        self._keep = keep
        self._release = release
        self._held: list[tuple[int, int, _T]] = []
        self._number = 0
        self._timer: Timer | None = None
        self._timer_at = 0

    def put(self, frame: _T, length: int, now: int) -> list[_T]:
        """Take a frame; returns the frames to pass on at once: none, one, or two."""
        at_once = []
        for when, each in self.path.put(frame, length, now):
            if when > now:
                self._number += 1
                heapq.heappush(self._held, (when, self._number, self._keep(each)))
            else:
                at_once.append(each)
        return at_once

    def due(self, now: int) -> list[_T]:
        """Remove and return the frames that are due."""
        held = self._held
        frames = []
        while held and held[0][0] <= now:
            frames.append(heapq.heappop(held)[2])
        return frames

    def arm(self, call_at: Callable[[int, Callable[[], None]], Timer], now: Callable[[], int]) -> None:
        """Set a timer for the first held frame."""
        if not self._held:
            return
        when = self._held[0][0]
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()

        def ring() -> None:
            self._timer = None
            self._release(self.due(now()))
            self.arm(call_at, now)

        self._timer, self._timer_at = call_at(when, ring), when

    def clear(self) -> int:
        """Discard the held frames, and return their number."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        held = len(self._held)
        self._held.clear()
        return held


class FaultLink(Middleware):
    """Applies ``to_guest`` and ``from_guest`` to the frames of ``inner``; both may be set at any time.

    Segmentation offload is not offered to the stack: faults to the guest hit single segments, not 64 KiB. Frames
    from a TAP interface may still be that long. A corrupted frame carries its real checksum, even if the link works
    with partial ones, so that the corruption is detected.

    Args:
        inner: the link that carries the frames; closed with this one.
        random: source of all chances; use a seeded one to repeat the same faults.
        to_guest: faults of frames from the stack.
        from_guest: faults of frames from the guest.

    Raises:
        ConfigError: an argument of another type.
    """

    __slots__ = ("_backlog", "_blocked", "_from_guest", "_to_guest")

    def __init__(
        self, inner: Link, random: Random, *, to_guest: Faults = NONE, from_guest: Faults = NONE
    ) -> None:
        super().__init__(inner)
        instance("random", random, Random, "a random.Random")
        # One generator for each direction: they do not influence each other.
        there, back = Random(random.getrandbits(64)), Random(random.getrandbits(64))
        self._to_guest = _Direction[Frame](there, corrupt_sent, _keep_sent, self._transmit)
        self._from_guest = _Direction[Received](back, corrupt_received, _keep_received, self._deliver)
        self.to_guest = to_guest
        self.from_guest = from_guest
        self._backlog: list[Frame] = []  # refused by the inner link for lack of room
        self._blocked = False

    @property
    def features(self) -> LinkFeatures:
        """Features of the inner link, without segmentation offload."""
        features = self._inner.features
        return LinkFeatures(mtu=features.mtu, checksum_offload=features.checksum_offload)

    @property
    def to_guest(self) -> Faults:
        """Faults of frames from the stack."""
        return self._to_guest.path.faults

    @to_guest.setter
    def to_guest(self, faults: Faults) -> None:
        self._to_guest.path.faults = _checked("to_guest", faults)

    @property
    def from_guest(self) -> Faults:
        """Faults of frames from the guest."""
        return self._from_guest.path.faults

    @from_guest.setter
    def from_guest(self, faults: Faults) -> None:
        self._from_guest.path.faults = _checked("from_guest", faults)

    @property
    def to_guest_counters(self) -> FaultCounters:
        """Counters of frames from the stack."""
        return self._to_guest.path.counters

    @property
    def from_guest_counters(self) -> FaultCounters:
        """Counters of frames from the guest."""
        return self._from_guest.path.counters

    def send(self, frames: Sequence[Frame]) -> int:
        """Accept all frames, or none while the inner link has no room for earlier ones."""
        if self._sink is None:
            return self._inner.send(frames)  # a closed link accepts and drops them
        if self._backlog:
            self._blocked = True
            return 0
        now = self.now
        direction = self._to_guest
        out = direction.due(now)
        for frame in frames:
            out += direction.put(frame, sum(map(len, frame.parts)), now)
        self._transmit(out)
        direction.arm(self.call_at, self._time)
        return len(frames)

    def input(self, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> bool | None:
        """Take a frame from the guest."""
        if self._sink is None:
            return None
        now = self.now
        direction = self._from_guest
        arrived = direction.due(now)
        arrived += direction.put((frame, checksummed, gso_size), len(frame), now)
        self._deliver(arrived)
        direction.arm(self.call_at, self._time)
        return True

    def writable(self) -> None:
        """Send the frames that wait for the inner link, and notify the stack once none waits any more."""
        backlog, self._backlog = self._backlog, []
        self._transmit(backlog)
        if not self._backlog and self._blocked:
            self._blocked = False
            super().writable()

    def release(self) -> None:
        """End the faults: pass on all held frames, in the order in which they would have arrived.

        Frames for which the inner link has no room are lost.
        """
        self.to_guest = self.from_guest = NONE
        self._transmit(self._to_guest.due(_EVER))
        self._deliver(self._from_guest.due(_EVER))

    def close(self) -> None:
        """Discard held frames, and close the inner link. Harmless when repeated."""
        self._from_guest.clear()
        held = self._to_guest.clear() + len(self._backlog)
        self._backlog = []
        if held:
            self.lost(held)
        super().close()

    def _time(self) -> int:
        return self.now

    def _transmit(self, frames: list[Frame]) -> None:
        if self._backlog:
            room = max(self.to_guest.limit - len(self._backlog), 0)
            self._to_guest.path.counters.dropped += max(len(frames) - room, 0)
            self._backlog += map(_keep_sent, frames[:room])
        elif frames:
            taken = self._inner.send(frames)
            self._backlog = [_keep_sent(frame) for frame in frames[taken:]]

    def _deliver(self, frames: list[Received]) -> None:
        if self._sink is not None:
            for frame, checksummed, gso_size in frames:
                self._sink.input(frame, checksummed, gso_size)


def _checked(what: str, faults: Faults) -> Faults:
    instance(what, faults, Faults, "a Faults, such as Faults(loss=0.01)")
    return faults


def _keep_sent(frame: Frame) -> Frame:
    return frame._replace(parts=(b"".join(frame.parts),))


def _keep_received(received: Received) -> Received:
    return bytes(received[0]), *received[1:]
