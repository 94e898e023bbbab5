"""What is plugged into a network, as its owner holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from slirpy.core.port import LinkPort
from slirpy.interfaces import Buffer
from slirpy.links.callback import CallbackLink
from slirpy.links.endpoint import Endpoint
from slirpy.links.listener import StreamListener

Detach: TypeAlias = Callable[[LinkPort], None]
"""Takes a link out of its network."""

__all__ = ["Attachment", "Nic", "Serving"]


class Attachment:
    """A link that is plugged in, as :meth:`Slirp.attach_link` returns it."""

    __slots__ = ("_detach", "_port", "link")

    def __init__(self, port: LinkPort, detach: Detach) -> None:
        self._detach = detach
        self._port = port
        self.link = port.link
        """The link that was given."""

    @property
    def mtu(self) -> int:
        """Largest IP packet in bytes: the smaller of the link's and the network's."""
        return self._port.mtu

    @property
    def closed(self) -> bool:
        """Whether it was taken out."""
        return self._port.closed

    def close(self) -> None:
        """Take the link out and close it. Harmless when repeated, and after the network's end.

        Flows of the guest behind it stay, and go on if it appears elsewhere.
        """
        if not self._port.closed:
            self._detach(self._port)


class Serving:
    """An address at which guests connect, as :meth:`Slirp.serve` returns it."""

    __slots__ = ("_close", "_listener")

    def __init__(self, listener: StreamListener, close: Callable[[], None]) -> None:
        self._listener = listener
        self._close = close

    @property
    def address(self) -> Endpoint:
        """Where it listens, with the port that was chosen where 0 was asked for."""
        return self._listener.address

    @property
    def guests(self) -> int:
        """How many are connected."""
        return self._listener.guests

    def close(self) -> None:
        """Accept no more guests; those that are there stay. Harmless when repeated, and after the network's end."""
        if not self._listener.closed:
            self._close()


class Nic(Attachment):
    """A guest's network card, as :meth:`Slirp.attach` returns it."""

    __slots__ = ("_take", "card")

    def __init__(self, port: LinkPort, detach: Detach, card: CallbackLink, take: Take) -> None:
        super().__init__(port, detach)
        self.card = card
        """The innermost link, which knows the guest."""
        self._take = take

    def send(self, frame: Buffer, *, checksummed: bool = False, gso_size: int = 0) -> bool:
        """Take one Ethernet frame (without check sequence) from the guest.

        The frame is used before the call returns; frames for the guest may come during it. From within ``on_frame``,
        and from another thread than the one that drives the network, it is copied and handled a little later.

        Args:
            frame: any contiguous bytes-like object. What is wrong with it is counted in ``net.stats``.
            checksummed: its transport checksum need not be checked.
            gso_size: of a large TCP frame, as in a virtio-net header: bytes of payload to which it is cut on its way
                to other guests. The network itself does not need it. 0: it is cut to their MTU.

        Returns:
            False if 1024 frames wait already, so that this one was dropped (``drop_nic_queue_full``). This cannot
            happen to frames that are handled at once.

        Raises:
            StateError: the network is closed, or this card was taken out.
        """
        return self._take(self, (memoryview(frame).cast("B"),), checksummed, gso_size) == 1

    def send_many(self, frames: Iterable[Buffer], *, checksummed: bool = False, gso_size: int = 0) -> int:
        """Take several frames in order, as :meth:`send` does one, and answer once: with one acknowledgement for all.

        This costs less for each frame than :meth:`send` does.

        Args:
            frames: each in a buffer of its own; none of them may change before the call returns.
            checksummed: their transport checksums need no check.
            gso_size: of those that are larger; see :meth:`send`.

        Returns:
            How many were taken, from the first on; see :meth:`send`.

        Raises:
            StateError: the network is closed, or this card was taken out.
        """
        return self._take(self, [memoryview(frame).cast("B") for frame in frames], checksummed, gso_size)


Take: TypeAlias = Callable[[Nic, Sequence[memoryview], bool, int], int]
"""Takes a card's frames, in the way that suits who drives the network; returns how many."""
