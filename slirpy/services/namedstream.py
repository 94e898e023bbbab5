"""Connections to a host by name: the name is looked up when a guest connects, and each of its addresses is tried."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from slirpy.interfaces import Buffer, HostNetwork, NameAnswer, StreamOwner, StreamPeer

__all__ = ["NamedStream"]


class NamedStream:
    """A :class:`~slirpy.interfaces.StreamPeer` that becomes a connection when the name has an address that answers.

    It owns the connection until it is established, and passes on everything from then on.
    """

    def __init__(self, host: HostNetwork, name: str, port: int, owner: StreamOwner) -> None:
        self._host = host
        self._port = port
        self._owner: StreamOwner | None = owner
        self._addresses: list[bytes] = []
        self._peer: StreamPeer | None = None
        self._connected = False
        self._calling = False
        self._refused = self._shut = False
        """Calls made before the connection was established: a send, an end."""
        self._error = 0
        if not host.lookup(name, self._found):
            self._fail(errno.EAGAIN)

    # ------------------------------------------------------------------------------ before it is made

    def _found(self, answer: NameAnswer) -> None:
        self._addresses = list(answer.addresses)
        self._error = errno.EHOSTUNREACH  # if there are none
        self._try()

    def _try(self) -> None:
        """Connect to the next address that does not fail at once."""
        while self._owner is not None and self._addresses:
            address = self._addresses.pop(0)
            self._error = 0
            self._calling = True
            peer = self._host.connect_tcp(address, self._port, self)
            self._calling = False
            if not self._error:
                self._peer = peer
                if self._connected:
                    self._catch_up()
                return
        self._fail(self._error)

    def _fail(self, error: int) -> None:
        owner, self._owner = self._owner, None
        self._peer = None
        if owner is not None:
            owner.failed(error)

    # -------------------------------------------------------------------- the owner of the connection

    def connected(self) -> None:
        """Note that an address has answered."""
        self._connected = True
        if self._owner is not None:
            self._owner.connected()
        if not self._calling:
            self._catch_up()

    def _catch_up(self) -> None:
        """Repeat the calls that came too early."""
        if self._shut and self._peer is not None:
            self._peer.shutdown()
        if self._refused and self._owner is not None:
            self._refused = False
            self._owner.writable()

    def readable(self) -> None:
        """Pass the call on."""
        if self._owner is not None:
            self._owner.readable()

    def writable(self) -> None:
        """Pass the call on."""
        if self._owner is not None:
            self._owner.writable()

    def failed(self, error: int) -> None:
        """Try the next address, unless the connection was established already."""
        self._error = error
        if not self._calling:
            if self._connected:
                self._fail(error)
            else:
                self._try()

    # ---------------------------------------------------------------------- the peer of the guest's

    @property
    def level_triggered(self) -> bool:
        """See :class:`~slirpy.interfaces.StreamPeer`."""
        return getattr(self._peer, "level_triggered", False)

    def send(self, buffers: Sequence[Buffer]) -> int:
        """See :class:`~slirpy.interfaces.StreamPeer`."""
        if self._peer is None or not self._connected:
            self._refused = True
            return 0
        return self._peer.send(buffers)

    def recv(self, limit: int) -> bytes | None:
        """See :class:`~slirpy.interfaces.StreamPeer`."""
        return None if self._peer is None else self._peer.recv(limit)

    def shutdown(self) -> None:
        """See :class:`~slirpy.interfaces.StreamPeer`."""
        self._shut = True
        if self._peer is not None and self._connected:
            self._peer.shutdown()

    def abort(self) -> None:
        """See :class:`~slirpy.interfaces.StreamPeer`."""
        peer, self._peer, self._owner = self._peer, None, None
        if peer is not None:
            peer.abort()

    def close(self) -> None:
        """See :class:`~slirpy.interfaces.StreamPeer`."""
        peer, self._peer, self._owner = self._peer, None, None
        if peer is not None:
            peer.close()
