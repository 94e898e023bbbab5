"""What the fast path of UDP knows of each flow: which frames it takes, and where their payload goes.

``core/udppath.py`` reads it. ``nat/udp.py`` and ``core/demux.py`` lay the paths.
"""

from __future__ import annotations

import abc
from typing import NamedTuple

from slirpy.core.arrival import Arrival
from slirpy.core.neighbor import Neighbor
from slirpy.core.port import LinkPort
from slirpy.interfaces import Datagram, DatagramPeer, Service
from slirpy.wire import ethernet, ipv4
from slirpy.wire.ip import split_key

__all__ = ["ServicePath", "Shape", "UdpPath", "UdpSender", "shape_of"]


class UdpSender(abc.ABC):
    """A flow, as far as the fast path knows it; ``nat/udp.py`` derives from it.

    Attributes:
        dirty: its turn at the next flush is asked for.
        pending: payloads of this batch that wait for the flush, all for ``path``.
        path: where they go.
    """

    __slots__ = ("dirty", "path", "pending")

    def __init__(self) -> None:
        self.dirty = False
        self.pending: list[memoryview] = []
        self.path: UdpPath | None = None

    @abc.abstractmethod
    def mark(self) -> None:
        """Ask to be served at the next flush."""

    @abc.abstractmethod
    def send_pending(self) -> None:
        """Send what waits."""


class Shape(NamedTuple):
    """What the frames of a flow have in common."""

    key: bytes
    """The flow key."""
    macs: bytes
    """Destination and source MAC address."""
    neighbor: Neighbor
    ttl: int
    """As the guest sends it."""
    fragment: int
    """The IPv4 header's field with DF, as the guest sends it."""


def shape_of(arrival: Arrival) -> Shape | None:
    """The shape of the datagrams that may take the fast path after this one; None: they may not.

    The fast path reads IPv4 without options. The switch must see each frame to a group, for the other guests.
    """
    header, packet = arrival.header, arrival.packet
    if len(header.source) != 4 or header.header_length != ipv4.HEADER_LENGTH or header.is_fragment:
        return None
    if ethernet.is_multicast(arrival.macs):
        return None
    fragment = ipv4.DF if header.dont_fragment else 0
    return Shape(bytes(packet[12:24]), arrival.macs, arrival.neighbor, header.hop_limit, fragment)


class _Path:
    """From one address and port of a guest to one destination; the attributes are those of its :class:`Shape`.

    Attributes:
        mac: the guest's MAC address alone.
    """

    __slots__ = ("fragment", "key", "mac", "macs", "neighbor", "ttl")

    def __init__(self, shape: Shape) -> None:
        self.key, self.macs, self.neighbor, self.ttl, self.fragment = shape
        self.mac = self.macs[6:]


class ServicePath(_Path):
    """To a service, in a conversation that it has opened (:meth:`~slirpy.interfaces.ServiceNetwork.open_port`)."""

    __slots__ = ("_destination", "_destination_port", "_service", "_source", "_source_port")

    def __init__(self, shape: Shape, service: Service) -> None:
        super().__init__(shape)
        self._source, self._source_port, self._destination, self._destination_port = split_key(shape.key)
        self._service = service

    def deliver(self, payload: memoryview, port: LinkPort) -> None:
        """A datagram that came through ``port``."""
        self._service.datagram(
            Datagram(
                self._source,
                self._source_port,
                self._destination,
                self._destination_port,
                payload,
                self.mac,
                port,
            )
        )


class UdpPath(_Path):
    """To the host: how datagrams have been carried on.

    Attributes:
        dont_fragment: whether no router may cut its packets.
        onward_ttl: time to live beyond us.
        peer: the host's socket.
        address: of the far side, as the host knows it; and ``port``.
    """

    __slots__ = ("address", "dont_fragment", "flow", "onward_ttl", "peer", "port")

    def __init__(
        self, shape: Shape, onward_ttl: int, flow: UdpSender, target: tuple[DatagramPeer, bytes, int]
    ) -> None:
        """``target`` is ``peer``, ``address`` and ``port``."""
        super().__init__(shape)
        self.dont_fragment = bool(shape.fragment & ipv4.DF)
        self.onward_ttl = onward_ttl
        self.flow = flow
        self.peer, self.address, self.port = target
