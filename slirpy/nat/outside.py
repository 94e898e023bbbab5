"""Ports of a guest's own loopback that lead to the host's.

The reverse of :mod:`slirpy.nat.inside`: sockets that were opened inside the guest listen here, and each client gets a
connection, or a socket for datagrams, to the same service on the host's loopback.
"""

from __future__ import annotations

from slirpy.interfaces import (
    AcceptedStream,
    BoundDatagramPeer,
    DatagramOwner,
    DatagramPeer,
    HostNetwork,
    IcmpReport,
    StreamOwner,
    StreamPeer,
)
from slirpy.nat.inside import Handover, LoopbackForwards, UdpDetour
from slirpy.nat.routes import LOOPBACK, LOOPBACK6

__all__ = ["HostLoopback", "OutwardDatagrams", "accept_outward"]


class HostLoopback:
    """An :class:`~slirpy.nat.inside.Inside` that opens its sockets on the host.

    Args:
        host: the host's network.
        size: bytes of an address of the family, 4 or 16.
    """

    def __init__(self, host: HostNetwork, size: int) -> None:
        self._host = host
        self.guest = LOOPBACK if size == len(LOOPBACK) else LOOPBACK6

    def connect_tcp(self, port: int, owner: StreamOwner) -> StreamPeer:
        """See :meth:`slirpy.nat.inside.Inside.connect_tcp`."""
        return self._host.connect_tcp(self.guest, port, owner)

    def open_udp(self, owner: DatagramOwner) -> DatagramPeer | None:
        """See :meth:`slirpy.nat.inside.Inside.open_udp`."""
        peer = self._host.open_udp(owner, 4 if len(self.guest) == len(LOOPBACK) else 6)
        return None if isinstance(peer, int) else peer


def accept_outward(forwards: LoopbackForwards, port: int, accepted: AcceptedStream) -> StreamOwner:
    """Connect a client inside to a port of the host's loopback."""
    handover = Handover(None)
    forwards.splice(handover, accepted.peer, (accepted.address, accepted.port), port)
    return handover


class OutwardDatagrams:
    """Owner of a UDP socket inside, whose datagrams go to a port of the host's loopback."""

    def __init__(self, forwards: LoopbackForwards, port: int) -> None:
        self._detour = UdpDetour(forwards, port)
        self._socket: BoundDatagramPeer | None = None

    def bind(self, socket: BoundDatagramPeer) -> None:
        """Set the socket, once it is open."""
        self._socket = socket

    def datagram(self, payload: bytes, address: bytes, port: int) -> None:
        """Relay a client's datagram."""
        assert self._socket is not None
        self._detour.send(self._socket.answering, payload, address, port)

    def datagram_error(self, error: int, report: IcmpReport | None = None) -> None:
        """Ignore that a client has gone: its flow ends when it is idle."""
