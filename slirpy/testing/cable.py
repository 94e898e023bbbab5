"""The cable between the stack and one guest of a :class:`~slirpy.testing.network.VirtualNetwork`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeAlias

from slirpy.checks import instance
from slirpy.interfaces import Frame, LinkFeatures, LinkSink, Poller
from slirpy.links.faultypath import NONE, FaultCounters, Faults, FaultyPath
from slirpy.records import NamedTuple

__all__ = ["Cable", "Cables", "Captured", "Carry", "Fault", "NoPoller"]


class NoPoller:
    """A stub: there are no descriptors in virtual time."""

    def register(self, fd: int, events: int, ready: Callable[[int], None]) -> None: ...

    def modify(self, fd: int, events: int, ready: Callable[[int], None]) -> None: ...

    def unregister(self, fd: int) -> None: ...

    def again(self, fd: int) -> None: ...


class _Sent(NamedTuple):
    time: int
    direction: str
    frame: bytes


class Captured(_Sent):
    """A frame that was sent: a tuple of ``time``, ``direction`` and ``frame``, and its deliveries.

    Attributes:
        time: virtual nanoseconds at which it was sent.
        direction: ``"in"``: from a guest; ``"out"``: to a guest. As in :class:`slirpy.stats.Stats`.
        frame: its bytes.
        delays: additional nanoseconds of each delivery: normally ``(0,)``; ``()`` means that the frame is lost, two
            values that it arrives twice. Not part of the tuple.
        corrupted: True if a delivery has a wrong bit. Not part of the tuple; ``frame`` is without it.
    """

    delays: tuple[int, ...] = (0,)
    corrupted: bool = False

    def __repr__(self) -> str:
        fate = "" if self.delays == (0,) else f", delays={self.delays}"
        fate += ", corrupted" if self.corrupted else ""
        return f"Captured(time={self.time}, direction={self.direction!r}, frame={self.frame!r}{fate})"

    @property
    def lost(self) -> bool:
        """True if it is never delivered."""
        return not self.delays


Fault: TypeAlias = Callable[[str, bytes], int | Sequence[int] | None]
"""Called with direction and frame of each frame that is sent; returns nanoseconds of delay (more than others: out of
order), None to lose it, or a delay for each of several copies.
"""

Carry: TypeAlias = Callable[[str, bytes, Callable[[bytes], object], FaultyPath[bytes]], None]
"""Carries a frame: its direction, the frame, the function that takes it at the other end, and the path."""


class Cable:
    """A link to one guest, with the faults of each direction.

    Args:
        carry: called with each frame.
        mtu: largest IP packet in bytes; None: the network's.
        to_guest: path of frames from the stack.
        from_guest: path of frames from the guest.
    """

    def __init__(
        self, carry: Carry, mtu: int | None, to_guest: FaultyPath[bytes], from_guest: FaultyPath[bytes]
    ) -> None:
        self.features = LinkFeatures(mtu=mtu)
        self.to_guest = to_guest
        self.from_guest = from_guest
        self._carry = carry
        self._to: Callable[[bytes], None] | None = None
        self._from: Callable[[bytes], object] | None = None

    def connect(self, guest: Callable[[bytes], None], stack: Callable[[bytes], object]) -> None:
        """Set the functions that take the frames at both ends."""
        self._to, self._from = guest, stack

    def start(self, sink: LinkSink, poller: Poller) -> None:
        """Do nothing: the network delivers frames."""

    def send(self, frames: Sequence[Frame]) -> int:
        """Accept all frames of the stack."""
        assert self._to is not None
        for frame in frames:
            self._carry("out", b"".join(frame.parts), self._to, self.to_guest)
        return len(frames)

    def input(self, frame: bytes) -> None:
        """Accept a frame of the guest."""
        assert self._from is not None
        self._carry("in", frame, self._from, self.from_guest)

    def close(self) -> None:
        """Do nothing: the link holds no resources."""


class Cables:
    """All cables of a network: they have the same faults, but each is a path in its own right.

    Args:
        seed: seed of all chances.
        faults: faults of both directions.
    """

    def __init__(self, seed: int, faults: Faults) -> None:
        self._random = Random(f"faults {seed}")
        self._to_guest = self._from_guest = NONE
        self._cables: list[Cable] = []
        self.set_to_guest("faults", faults)
        self.set_from_guest("faults", faults)

    def add(self, carry: Carry, mtu: int | None) -> Cable:
        """Make a cable."""
        paths = [
            FaultyPath(Random(self._random.getrandbits(64)), faults)
            for faults in (self._to_guest, self._from_guest)
        ]
        cable = Cable(carry, mtu, *paths)
        self._cables.append(cable)
        return cable

    @property
    def to_guest(self) -> Faults:
        """Faults of frames to all guests."""
        return self._to_guest

    @property
    def from_guest(self) -> Faults:
        """Faults of frames from all guests."""
        return self._from_guest

    def set_to_guest(self, what: str, faults: Faults) -> None:
        """Set the faults of frames to all guests; ``what`` is the name of the caller's argument."""
        self._to_guest = _checked(what, faults)
        for cable in self._cables:
            cable.to_guest.faults = faults

    def set_from_guest(self, what: str, faults: Faults) -> None:
        """Set the faults of frames from all guests; ``what`` is the name of the caller's argument."""
        self._from_guest = _checked(what, faults)
        for cable in self._cables:
            cable.from_guest.faults = faults

    def counters(self) -> tuple[FaultCounters, FaultCounters]:
        """Return the sums of the counters: to the guests, and from them."""
        nothing = FaultCounters()
        return (
            sum((cable.to_guest.counters for cable in self._cables), nothing),
            sum((cable.from_guest.counters for cable in self._cables), nothing),
        )


def _checked(what: str, faults: Faults) -> Faults:
    instance(what, faults, Faults, "a Faults, such as Faults(loss=0.01)")
    return faults
