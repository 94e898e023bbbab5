"""The stack's side of a link."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Final

from slirpy.errors import ConfigError
from slirpy.interfaces import Buffer, Frame, Link, LinkFeatures, Timer
from slirpy.mypyc import mypyc_attr
from slirpy.records import Protocol
from slirpy.reprs import counted, never_raises
from slirpy.stats import Stats

__all__ = ["LinkPort", "PortOwner", "check_port"]

QUEUE_LIMIT = 1024
"""Maximum number of frames that wait for a link without room."""
QUEUE_BYTES: Final = 4 << 20
"""Maximum total size of waiting frames from other guests, which are copies."""


class Waiter(Protocol):
    """A sender that derives frames from its state, and so can wait for room instead of queueing them."""

    def mark(self) -> None:
        """Ask for service at the next flush."""


class PortOwner(Protocol):
    """Owner of a port: a stack, or a switch without one."""

    @property
    def stats(self) -> Stats:
        """Counters."""

    @property
    def now(self) -> int:
        """Time of the current batch, in nanoseconds."""

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` at the first flush at or after ``when``."""

    def input(self, port: LinkPort, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> bool:
        """Take one frame from a guest, which stays unchanged until the next flush has returned.

        Returns whether it took the slow path.
        """


@mypyc_attr(allow_interpreted_subclasses=True)
class Insertions(abc.ABC):
    """Links around the link of a port, inserted while it runs; see :mod:`slirpy.core.inserted`."""

    __slots__ = ()

    @abc.abstractmethod
    def writable(self) -> None:
        """Note that the port's link has room again."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close all of them."""


@mypyc_attr(allow_interpreted_subclasses=True)
class LinkPort:
    """The stack's side of one link: a bounded queue outwards, and the :class:`~slirpy.interfaces.LinkSink`.

    Args:
        mtu: largest IP packet in bytes that may be sent.
    """

    __slots__ = (
        "_borrowed",
        "_carrier",
        "_owned",
        "_owner",
        "_room_announced",
        "_waiters",
        "blocked",
        "checksum_offload",
        "closed",
        "inserted",
        "link",
        "mtu",
        "out",
        "segmentation_offload",
        "udp_segmentation_offload",
    )

    def __init__(self, owner: PortOwner, link: Link, mtu: int) -> None:
        self._owner = owner
        self.link = link
        self.mtu = mtu
        """Largest IP packet in bytes."""
        self._carrier = link  # or the outermost inserted link
        self.inserted: Insertions | None = None
        self._read_offloads(link.features)
        self.blocked = False
        """True if the link has no room. TCP waits meanwhile."""
        self.closed = False
        """True if the link is detached. Entries of the neighbour table may still name it."""
        self.out: list[Frame] = []
        """Frames that wait for :meth:`flush`; others only look whether there are any."""
        self._borrowed = False  # some of them are views of buffers that last until the flush
        self._owned = 0  # bytes that were copied
        self._room_announced = False  # by writable(), since the last flush began
        self._waiters: dict[Waiter, None] = {}  # each once, however often it asks

    def _read_offloads(self, features: LinkFeatures) -> None:
        self.checksum_offload = features.checksum_offload
        self.segmentation_offload = features.checksum_offload and features.segmentation_offload
        self.udp_segmentation_offload = features.checksum_offload and features.udp_segmentation_offload

    @property
    def owner(self) -> PortOwner:
        """The object that gets the guest's frames."""
        return self._owner

    def divert(self, owner: PortOwner, carrier: Link, inserted: Insertions | None) -> None:
        """Send to another carrier, and pass the guest's frames to another owner, as the inserted links need it."""
        self._owner, self._carrier, self.inserted = owner, carrier, inserted
        self._read_offloads(carrier.features)

    def input(self, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> bool:
        """Pass a frame from the guest to the owner. Returns whether it took the slow path."""
        return self._owner.input(self, frame, checksummed, gso_size)

    def push(self, frame: Frame, length: int) -> None:
        """Queue a frame of ``length`` bytes for the next :meth:`flush`."""
        stats = self._owner.stats
        if self.closed:
            stats.drop_link_dead += 1
            return
        if self.blocked and len(self.out) >= QUEUE_LIMIT:
            stats.drop_link_queue_full += 1
            return
        stats.frames_out += 1
        stats.bytes_out += length
        self.out.append(frame)

    def push_all(self, frames: list[Frame], length: int) -> None:
        """Queue frames of ``length`` bytes each, as :meth:`push`."""
        if self.closed or self.blocked:
            for frame in frames:
                self.push(frame, length)
            return
        stats = self._owner.stats
        stats.frames_out += len(frames)
        stats.bytes_out += length * len(frames)
        self.out += frames

    def forward(self, frame: Frame, length: int) -> None:
        """Queue a frame from another guest, whose parts stay unchanged only until the next :meth:`flush`."""
        if self.blocked and not self.closed:
            if self._owned + length > QUEUE_BYTES:
                self._owner.stats.drop_link_queue_full += 1
                return
            frame = self._own(frame)
        else:
            self._borrowed = True
        LinkPort.push(self, frame, length)  # for a HubPort as well, since the others have it already

    def _own(self, frame: Frame) -> Frame:
        """Copy a frame. Its parts stay separate, since links use the end of the headers."""
        parts = tuple(map(bytes, frame.parts))  # bytes objects are not copied
        self._owned += sum(map(len, parts))
        return frame._replace(parts=parts)

    def wait(self, waiter: Waiter) -> None:
        """Mark ``waiter`` once there is room again."""
        self._waiters[waiter] = None

    def forget(self, waiter: Waiter) -> None:
        """Remove a waiter, so that an ended flow is not kept alive until the link has room."""
        self._waiters.pop(waiter, None)

    def flush(self) -> None:
        """Hand the queued frames to the link."""
        out = self.out
        if not out or self.blocked:
            return
        self.out = []
        self._room_announced = False
        sent = self._carrier.send(out)
        borrowed, self._borrowed = self._borrowed, False
        self._owned = 0
        if sent < len(out):
            rest = out[sent:]
            self.out = (list(map(self._own, rest)) if borrowed else rest) + self.out
            self.blocked = not self._room_announced
            if not self.blocked:  # the link had room again before send() returned; flush again at once
                self._owner.call_at(self._owner.now, _nothing)

    def writable(self) -> None:
        """Note that the link has room again."""
        if self.inserted is not None:
            self.inserted.writable()
        else:
            self.resume()

    def resume(self) -> None:
        """Send again."""
        self.blocked = False
        self._room_announced = True
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            waiter.mark()

    @never_raises
    def __repr__(self) -> str:
        state = ", closed" if self.closed else ", blocked" if self.blocked else ""
        waiting = f", {counted(len(self.out), 'frame')} queued" if self.out else ""
        return f"<{type(self).__name__} of {type(self.link).__name__}, mtu {self.mtu}{waiting}{state}>"

    def close(self) -> None:
        """Close the link, which is detached. Frames that wait for it are dropped."""
        self.closed = True
        self.lost(len(self.out))
        self.out = []
        if self.inserted is not None:
            self.inserted.close()
        self.resume()  # connections continue, if only until they time out
        self.link.close()

    def lost(self, frames: int) -> None:
        """Count frames that the link could not send at all."""
        self._owner.stats.drop_link_dead += frames

    @property
    def now(self) -> int:
        """Time of the stack, in nanoseconds."""
        return self._owner.now

    @property
    def stats(self) -> Stats:
        """Counters of the stack."""
        return self._owner.stats

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        """Start a timer of the stack, for a link that holds frames back."""
        return self._owner.call_at(when, callback)


def _nothing() -> None:
    """Callback of a timer whose only purpose is a flush."""


def check_port(port: object) -> None:
    """Reject what ``attach`` did not return.

    Raises:
        ConfigError: it is no port.
    """
    if not isinstance(port, LinkPort):
        raise ConfigError(f"port must be what attach() returned; given was {port!r}")
