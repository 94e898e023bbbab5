"""The seam of links: frames between a guest and the stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from slirpy.interfaces.basics import Buffer, Timer
from slirpy.stats import Stats

__all__ = ["READ", "WRITE", "Frame", "Link", "LinkFeatures", "LinkSink", "Poller"]


class Frame(NamedTuple):
    """One outgoing Ethernet frame, towards a guest.

    ``parts`` are the pieces that make up the frame, without padding and without a frame check sequence. They
    are immutable or stay unchanged until the frame is sent; a link that keeps the frame longer joins them.
    """

    parts: Sequence[Buffer]
    gso_size: int = 0
    """With a link that does segmentation offload: payload bytes to a segment, or 0 for a frame that fits."""
    csum_start: int = 0
    """With a link that does checksum offload: where the checksummed part starts, or 0 for a complete frame.

    The checksum field then holds the folded sum of the pseudo-header alone.
    """
    csum_offset: int = 0
    """Offset of the checksum field from ``csum_start``: 16 for TCP, 6 for UDP."""


@dataclass(frozen=True, slots=True)
class LinkFeatures:
    """What a link can do. Read once, when it is attached."""

    mtu: int | None = None
    """Largest IP packet in bytes; None: the network's own ``Config.mtu``."""
    checksum_offload: bool = False
    """The link accepts frames with partial checksums (see :class:`Frame`)."""
    segmentation_offload: bool = False
    """The link accepts TCP frames, IPv4 and IPv6, up to 65535 bytes of IP packet with ``gso_size`` set."""
    udp_segmentation_offload: bool = False
    """The same for UDP: many datagrams of ``gso_size`` bytes, the last perhaps shorter, under one header."""


class Link(Protocol):
    """Carries frames to a guest; what it receives goes to the :class:`LinkSink` that it got at start."""

    @property
    def features(self) -> LinkFeatures: ...

    def start(self, sink: LinkSink, poller: Poller) -> None:
        """Begin to deliver frames to ``sink``; a link with a descriptor registers it with ``poller``."""
        ...

    def send(self, frames: Sequence[Frame]) -> int:
        """Send frames in order and return how many were taken.

        Never blocks. After a short count the link calls :meth:`LinkSink.writable` once there is room again.
        A frame that can never be sent (a dead link, too long) counts as taken and is counted as dropped.
        """
        ...

    def close(self) -> None:
        """Release what the link holds. Harmless when repeated."""
        ...


READ = 1
"""Readiness to read, as :data:`selectors.EVENT_READ`."""
WRITE = 2
"""Readiness to write, as :data:`selectors.EVENT_WRITE`."""


class Poller(Protocol):
    """Tells links and sockets that a descriptor is ready. Level-triggered."""

    def register(self, fd: int, events: int, ready: Callable[[int], None]) -> None:
        """Call ``ready(mask)`` at each poll at which ``fd`` is ready for some of ``events``."""
        ...

    def modify(self, fd: int, events: int, ready: Callable[[int], None]) -> None:
        """Change what is waited for; 0 waits for nothing."""
        ...

    def unregister(self, fd: int) -> None:
        """Forget a descriptor, before it is closed."""
        ...


class LinkSink(Protocol):
    """The stack's side of a link."""

    def input(self, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> None:
        """Take one frame from the guest; it must stay unchanged until the next flush has returned.

        ``checksummed`` says that the transport checksum needs no check, because the frame never left this
        machine's memory or because the link checked it. ``gso_size`` says that the frame stands for TCP segments
        with so many bytes of payload each, as the guest would have cut it; 0: it stands for itself.
        """
        ...

    def writable(self) -> None:
        """The link has room again after a short :meth:`Link.send`."""
        ...

    def lost(self, frames: int) -> None:
        """So many frames counted as taken by :meth:`Link.send` can never be sent."""
        ...

    @property
    def now(self) -> int:
        """Monotonic nanoseconds of the present batch."""
        ...

    @property
    def stats(self) -> Stats:
        """Where a link counts what went wrong on its carrier."""
        ...

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` at the first flush at or after ``when``: for links that hold frames back.

        It may call :meth:`input`, whose consequences are sent by the same flush. A link cancels at its close.
        """
        ...
