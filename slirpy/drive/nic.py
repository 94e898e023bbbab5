"""Handles for the links and cards plugged into a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from slirpy.checks import shown, switch, whole
from slirpy.core.port import LinkPort
from slirpy.errors import ConfigError, StateError
from slirpy.interfaces import Buffer
from slirpy.reprs import counted, never_raises

if TYPE_CHECKING:
    from slirpy.links.callback import CallbackLink
    from slirpy.links.endpoint import Endpoint
    from slirpy.links.listener import StreamListener

Detach: TypeAlias = Callable[[LinkPort], None]
"""Removes a link from its network."""

__all__ = ["Attachment", "GuestListener", "Nic"]

_MAX_SIZE: Final = 65535
"""Maximum of ``gso_size``."""


class Attachment:
    """A plugged-in link, as :meth:`Slirp.attach_link` returns it."""

    __slots__ = ("_detach", "_port", "link")

    def __init__(self, port: LinkPort, detach: Detach) -> None:
        self._detach = detach
        self._port = port
        self.link = port.link
        """The link passed to :meth:`Slirp.attach_link`."""

    @never_raises
    def __repr__(self) -> str:
        state = "removed" if self.closed else f"mtu {self.mtu}"
        return f"<{type(self).__name__} of {type(self.link).__name__}, {state}>"

    def __reduce__(self) -> NoReturn:
        raise StateError("a link cannot leave its process; attach another one to a network there")

    @property
    def mtu(self) -> int:
        """Largest IP packet in bytes: the smaller of the link's and the network's."""
        return self._port.mtu

    @property
    def closed(self) -> bool:
        """True if the link was removed."""
        return self._port.closed

    def close(self) -> None:
        """Remove the link and close it. Harmless when repeated, and after the network's end.

        Flows of the guest on this link stay open, and continue if the guest appears on another link.
        """
        if not self._port.closed:
            self._detach(self._port)


class GuestListener:
    """An address at which guests connect, as :meth:`Slirp.serve` returns it."""

    __slots__ = ("_close", "_listener")

    def __init__(self, listener: StreamListener, close: Callable[[], None]) -> None:
        self._listener = listener
        self._close = close

    @never_raises
    def __repr__(self) -> str:
        state = ", closed" if self._listener.closed else f" at {self.address}"
        return f"<GuestListener{state}, {counted(self.guests, 'guest')}>"

    def __reduce__(self) -> NoReturn:
        raise StateError("a listener cannot leave its process; serve guests of a network there")

    @property
    def address(self) -> Endpoint:
        """Return the listening address, with the chosen port if 0 was requested."""
        return self._listener.address

    @property
    def guests(self) -> int:
        """Return the number of connected guests."""
        return self._listener.guests

    def close(self) -> None:
        """Accept no more guests; connected guests stay. Harmless when repeated, and after the network's end."""
        if not self._listener.closed:
            self._close()


class Nic(Attachment):
    """A guest's network card, as :meth:`Slirp.attach` returns it."""

    __slots__ = ("_take", "inner")

    def __init__(self, port: LinkPort, detach: Detach, inner: CallbackLink, take: Take) -> None:
        super().__init__(port, detach)
        self.inner = inner
        """The innermost link, the one to the guest."""
        self._take = take

    def send(self, frame: Buffer, *, checksummed: bool = False, gso_size: int = 0) -> bool:
        """Take one Ethernet frame (without check sequence) from the guest.

        The frame is used before the call returns; frames for the guest may be delivered during the call. A frame
        sent from within ``on_frame``, or from a thread that does not drive the network, is copied and handled a
        little later.

        Args:
            frame: any contiguous bytes-like object. Malformed frames are counted in ``net.stats``.
            checksummed: the transport checksum need not be checked.
            gso_size: of a large TCP frame, as in a virtio-net header: payload bytes per segment when the frame is
                cut on its way to other guests. The network itself does not need it. 0: the frame is cut to their
                MTU.

        Returns:
            False if 1024 frames are already waiting and this one was dropped (``drop_nic_queue_full``). Frames that
            are handled at once are never dropped this way.

        Raises:
            ConfigError: ``frame`` is not contiguous bytes, or another argument has the wrong type or is out of range.
            StateError: the network is closed, or this card was removed.
        """
        if (checksummed or gso_size) and not (
            type(checksummed) is bool and type(gso_size) is int and 0 <= gso_size <= _MAX_SIZE
        ):
            _refuse_offload(checksummed, gso_size)
        try:
            view = memoryview(frame).cast("B")
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"frame is bytes, or another contiguous buffer; given was {shown(frame)}"
            ) from error
        return self._take(self, (view,), checksummed, gso_size) == 1

    def send_many(self, frames: Iterable[Buffer], *, checksummed: bool = False, gso_size: int = 0) -> int:
        """Take several frames in order, as :meth:`send` does one, and acknowledge them together.

        The cost of each frame is lower than with :meth:`send`.

        Args:
            frames: frames in separate buffers, which must not change before the call returns.
            checksummed: the transport checksums need not be checked.
            gso_size: of the large frames; see :meth:`send`.

        Returns:
            The number of frames accepted, counted from the first; see :meth:`send`.

        Raises:
            ConfigError: as :meth:`send`; no frame of the call is taken then.
            StateError: the network is closed, or this card was removed.
        """
        if (checksummed or gso_size) and not (
            type(checksummed) is bool and type(gso_size) is int and 0 <= gso_size <= _MAX_SIZE
        ):
            _refuse_offload(checksummed, gso_size)
        try:
            views = [memoryview(frame).cast("B") for frame in frames]
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"frames are several of bytes, or of other contiguous buffers; given was {shown(frames)}"
            ) from error
        return self._take(self, views, checksummed, gso_size)


def _refuse_offload(checksummed: bool, gso_size: int) -> None:
    """Raise the error of a wrong argument. The callers have checked already, in line, since each frame pays."""
    switch("checksummed", checksummed)
    whole("gso_size", gso_size, 0, _MAX_SIZE)


Take: TypeAlias = Callable[[Nic, Sequence[memoryview], bool, int], int]
"""Takes a card's frames, in the way that suits the driver of the network; returns the number accepted."""
