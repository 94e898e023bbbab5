"""A link under test, and the guest's side of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from slirpy.checks import instance, switch, whole
from slirpy.config.values import function
from slirpy.errors import ConfigError
from slirpy.interfaces import Link, LinkSink
from slirpy.interfaces.links import check_link
from slirpy.records import Protocol
from slirpy.reprs import counted, never_raises
from slirpy.wire.ethernet import HEADER_LENGTH

__all__ = ["LinkCheck", "LinkFactory", "LinkPeer", "LinkUnderTest", "LocalPeer"]


class LinkPeer(Protocol):
    """The guest's side of a link. No method blocks."""

    def send(self, frame: bytes) -> bool:
        """Send a frame to the link; False: there is no room now."""

    def receive(self) -> list[bytes]:
        """Return the complete frames received from the link since the last call."""

    def close(self) -> None:
        """Disconnect. Harmless when repeated."""


class LocalPeer:
    """The guest's side of a link in the same process.

    Args:
        send: called with each frame from the guest, such as the ``input`` of the link's sink.
        frames: list to which the link appends the frames for the guest.

    Raises:
        ConfigError: ``send`` cannot be called, or ``frames`` is not a list.
    """

    def __init__(self, send: Callable[[bytes], object], frames: list[bytes]) -> None:
        function("send", send, " that takes a frame")
        instance("frames", frames, list, "a list")
        self._send: Callable[[bytes], object] | None = send
        self._frames = frames

    @never_raises
    def __repr__(self) -> str:
        state = "closed" if self._send is None else "open"
        return f"<LocalPeer {state}: {counted(len(self._frames), 'frame')} waiting>"

    def send(self, frame: bytes) -> bool:
        """Pass a frame to the link, which always has room. After :meth:`close` there is nobody to pass it to."""
        if self._send is not None:
            self._send(frame)
        return True

    def receive(self) -> list[bytes]:
        """Return the frames that the link has appended since the last call, and empty the list."""
        received = self._frames.copy()
        self._frames.clear()
        return received

    def close(self) -> None:
        """Send no more. Harmless when repeated."""
        self._send = None


@dataclass
class LinkUnderTest:
    """A link that is not yet started, and its properties.

    Raises:
        ConfigError: a value of another type, or out of range.
    """

    link: Link
    peer: LinkPeer
    longest: int = 65549
    """Bytes of the longest frame that the link carries, 14 to 65549."""
    shortest: int = 14
    """Bytes of the shortest frame, likewise."""
    blocks: bool = True
    """True if the link refuses frames while the peer does not read; otherwise it accepts all, and may lose some."""
    garbage: Callable[[], object] | None = None
    """Makes the peer send malformed data, and reconnect if that ends its connection."""

    def __post_init__(self) -> None:
        check_link("link", self.link)
        for name in ("send", "receive", "close"):
            if not callable(getattr(self.peer, name, None)):
                raise ConfigError(f"peer has no method {name}(), as a LinkPeer has; given was {self.peer!r}")
        whole("longest", self.longest, HEADER_LENGTH, 65549)
        whole("shortest", self.shortest, HEADER_LENGTH, 65549)
        switch("blocks", self.blocks)
        if self.garbage is not None:
            function("garbage", self.garbage)


LinkFactory: TypeAlias = Callable[[LinkSink], LinkUnderTest]
"""Makes a link. The sink is the one that the link will be started with: for links that get frames by a call."""
LinkCheck: TypeAlias = Callable[[LinkFactory], None]
"""Raises AssertionError if the link breaks a rule."""
