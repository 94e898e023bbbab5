"""The seam of links: frames between a guest and the stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from slirpy.checks import switch, whole
from slirpy.errors import ConfigError
from slirpy.interfaces.basics import Buffer, Timer
from slirpy.records import NamedTuple, Protocol
from slirpy.stats import Stats

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import dataclass
else:
    from dataclasses import dataclass

__all__ = ["READ", "WRITE", "Frame", "Link", "LinkFeatures", "LinkSink", "Poller", "check_link"]

_LEAST_MTU = 68  # of every IPv4 link (RFC 791, section 3.1)


class Frame(NamedTuple):
    """One outgoing Ethernet frame, towards a guest.

    ``parts`` are the pieces of the frame, without padding and without a frame check sequence. They are immutable or
    stay unchanged until the frame is sent; a link that keeps the frame longer joins them.
    """

    parts: Sequence[Buffer]
    gso_size: int = 0
    """With segmentation offload: payload bytes per segment; 0: the frame is not larger than the MTU."""
    csum_start: int = 0
    """With checksum offload: offset at which the checksummed part starts; 0: the checksum is complete.

    The checksum field then holds the folded sum of the pseudo-header alone.
    """
    csum_offset: int = 0
    """Offset of the checksum field from ``csum_start``: 16 for TCP, 6 for UDP."""


@dataclass(frozen=True, slots=True)
class LinkFeatures:
    """The capabilities of a link. Read once, when it is attached.

    Raises:
        ConfigError: a value of another type, or an ``mtu`` that no link can have.
    """

    mtu: int | None = None
    """Largest IP packet in bytes, 68 to 65535; None: the network's own ``Config.mtu``."""
    checksum_offload: bool = False
    """The link accepts frames with partial checksums (see :class:`Frame`)."""
    segmentation_offload: bool = False
    """The link accepts TCP frames, IPv4 and IPv6, up to 65535 bytes of IP packet with ``gso_size`` set."""
    udp_segmentation_offload: bool = False
    """The link accepts UDP frames of many datagrams of ``gso_size`` bytes, the last perhaps shorter, under one
    header.
    """

    def __post_init__(self) -> None:
        if self.mtu is not None:
            whole("the link's mtu", self.mtu, _LEAST_MTU, 65535)
        switch("checksum_offload", self.checksum_offload)
        switch("segmentation_offload", self.segmentation_offload)
        switch("udp_segmentation_offload", self.udp_segmentation_offload)


class Link(Protocol):
    """A carrier of frames to a guest. Frames from the guest go to the :class:`LinkSink` given at start."""

    @property
    def features(self) -> LinkFeatures: ...

    def start(self, sink: LinkSink, poller: Poller) -> None:
        """Begin to deliver frames to ``sink``; a link with a descriptor registers it with ``poller``."""

    def send(self, frames: Sequence[Frame]) -> int:
        """Send frames in order and return the number accepted.

        Never blocks. After a short count the link calls :meth:`LinkSink.writable` once there is room again. A frame
        that can never be sent (a dead link, too long) counts as accepted, and is counted as dropped.
        """

    def close(self) -> None:
        """Release all resources of the link. Harmless when repeated."""


READ = 1
"""Readiness to read, as :data:`selectors.EVENT_READ`."""
WRITE = 2
"""Readiness to write, as :data:`selectors.EVENT_WRITE`."""


class Poller(Protocol):
    """Notifies links and sockets of ready descriptors. Level-triggered."""

    def register(self, fd: int, events: int, ready: Callable[[int], None]) -> None:
        """Call ``ready(mask)`` at each poll at which ``fd`` is ready for any of ``events``."""

    def modify(self, fd: int, events: int, ready: Callable[[int], None]) -> None:
        """Change the events to wait for; 0 waits for nothing."""

    def unregister(self, fd: int) -> None:
        """Forget a descriptor. Call this before the descriptor is closed."""

    def again(self, fd: int) -> None:
        """Call the descriptor's function with READ at the next poll, which does not wait, whether it is ready or not.

        For links with data that they have read, but not handled yet.
        """


class LinkSink(Protocol):
    """The stack's side of a link."""

    def input(self, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> bool | None:
        """Take one frame from the guest; it must stay unchanged until the next flush has returned.

        ``checksummed`` says that the transport checksum needs no check, because the frame never left this machine's
        memory or because the link checked it. ``gso_size`` says that the frame stands for TCP segments with that
        many bytes of payload each, as the guest would have cut it; 0: an ordinary frame.

        Returns True if the frame took the slow path, where it may have opened a socket, for example. A link that
        reads many frames at a time ends its turn with such a frame after :data:`slirpy.fair.TURN`, so that other
        guests do not wait for the rest.
        """

    def writable(self) -> None:
        """The link has room again after a short :meth:`Link.send`."""

    def lost(self, frames: int) -> None:
        """Count frames that :meth:`Link.send` accepted but that can never be sent."""

    @property
    def now(self) -> int:
        """Monotonic nanoseconds of the current batch."""

    @property
    def stats(self) -> Stats:
        """Counters for errors on the link's carrier."""

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` at the first flush at or after ``when``: for links that delay frames.

        The callback may call :meth:`input`; the same flush sends the consequences. A link cancels its timers when it
        closes.
        """


def check_link(what: str, link: object) -> None:
    """Reject objects that lack members of a :class:`~slirpy.interfaces.Link`.

    Raises:
        ConfigError: it is no link.
    """
    methods = all(callable(getattr(link, name, None)) for name in ("start", "send", "close"))
    if isinstance(link, type) or not methods or not isinstance(getattr(link, "features", None), LinkFeatures):
        raise ConfigError(f"{what} is not a link, such as a TapLink or a StreamLink; given was {link!r}")
