"""The part of a UDP socket that sends several datagrams where nothing is faster than sending each by itself."""

from __future__ import annotations

import abc
from collections.abc import Sequence

from slirpy.interfaces.basics import Buffer

__all__ = ["OneByOne"]


class OneByOne(abc.ABC):
    """Base of a :class:`~slirpy.interfaces.DatagramPeer` whose ``send_many`` calls ``send`` for each datagram."""

    __slots__ = ()

    @abc.abstractmethod
    def send(
        self, payload: Buffer, address: bytes, port: int, ttl: int = 0, dont_fragment: bool | None = None
    ) -> int:
        """See :meth:`slirpy.interfaces.DatagramPeer.send`."""

    def send_many(
        self,
        payloads: Sequence[Buffer],
        address: bytes,
        port: int,
        ttl: int = 0,
        dont_fragment: bool | None = None,
    ) -> tuple[int, int]:
        """See :meth:`slirpy.interfaces.DatagramPeer.send_many`."""
        for sent, payload in enumerate(payloads):
            if error := self.send(payload, address, port, ttl, dont_fragment):
                return sent, error
        return len(payloads), 0
