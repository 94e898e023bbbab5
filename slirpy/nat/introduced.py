"""A far side to which something is said before the guest's data: the request to a proxy, or a header."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

from slirpy.core.network import Network
from slirpy.interfaces import Buffer, HostNetwork, StreamOwner, StreamPeer
from slirpy.nat.memory import kernel_memory
from slirpy.nat.upstream import Prologue

__all__ = ["IntroducedStream"]

_READ = 4096


class IntroducedStream:
    """A :class:`~slirpy.interfaces.StreamPeer` before the host's, whose owner it is.

    To its own owner it is connected once the prologue is done; a refusal of the proxy is a failure to connect.

    Args:
        network: serves it at the next flush.
        host: opens the connection.
        owner: whoever uses the stream.
        prologue: says what comes first.
        refused: called with the reason if the proxy refuses; None: it cannot.
    """

    __slots__ = ("_host", "_network", "_out", "_owner", "_places", "_plain", "_prologue", "_refused", "_rest",
                 "_settled", "_shut", "_wants_room", "dirty", "peer")  # fmt: skip

    def __init__(
        self,
        network: Network,
        host: HostNetwork,
        owner: StreamOwner,
        prologue: Prologue,
        refused: Callable[[str], object] | None = None,
    ) -> None:
        self._network = network
        self._host = host
        self._owner: StreamOwner | None = owner
        self._prologue = prologue
        self._refused = refused
        self._places: list[tuple[bytes, int]] = []  # to try if the current one fails
        self._out = b""
        self._rest = b""
        self._plain = True
        self._settled = self._shut = self._wants_room = False
        self.dirty = False
        self.peer: StreamPeer | None = None

    def open(self, places: Sequence[tuple[bytes, int]], ttl: int = 0) -> None:
        """Connect to the first of several addresses and ports that answers."""
        if self._owner is None:
            return  # given up while the name was looked up
        if not places:
            self._fail(errno.EHOSTUNREACH)
            return
        (address, port), *self._places = places
        self.peer = None
        peer = self._host.connect_tcp(address, port, self, ttl)
        if self.peer is None and self._owner is not None:
            self.peer = peer

    # ------------------------------------------------------------------- owner of the host's stream

    def connected(self) -> None:
        """Begin, since the far side has answered."""
        self._places.clear()
        self._out = self._prologue.begin()
        self.mark()

    def readable(self) -> None:
        """Note that there is data."""
        if self._settled and self._owner is not None:
            self._owner.readable()
        else:
            self.mark()

    def writable(self) -> None:
        """Note that there is room."""
        if self._settled and self._owner is not None:
            self._owner.writable()
        else:
            self.mark()

    def failed(self, error: int) -> None:
        """Try the next address, or fail."""
        if self._places:
            self.open(list(self._places))
        else:
            self._fail(error)

    def urgent(self, data: bytes) -> None:
        """Pass an urgent byte on."""
        tell = getattr(self._owner, "urgent", None)
        if tell is not None:
            tell(data)

    def _fail(self, error: int) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.failed(error)

    # -------------------------------------------------------------------------------- the prologue

    def mark(self) -> None:
        """Ask for :meth:`service` at the next flush."""
        if not self.dirty:
            self.dirty = True
            self._network.dirty.append(self)

    def service(self, now: int) -> None:
        """Say and hear what comes before the data."""
        prologue, peer = self._prologue, self.peer
        while peer is not None and not self._settled and self._owner is not None:
            if self._out:
                self._out = self._out[peer.send((self._out,)) :]
                if self._out:
                    return  # writable() comes
            if prologue.error:
                peer.abort()
                self.peer = None
                if self._refused is not None:
                    self._refused(prologue.reason)
                self._fail(prologue.error)
            elif prologue.done:
                self._settle()
            else:
                data = peer.recv(_READ)
                if data is None:
                    return
                self._out = prologue.feed(data)

    def _settle(self) -> None:
        """Become an ordinary stream."""
        self._settled = True
        self._rest = self._prologue.rest
        owner, peer = self._owner, self.peer
        if owner is None or peer is None:
            return
        owner.connected()
        owner.readable()  # there may be something, which was announced to us
        if self._wants_room:
            owner.writable()
        if self._shut:
            peer.shutdown()

    # ----------------------------------------------------------------------- what the owner calls

    @property
    def level_triggered(self) -> bool:
        """True if the far side repeats its announcements, and the last piece came from there."""
        return self._plain and bool(getattr(self.peer, "level_triggered", False))

    def send(self, buffers: Sequence[Buffer]) -> int:
        """See :class:`~slirpy.interfaces.StreamPeer`."""
        if self._settled and self.peer is not None:
            return self.peer.send(buffers)
        self._wants_room = True
        return 0

    def send_urgent(self, data: bytes) -> int:
        """Pass an urgent byte to the far side, as such if it supports that."""
        if not self._settled or self.peer is None:
            return self.send((data,))
        send_urgent = getattr(self.peer, "send_urgent", None)
        return self.peer.send((data,)) if send_urgent is None else int(send_urgent(data))

    def recv(self, limit: int) -> bytes | None:
        """See :class:`~slirpy.interfaces.StreamPeer`."""
        if self._rest:
            data, self._rest = self._rest[:limit], self._rest[limit:]
            self._plain = False
            return data
        self._plain = True
        return self.peer.recv(limit) if self._settled and self.peer is not None else None

    def kernel_memory(self) -> int:
        """See :class:`~slirpy.interfaces.StreamPeer`."""
        return kernel_memory(self.peer)

    def shutdown(self) -> None:
        """See :class:`~slirpy.interfaces.StreamPeer`."""
        self._shut = True
        if self._settled and self.peer is not None:
            self.peer.shutdown()

    def abort(self) -> None:
        """See :class:`~slirpy.interfaces.StreamPeer`."""
        self._owner = None
        self._places.clear()
        if self.peer is not None:
            self.peer.abort()

    def close(self) -> None:
        """See :class:`~slirpy.interfaces.StreamPeer`."""
        self._owner = None
        if self.peer is not None:
            self.peer.close()
