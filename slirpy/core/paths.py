"""Entries of UDP's fast path: which frames of a flow it accepts, and where their payload goes.

``nat/udpflow.py`` and ``core/demux.py`` create the entries, ``core/udppath.py`` uses them.
"""

from __future__ import annotations

import abc
from typing import Final

from slirpy.core.arrival import Arrival
from slirpy.core.neighbor import Neighbor
from slirpy.core.port import LinkPort
from slirpy.interfaces import Datagram, DatagramPeer, Service
from slirpy.mypyc import trait
from slirpy.records import NamedTuple
from slirpy.wire import ethernet, ipv4
from slirpy.wire.checksum import ones_sum
from slirpy.wire.headers import layout_of
from slirpy.wire.ip import V6, family_of, split_key

__all__ = ["PENDING_MAX", "ServicePath", "Shape", "UdpPath", "UdpSender", "shape_of"]

PENDING_MAX: Final = 64
"""Datagrams of a flow that wait for the flush. One system call sends no more of them (Linux: ``UDP_MAX_SEGMENTS``),
and where each is refused, the work of more would count in no link's turn."""


@trait
class UdpSender(abc.ABC):
    """The part of a UDP flow that the fast path uses; ``nat/udpflow.py`` derives from it.

    Attributes:
        dirty: whether the next flush services the flow.
        pending: payloads of this batch that wait for the flush, all for ``path``.
        path: the destination of ``pending``.
    """

    # The derived class has the slots, because only one of its bases may have any. To mypy, a literal () would mean
    # that there are none.
    __slots__ = tuple[str, ...]()
    dirty: bool
    pending: list[memoryview]
    path: UdpPath | None

    @abc.abstractmethod
    def mark(self) -> None:
        """Ask for service at the next flush."""

    @abc.abstractmethod
    def send_pending(self) -> None:
        """Send the payloads that wait."""


class Shape(NamedTuple):
    """Header fields that all frames of a flow share."""

    key: bytes
    """The flow key."""
    macs: bytes
    """Destination and source MAC address."""
    neighbor: Neighbor
    word: int
    """Time to live and protocol, as the guest sends them; see :mod:`slirpy.wire.headers`."""
    fragment: int | bytes
    """The IPv4 header's field with DF, as the guest sends it; ``b""`` for IPv6."""
    dont_fragment: bool


def shape_of(arrival: Arrival) -> Shape | None:
    """The shape of later datagrams like this one. None if they cannot take the fast path.

    The fast paths read no options and no extension headers. Frames to a group also go through the switch, to the
    other guests. A reassembled datagram of IPv6 may be fragmented again, which is not true of the next whole one;
    the header of IPv4 tells the two apart.
    """
    header, packet = arrival.header, arrival.packet
    length, family = header.header_length, family_of(header.source)
    if length != family.header_length or header.is_fragment or (family is V6 and not header.dont_fragment):
        return None
    if ethernet.is_multicast(arrival.macs):
        return None
    fragment: int | bytes = b"" if family is V6 else ipv4.DF if header.dont_fragment else 0
    key = bytes(packet[length - 2 * len(header.source) : length + 4])
    word = layout_of(header.source).word(ipv4.UDP, header.hop_limit)
    return Shape(key, arrival.macs, arrival.neighbor, word, fragment, header.dont_fragment)


class _Path:
    """Path from one address and port of a guest to one destination; most attributes are those of its :class:`Shape`.

    Attributes:
        mac: the guest's MAC address alone.
        addresses: sum of the words of both IP addresses.
    """

    __slots__ = ("addresses", "dont_fragment", "fragment", "key", "mac", "macs", "neighbor", "word")

    def __init__(self, shape: Shape) -> None:
        self.key, self.macs, self.neighbor, self.word, self.fragment, self.dont_fragment = shape
        self.mac = self.macs[6:]
        self.addresses = ones_sum(self.key[:-4])


class ServicePath(_Path):
    """Path to a service, in a conversation that the service opened.

    See :meth:`slirpy.interfaces.ServiceNetwork.open_port`.
    """

    __slots__ = ("_destination", "_destination_port", "_service", "_source", "_source_port")

    def __init__(self, shape: Shape, service: Service) -> None:
        super().__init__(shape)
        self._source, self._source_port, self._destination, self._destination_port = split_key(shape.key)
        self._service = service

    def deliver(self, payload: memoryview, port: LinkPort) -> None:
        """Deliver a datagram that came through ``port``."""
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
    """Path to a host outside.

    Attributes:
        leaves_ipv6: whether the guest sends IPv6 to an IPv4 host, so that small packets are sent without DF.
        onward_ttl: time to live of packets that leave the host.
        peer: the host's socket.
        address: address of the far side, as the host knows it.
        port: port of the far side.
    """

    __slots__ = ("address", "flow", "leaves_ipv6", "onward_ttl", "peer", "port")

    def __init__(
        self, shape: Shape, onward_ttl: int, flow: UdpSender, target: tuple[DatagramPeer, bytes, int]
    ) -> None:
        """``target`` is ``peer``, ``address`` and ``port``."""
        super().__init__(shape)
        self.onward_ttl = onward_ttl
        self.flow = flow
        self.peer, self.address, self.port = target
        self.leaves_ipv6 = len(self.address) < len(shape.neighbor.address)
