"""What the fast path of UDP knows of each flow: which frames it takes, and where their payload goes.

``core/udppath.py`` reads it. ``nat/udp.py`` and ``core/demux.py`` lay the paths.
"""

from __future__ import annotations

import abc
from struct import Struct

from slirpy.core.neighbor import Neighbor
from slirpy.core.port import LinkPort
from slirpy.interfaces import Datagram, DatagramPeer, Service

__all__ = ["ServicePath", "UdpPath", "UdpSender"]

_PORTS = Struct("!HH")


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


class _Path:
    """From one address and port of a guest to one destination: what its frames look like.

    Attributes:
        key: source, destination, source port, destination port as they lie in the guest's headers.
        macs: destination and source MAC address of the guest's frames.
        mac: the latter alone.
        ttl: time to live, as the guest sends it.
        fragment: the IPv4 header's field with DF, as the guest sends it.
    """

    __slots__ = ("fragment", "key", "mac", "macs", "neighbor", "ttl")

    def __init__(self, key: bytes, macs: bytes, neighbor: Neighbor, ttl: int, fragment: int) -> None:
        self.key = key
        self.macs = macs
        self.mac = macs[6:]
        self.neighbor = neighbor
        self.ttl = ttl
        self.fragment = fragment


class ServicePath(_Path):
    """To a service, in a conversation that it has opened (:meth:`~slirpy.interfaces.ServiceNetwork.open_port`)."""

    __slots__ = ("_destination", "_destination_port", "_service", "_source", "_source_port")

    def __init__(
        self, key: bytes, macs: bytes, neighbor: Neighbor, ttl: int, fragment: int, service: Service
    ) -> None:
        super().__init__(key, macs, neighbor, ttl, fragment)
        self._source, self._destination = key[:4], key[4:8]
        self._source_port, self._destination_port = _PORTS.unpack_from(key, 8)
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
        onward_ttl: time to live beyond us.
        peer: the host's socket.
        address: of the far side, as the host knows it; and ``port``.
    """

    __slots__ = ("address", "flow", "onward_ttl", "peer", "port")

    def __init__(
        self,
        key: bytes,
        macs: bytes,
        neighbor: Neighbor,
        shape: tuple[int, int, int],
        flow: UdpSender,
        target: tuple[DatagramPeer, bytes, int],
    ) -> None:
        """``shape`` is ``ttl``, ``fragment`` and ``onward_ttl``, ``target`` is ``peer``, ``address`` and ``port``."""
        ttl, fragment, self.onward_ttl = shape
        super().__init__(key, macs, neighbor, ttl, fragment)
        self.flow = flow
        self.peer, self.address, self.port = target
