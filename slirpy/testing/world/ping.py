"""Simulated ping sockets."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeAlias

from slirpy.interfaces import Buffer, PingOwner
from slirpy.testing.world.base import SimWorld
from slirpy.testing.world.path import PLAIN, Shape, shaped

__all__ = ["SimPing"]

_Echo: TypeAlias = Callable[["SimPing", int, bytes, bytes, Shape], int]
"""Lets an echo request find its answer: the socket that hears of it, sequence number, payload, address, shape."""


class SimPing:
    """A :class:`~slirpy.interfaces.PingPeer` in memory."""

    __slots__ = ("_address_length", "_echo", "_owner", "_shape", "_sim", "mtu")

    def __init__(self, sim: SimWorld, owner: PingOwner, echo: _Echo, family: int) -> None:
        self._sim = sim
        self._echo = echo
        self._address_length = 4 if family == 4 else 16
        self._owner: PingOwner | None = owner
        self._shape = PLAIN
        self.mtu = 0

    def send(
        self, sequence: int, payload: Buffer, address: bytes, ttl: int = 0, dont_fragment: bool | None = None
    ) -> int:
        """See :meth:`slirpy.interfaces.PingPeer.send`."""
        if self._owner is None:
            return errno.EBADF
        if len(address) != self._address_length:
            return errno.EAFNOSUPPORT
        self._shape = shaped(self._shape, ttl, dont_fragment)
        data = bytes(payload)
        self._sim.record("send_ping", (address, sequence), data)
        return self._echo(self, sequence, data, address, self._shape)

    def tell(self, call: Callable[[PingOwner], None]) -> None:
        """Deliver an arrival to the owner, if there still is one."""
        if self._owner is not None:
            call(self._owner)

    def close(self) -> None:
        """See :meth:`slirpy.interfaces.PingPeer.close`."""
        if self._owner is not None:
            self._owner = None
            self._sim.released(self)
