"""Faults on the way of frames: decides when each one arrives, without sockets and timers.

A :class:`FaultyPath` is one direction. Its faults are applied in this order: loss; duplication; corruption; the rate,
a token bucket with a bounded queue before it; the delay with its jitter; reordering. Chances come from an injected
generator and time is an argument, so a run in virtual time can be repeated to the byte.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, fields
from heapq import heappop, heappush
from random import Random
from typing import Any, Generic, TypeVar, overload

from slirpy.checks import amount, chance, instance, nanoseconds
from slirpy.config.values import function
from slirpy.links.corruption import corrupt_bytes
from slirpy.reprs import never_raises
from slirpy.units import MS, SECOND

__all__ = ["NONE", "FaultCounters", "Faults", "FaultyPath"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Faults:
    """Faults of one direction. Chances are from 0.0 to 1.0, times are nanoseconds.

    Raises:
        ConfigError: a value is out of range.
    """

    loss: float = 0.0
    """Chance that a frame is lost."""
    duplicate: float = 0.0
    """Chance that a frame arrives twice."""
    corrupt: float = 0.0
    """Chance that one bit is wrong."""
    delay: int = 0
    """Nanoseconds of delay for each frame: 40_000_000 for 40 ms. A float is refused."""
    jitter: int = 0
    """Maximum additional delay in nanoseconds; it does not change the order."""
    reorder: float = 0.0
    """Chance that a frame is held back, so that others overtake it."""
    reorder_delay: int = 10 * MS
    """Nanoseconds for which such a frame is held back."""
    rate: int | None = None
    """Bits per second; None: unlimited."""
    burst: int = 65549
    """Bytes that pass at once after a pause, with ``rate``."""
    queue: int = 262_144
    """Bytes that may wait, with ``rate``; a frame beyond is dropped."""
    limit: int = 1000
    """Frames that may be held, for any reason; a frame beyond is dropped."""

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate", "corrupt", "reorder"):
            chance(name, getattr(self, name))
        for name in ("delay", "jitter", "reorder_delay"):
            nanoseconds(name, getattr(self, name))
        amount("queue", self.queue, 0, " of bytes")
        amount("burst", self.burst, 1, " of bytes")
        amount("limit", self.limit, 1, " of frames")
        if self.rate is not None:
            amount("rate", self.rate, 1, " of bits a second")


NONE = Faults()
_FEW = 64
"""Number of held frames up to which those that have arrived need not be looked for."""


@dataclass(slots=True)
class FaultCounters:
    """Counters of the frames of one direction."""

    frames: int = 0
    """Frames that arrived."""
    lost: int = 0
    duplicated: int = 0
    corrupted: int = 0
    delayed: int = 0
    """Frames delayed, for any reason."""
    reordered: int = 0
    dropped: int = 0
    """Frames dropped: by the queue before the rate, or beyond ``limit``."""

    def __add__(self, other: FaultCounters) -> FaultCounters:
        return FaultCounters(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __str__(self) -> str:
        return ", ".join(f"{field.name} {getattr(self, field.name)}" for field in fields(self))


class FaultyPath(Generic[_T]):
    """One direction of a link with faults: decides about each frame, and holds none.

    Any kind of frame will do; by default it is ``bytes``. Example::

        path = FaultyPath(Random(1), Faults(loss=0.1, delay=20_000_000))
        for when, frame in path.put(frame, len(frame), now):
            ...  # deliver it at that time

    Args:
        random: source of all chances, or a function that returns it, which is called when there are any; use a seeded
            one to repeat the same faults.
        faults: the faults; may be changed at any time.
        corrupt: returns a copy of a frame with one wrong bit; called with the frame and ``random``.

    Raises:
        ConfigError: an argument of another type.
    """

    __slots__ = (
        "_corrupt",
        "_faults",
        "_few",
        "_free",
        "_held",
        "_last",
        "_plain_delay",
        "_source",
        "counters",
    )

    @overload
    def __init__(
        self: FaultyPath[bytes], random: Random | Callable[[], Random], faults: Faults = NONE
    ) -> None: ...

    @overload
    def __init__(
        self,
        random: Random | Callable[[], Random],
        faults: Faults = NONE,
        *,
        corrupt: Callable[[_T, Random], _T],
    ) -> None: ...

    def __init__(
        self,
        random: Random | Callable[[], Random],
        faults: Faults = NONE,
        *,
        corrupt: Callable[[Any, Random], Any] = corrupt_bytes,
    ) -> None:
        if not callable(random):
            instance("random", random, Random, "a random.Random, or a function that returns one")
        if corrupt is not corrupt_bytes:
            function("corrupt", corrupt, " that takes a frame and a random.Random")
        self.faults = faults
        self.counters = FaultCounters()
        self._source = random
        self._corrupt = corrupt
        self._held: list[int] = []  # arrival times of the frames under way, for Faults.limit
        self._last = 0  # arrival of the last frame that keeps its place
        self._free = 0  # when the rate allows the next byte, not counting the burst

    @property
    def _random(self) -> Random:
        if not isinstance(self._source, Random):
            self._source = self._source()
        return self._source

    @never_raises
    def __repr__(self) -> str:
        return f"<FaultyPath {self.faults}: {self.counters}>"

    @property
    def faults(self) -> Faults:
        """The faults of frames to come. May be changed at any time."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        instance("faults", faults, Faults, "a Faults, such as Faults(loss=0.01)")
        self._faults = faults
        chances = faults.loss or faults.duplicate or faults.corrupt or faults.jitter or faults.reorder
        self._plain_delay = None if chances or faults.rate is not None else faults.delay
        self._few = min(_FEW, faults.limit)

    def put(self, frame: _T, length: int, now: int) -> list[tuple[int, _T]]:
        """Take a frame; returns its arrivals: none, one, or two.

        Args:
            frame: the frame; not changed, and not kept.
            length: its bytes, which count against the rate.
            now: nanoseconds; never less than in an earlier call.

        Returns:
            Arrival times in nanoseconds, ``now`` or later, each with the frame or a corrupted copy of it. A frame
            that arrives at the same time as an earlier one follows it.
        """
        plain = self.delayed(now)
        if plain is not None:
            return [(plain, frame)]
        faults, counters, held = self._faults, self.counters, self._held
        counters.frames += 1
        while held and held[0] <= now:
            heappop(held)
        if faults.loss and self._random.random() < faults.loss:
            counters.lost += 1
            return []
        copies = [frame]
        if faults.duplicate and self._random.random() < faults.duplicate:
            counters.duplicated += 1
            copies.append(frame)
        arrivals = []
        for copy in copies:
            if faults.corrupt and self._random.random() < faults.corrupt:
                counters.corrupted += 1
                copy = self._corrupt(copy, self._random)
            arrival = self._when(length, now)
            if arrival is None or (arrival > now and len(held) >= faults.limit):
                counters.dropped += 1
                continue
            if arrival > now:
                counters.delayed += 1
                heappush(held, arrival)
            arrivals.append((arrival, copy))
        return arrivals

    def delayed(self, now: int) -> int | None:
        """Take a frame if it is at most delayed; returns its arrival. None: there are other faults, or no room, so
        that :meth:`put` has to take it.
        """
        delay = self._plain_delay
        if delay is None:
            return None
        # The same as the rest without chances and rate.
        counters = self.counters
        when = now + delay
        if when < self._last:
            when = self._last
        if when > now:
            held = self._held
            if len(held) >= self._few:
                held.sort()  # a sorted list is a heap, too
                del held[: bisect_right(held, now)]
                if len(held) >= self._faults.limit:
                    return None
            counters.delayed += 1
            heappush(held, when)
        self._last = when
        counters.frames += 1
        return when

    def _when(self, length: int, now: int) -> int | None:
        """Return the arrival time of a frame; None: the queue before the rate is full."""
        faults = self._faults
        when = now
        if faults.rate is not None:
            # A token bucket as the theoretical arrival time of ATM's GCRA: one number instead of two.
            free = max(self._free, now - faults.burst * 8 * SECOND // faults.rate)
            free += length * 8 * SECOND // faults.rate
            if free > now and (free - now) * faults.rate // (8 * SECOND) > faults.queue:
                return None
            self._free = free
            when = max(now, free)
        when += faults.delay
        if faults.jitter:
            when += self._random.randrange(faults.jitter + 1)
        if faults.reorder and self._random.random() < faults.reorder:
            self.counters.reordered += 1
            return when + faults.reorder_delay
        self._last = when = max(when, self._last)
        return when
