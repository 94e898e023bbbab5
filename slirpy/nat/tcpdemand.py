"""The NAT of TCP on demand: its modules and those of the engine, a fifth of all, wait for the first connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from slirpy.core.arrival import Arrival
from slirpy.core.parts import Parts
from slirpy.interfaces import HostNetwork, Inspector, StreamPeer
from slirpy.nat.limits import DescriptorLimit
from slirpy.nat.routes import Router

if TYPE_CHECKING:
    from slirpy.nat.tcp import TcpNat
    from slirpy.nat.tcpflow import NatTcpFlow
    from slirpy.tcp import Segment

__all__ = ["TcpOnDemand"]


class TcpOnDemand:
    """Makes a :class:`~slirpy.nat.tcp.TcpNat` when it is first used.

    Args:
        inspector: makes the inspectors of flows that a name allowed.
        load_fastpath: called once, before that.
    """

    def __init__(
        self,
        parts: Parts,
        host: HostNetwork,
        router: Router,
        descriptors: DescriptorLimit,
        inspector: Inspector,
        load_fastpath: Callable[[], None],
    ) -> None:
        self._parts = parts
        self._host = host
        self._router = router
        self._descriptors = descriptors
        self._inspector = inspector
        self._load_fastpath = load_fastpath
        self._secret = parts.network.random.randbytes(16)
        self._made: TcpNat | None = None

    def load(self) -> TcpNat:
        """Return the NAT of TCP."""
        if self._made is None:
            from slirpy.nat.tcp import TcpNat

            self._load_fastpath()
            self._made = TcpNat(self._parts, self._host, self._router, self._descriptors, self._secret)
            self._made.inspector = self._inspector
        return self._made

    def open_tcp(self, arrival: Arrival, key: bytes, seg: Segment) -> None:
        """See :meth:`slirpy.nat.tcp.TcpNat.open_tcp`."""
        self.load().open_tcp(arrival, key, seg)

    def open_inbound(
        self, peer: StreamPeer, address: bytes, port: int, guest: bytes, guest_port: int
    ) -> NatTcpFlow:
        """See :meth:`slirpy.nat.tcp.TcpNat.open_inbound`."""
        return self.load().open_inbound(peer, address, port, guest, guest_port)
