"""The fast path of UDP: a datagram of a flow that goes where the one before it went, in the same manner.

One ``unpack`` reads all headers, one dict lookup finds the :class:`UdpPath`. What is not exactly the common case
returns False, having changed nothing, and goes the slow way (``core/demux.py`` and ``nat/udp.py``), which lays the
paths. Datagrams of one batch wait for the flush, so that the host's system can take many of them by one call.
Those of a conversation with a service, whose paths ``core/demux.py`` lays, are handed over at once.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Protocol

from slirpy.interfaces import Datagram, DatagramPeer, Service
from slirpy.wire.checksum import ones_sum
from slirpy.wire.ethernet import is_multicast
from slirpy.wire.ipv4 import HEADER_LENGTH, MF, OFFSET_MASK, UDP

if TYPE_CHECKING:
    from slirpy.core.demux import Arrival
    from slirpy.core.neighbor import Neighbor
    from slirpy.core.port import LinkPort
    from slirpy.core.stack import IPStack

__all__ = ["HEADERS_LENGTH", "ServicePath", "UdpPath", "UdpSender", "lay_service_path", "udp_fastpath"]

HEADERS_LENGTH = 42
"""Ethernet, IPv4 without options, UDP."""
# MACs, EtherType; version, TOS, total length, identification, fragment, TTL, protocol, checksum, addresses and
# ports; length, checksum.
_unpack = Struct("!12sHBBHHHBBH12sHH").unpack_from
_PORTS = Struct("!HH")
_FRAGMENT = MF | OFFSET_MASK


class UdpSender(Protocol):
    """A flow, as far as the fast path knows it."""

    dirty: bool
    """Its turn at the next flush is asked for."""
    pending: list[memoryview]
    """Payloads of this batch that wait for the flush, all for ``path``."""
    path: UdpPath | None

    def mark(self) -> None:
        """Ask to be served at the next flush."""

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


def udp_fastpath(stack: IPStack, port: LinkPort, frame: memoryview, checksummed: bool) -> bool:
    """Handle ``frame`` if it is the common case. ``frame`` has at least 42 bytes."""
    macs, ethertype, version, _, total, ident, fragment, ttl, protocol, _, key, length, field = _unpack(frame)
    if protocol != UDP or version != 0x45 or ethertype != 0x0800:
        return False
    path = stack.udp_paths.get(key)
    if path is None or path.ttl != ttl or path.fragment != fragment:
        if not fragment & _FRAGMENT or not ttl:
            return False
        first = path if isinstance(path, UdpPath) and path.ttl == ttl and not path.fragment else None
        return stack.fragments.quick(first, port, frame, macs, key[:8], total, ident, fragment)
    neighbor = path.neighbor
    if path.macs != macs or neighbor.port is not port or total != length + 20:
        return False
    if neighbor.mac != path.mac:  # another card has spoken for this address meanwhile; this frame takes it back
        return False
    end = 34 + length
    if length < 8 or end > len(frame) or ones_sum(frame[14:34]):
        return False
    if field and not checksummed and (ones_sum(frame[26:end]) + UDP + length) % 65535:
        return False
    neighbor.seen = stack.now
    stack.stats.udp_fastpath += 1
    if isinstance(path, ServicePath):
        path.deliver(frame[HEADERS_LENGTH:end], port)
        return True
    flow = path.flow
    if flow.path is not path:
        flow.send_pending()  # a flow's datagrams stay in order, whoever they are for
        flow.path = path
    flow.pending.append(frame[HEADERS_LENGTH:end])
    if not flow.dirty:
        flow.mark()
    return True


def lay_service_path(stack: IPStack, arrival: Arrival, service: Service) -> None:
    """The next datagrams like this one, of a conversation with ``service``, need not go the slow way."""
    header = arrival.header
    plain = header.header_length == HEADER_LENGTH and not header.fragment & (MF | OFFSET_MASK)
    if plain and not is_multicast(arrival.macs):
        key = bytes(arrival.packet[12:24])
        stack.udp_paths[key] = ServicePath(
            key, arrival.macs, arrival.neighbor, header.ttl, header.fragment, service
        )
