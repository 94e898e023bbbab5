"""A far side whose data are preceded by a header: a client of a forward with the PROXY protocol."""

from __future__ import annotations

from collections.abc import Sequence

from slirpy.interfaces import Buffer, StreamPeer
from slirpy.nat.memory import kernel_memory

__all__ = ["PrecededStream"]


class PrecededStream:
    """A :class:`~slirpy.interfaces.StreamPeer` whose data are preceded by a header.

    Args:
        peer: the far side, whose owner stays the same.
        header: what is received first.
    """

    __slots__ = ("_header", "_peer", "_plain")

    def __init__(self, peer: StreamPeer, header: bytes) -> None:
        self._peer = peer
        self._header = header
        self._plain = False

    @property
    def level_triggered(self) -> bool:
        """True if the far side repeats its announcements, and the last piece came from there."""
        return self._plain and bool(getattr(self._peer, "level_triggered", False))

    def send(self, buffers: Sequence[Buffer]) -> int:
        """See :class:`~slirpy.interfaces.StreamPeer`."""
        return self._peer.send(buffers)

    def recv(self, limit: int) -> bytes | None:
        """See :class:`~slirpy.interfaces.StreamPeer`."""
        if self._header:
            data, self._header = self._header[:limit], self._header[limit:]
            return data
        self._plain = True
        return self._peer.recv(limit)

    def kernel_memory(self) -> int:
        """See :class:`~slirpy.interfaces.StreamPeer`."""
        return kernel_memory(self._peer)

    def shutdown(self) -> None:
        """See :class:`~slirpy.interfaces.StreamPeer`."""
        self._peer.shutdown()

    def abort(self) -> None:
        """See :class:`~slirpy.interfaces.StreamPeer`."""
        self._peer.abort()

    def close(self) -> None:
        """See :class:`~slirpy.interfaces.StreamPeer`."""
        self._peer.close()
