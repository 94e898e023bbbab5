"""Links around a port's link, put there and taken away while it runs: captures, faults.

Nothing of it is on the path of frames while there are none. With some, the port sends to the outermost one instead of
its link, and what the guest sends passes through them on its way to the port's owner. The link itself, its
descriptor, and everything that knows it by identity (policies, the audit log) are not affected::

    owner, port  --carrier-->  outermost, ..., innermost  -->  link
    owner        <--target---  outermost, ..., innermost  <--  port  <-- link
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from slirpy.core.port import Insertions, LinkPort, PortOwner
from slirpy.interfaces import Buffer, Frame, Link, LinkFeatures, LinkSink, Poller, Timer
from slirpy.records import Protocol
from slirpy.stats import Stats

__all__ = ["Inserted", "InsertedLink", "inserted_at"]


class InsertedLink(Link, LinkSink, Protocol):
    """A link around a link, such as a :class:`~slirpy.links.Middleware`."""


_M = TypeVar("_M", bound=InsertedLink)


class Inserted(Insertions):
    """The inserted links of a port; :func:`inserted_at` returns those of one.

    Args:
        port: the port, which has none yet.
    """

    __slots__ = ("_layers", "_owner", "_port")

    def __init__(self, port: LinkPort) -> None:
        self._port = port
        self._owner = port.owner
        self._layers: list[_Layer] = []

    def add(self, make: Callable[[Link], _M], poller: Poller, *, innermost: bool = False) -> _M:
        """Insert a link, as the outermost or the innermost one; returns it.

        Args:
            make: makes it, around the link that it is given.
            poller: of the thread that drives the network.
            innermost: next to the port's link.
        """
        layer = _Layer(self._owner)
        place = 0 if innermost else len(self._layers)
        layer.inner.carrier = self._layers[-1].middle if place else self._port.link
        middle = make(layer.inner)
        layer.middle = middle
        middle.start(layer, poller)
        self._layers.insert(place, layer)
        self._connect()
        return middle

    def remove(self, middle: InsertedLink) -> None:
        """Take a link away again, and close it. What it holds, it has to pass on before. Harmless when repeated."""
        for layer in self._layers:
            if layer.middle is middle:
                middle.close()
                self._layers.remove(layer)
                self._connect()
                return

    def close(self) -> None:
        """Close all of them, since the port's link is about to be closed."""
        for layer in reversed(self._layers):
            layer.middle.close()
        self._layers = []
        self._connect()

    def writable(self) -> None:
        """Note that the port's link has room again."""
        self._layers[0].middle.writable()

    def _connect(self) -> None:
        """Let each layer send to the one inside it, and pass what arrives to the one outside it."""
        port, carrier = self._port, self._port.link
        target: LinkSink = _Arrival(port, self._owner)
        for layer in self._layers:
            layer.inner.carrier = carrier
            carrier = layer.middle
        for layer in reversed(self._layers):
            layer.target = target
            target = layer.middle
        if self._layers:
            port.divert(_Diversion(self._owner, target), carrier, self)
        else:
            port.divert(self._owner, carrier, None)


def inserted_at(port: LinkPort) -> Inserted:
    """The inserted links of a port, to add some or to remove them."""
    found = port.inserted
    return found if isinstance(found, Inserted) else Inserted(port)


class _Inner:
    """The link that an inserted link has inside."""

    __slots__ = ("carrier",)

    carrier: Link

    @property
    def features(self) -> LinkFeatures:
        return self.carrier.features

    def start(self, sink: LinkSink, poller: Poller) -> None:
        """The real link has been started."""

    def send(self, frames: Sequence[Frame]) -> int:
        return self.carrier.send(frames)

    def close(self) -> None:
        """The real link stays open."""


class _Sink:
    """The part of a sink that is the same everywhere: time and counters."""

    __slots__ = ("_owner",)

    def __init__(self, owner: PortOwner) -> None:
        self._owner = owner

    @property
    def now(self) -> int:
        return self._owner.now

    @property
    def stats(self) -> Stats:
        return self._owner.stats

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        return self._owner.call_at(when, callback)


class _Layer(_Sink):
    """One inserted link and its neighbours: it sends to ``inner``, and this is its sink."""

    __slots__ = ("inner", "middle", "target")

    middle: InsertedLink
    target: LinkSink

    def __init__(self, owner: PortOwner) -> None:
        super().__init__(owner)
        self.inner = _Inner()

    def input(self, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> bool | None:
        return self.target.input(frame, checksummed, gso_size)

    def writable(self) -> None:
        self.target.writable()

    def lost(self, frames: int) -> None:
        self.target.lost(frames)


class _Arrival(_Sink):
    """The sink of the outermost link."""

    __slots__ = ("_port",)

    def __init__(self, port: LinkPort, owner: PortOwner) -> None:
        super().__init__(owner)
        self._port = port

    def input(self, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> bool:
        return self._owner.input(self._port, frame, checksummed, gso_size)

    def writable(self) -> None:
        self._port.resume()

    def lost(self, frames: int) -> None:
        self._port.lost(frames)


class _Diversion(_Sink):
    """The owner of a port with inserted links: what the guest sends goes to the innermost of them."""

    __slots__ = ("_innermost",)

    def __init__(self, owner: PortOwner, innermost: LinkSink) -> None:
        super().__init__(owner)
        self._innermost = innermost

    def input(self, port: LinkPort, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> bool:
        return self._innermost.input(frame, checksummed, gso_size) is not False
