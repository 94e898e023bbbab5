"""Forwards to services that listen on the guest's own loopback only.

Development servers listen on 127.0.0.1 by default, which frames from outside cannot reach. If sockets can be opened
inside the guest, as in the namespace of ``slirpy run``, a forward that the guest's address refuses is retried at
127.0.0.1 there. A refusal is a RST or an ICMP error for a connection, and ICMP port unreachable for a datagram. A
service that listens on all addresses is still reached by frames and sees the client's address; a service on the
loopback sees 127.0.0.1. If the loopback refuses as well, the client is refused.

With ``local``, clients on the host's loopback go to the guest's at once, and no others do: the two appear as one.

A connection holds two descriptors and the buffers of :mod:`slirpy.nat.splice`, a UDP client one socket inside. The
number of both is bounded; at the bound the entry that has been idle longest is closed.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from itertools import count

from slirpy.core.flows import FlowInfo, report_end
from slirpy.core.parts import Parts
from slirpy.fair import OUTSIDE, Shares
from slirpy.interfaces import (
    DatagramOwner,
    DatagramPeer,
    FlowRequest,
    IcmpReport,
    IPProtocol,
    StreamOwner,
    StreamPeer,
)
from slirpy.nat.flow import DatagramFlow
from slirpy.nat.limits import DescriptorLimit
from slirpy.nat.routes import LOOPBACK, LOOPBACK6
from slirpy.nat.splice import Splice
from slirpy.records import Protocol
from slirpy.units import SECOND
from slirpy.wire.scope import is_loopback

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from dataclasses import replace
else:
    from slirpy.records import replace

__all__ = ["Handover", "Inside", "LoopbackForwards", "UdpDetour"]

_LOOPBACKS = {4: LOOPBACK, 16: LOOPBACK6}
"""By the length of the guest's address."""
MAX_SPLICES = 1024
MAX_CLIENTS = 1024
"""UDP clients of services on the guest's loopback."""
IDLE_TIMEOUT = 240 * SECOND
RECENT = 16
"""Number of datagrams of a forward to keep in case the guest refuses them."""
RECENT_BYTES = 1 << 17
RECENT_TIME = 1 * SECOND
"""Time to keep datagrams. A guest that refuses one does so at once."""


class Inside(Protocol):
    """Opens sockets inside a guest, for its own loopback."""

    @property
    def guest(self) -> bytes:
        """The address of that guest on the network, whose family is that of the loopback."""

    def connect_tcp(self, port: int, owner: StreamOwner) -> StreamPeer:
        """Start to connect to the loopback inside; see :meth:`slirpy.interfaces.HostNetwork.connect_tcp`."""

    def open_udp(self, owner: DatagramOwner) -> DatagramPeer | None:
        """Open a socket for datagrams inside. Datagrams sent before it exists are queued, within a bound."""


class Handover:
    """An owner of a client's stream that passes each call on to the present owner."""

    __slots__ = ("owner",)

    def __init__(self, owner: StreamOwner | None) -> None:
        self.owner = owner

    def connected(self) -> None:
        """See :class:`~slirpy.interfaces.StreamOwner`."""

    def readable(self) -> None:
        """See :class:`~slirpy.interfaces.StreamOwner`."""
        if self.owner is not None:
            self.owner.readable()

    def writable(self) -> None:
        """See :class:`~slirpy.interfaces.StreamOwner`."""
        if self.owner is not None:
            self.owner.writable()

    def failed(self, error: int) -> None:
        """See :class:`~slirpy.interfaces.StreamOwner`."""
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.failed(error)

    def urgent(self, data: bytes) -> None:
        """See :class:`~slirpy.interfaces.StreamPeer`."""
        tell = getattr(self.owner, "urgent", None)
        if tell is not None:
            tell(data)


class LoopbackForwards:
    """All connections and UDP clients that use the loopback of one guest.

    Args:
        parts: of the stack.
        inside: opens the sockets.
        descriptors: the limit that they share with all other flows.
        local: serve clients on the host's loopback only, and those at once; others stay with the guest's address.
        outward: the clients are on a guest's loopback, and the services on the host's.

    Attributes:
        address: the loopback, of the family of the guest's address.
    """

    def __init__(
        self,
        parts: Parts,
        inside: Inside,
        descriptors: DescriptorLimit,
        *,
        local: bool = False,
        outward: bool = False,
    ) -> None:
        self.network = parts.network
        self.local = local
        self._outward = outward
        self._closed_flows = parts.tables.closed_flows
        self.inside = inside
        self.address = _LOOPBACKS[len(inside.guest)]
        self._numbers = count()
        self._splices: Shares[Splice] = Shares(MAX_SPLICES)
        self._open: dict[bytes, Splice] = {}
        self._clients: Shares[_Client] = Shares(MAX_CLIENTS)
        self._known: dict[tuple[DatagramPeer, bytes, int], _Client] = {}
        self._serials: dict[bytes, int] = {}
        """Numbers of the flows that were reported to whoever listens to events, by key."""
        descriptors.share(self._splices, self._evict)
        descriptors.share(self._clients, self._evict_client)

    def key(self) -> bytes:
        """Return a key that no other entry has."""
        return next(self._numbers).to_bytes(8, "big")

    def takes(self, client: bytes) -> bool:
        """Report whether a client at this address is served here, without trying the guest's address before."""
        return self.local and is_loopback(client)

    # ------------------------------------------------------------------------------------------ TCP

    def splice(
        self,
        handover: Handover,
        client: StreamPeer,
        place: tuple[bytes, int],
        port: int,
        outcome: Callable[[int], None] | None = None,
    ) -> None:
        """Connect a client that the guest's address has refused to a port of the guest's loopback.

        ``outcome`` is called with 0 once the connection is established.
        """
        network = self.network
        victim = self._splices.to_evict()
        if victim is not None:
            network.stats.hostfwd_loopback_evicted += 1
            self._evict(victim)
        splice = Splice(network, client, place, (self.address, port), self.key(), self._over)
        splice.on_outcome = outcome
        handover.owner = splice.near
        self._open[splice.key] = splice
        self._splices.add(splice, OUTSIDE, place[0])
        self._begun(IPProtocol.TCP, splice.key, place, port)
        peer = self.inside.connect_tcp(port, splice.far)
        if not splice.far.error:
            splice.far.peer = peer
        splice.mark()

    def _evict(self, splice: Splice) -> None:
        splice.abort(errno.ECONNABORTED)

    def _over(self, splice: Splice, how: str) -> None:
        del self._open[splice.key]
        self._splices.remove(splice)
        self._ended(splice.key, splice.snapshot(self.network.now, how))

    # ------------------------------------------------------------------------------------------ UDP

    def send(self, detour: UdpDetour, via: DatagramPeer, payload: bytes, address: bytes, port: int) -> None:
        """Send a client's datagram to the guest's loopback."""
        known = self._known.get((via, address, port))
        if known is None:
            victim = self._clients.to_evict()
            if victim is not None:
                self.network.stats.hostfwd_loopback_evicted += 1
                self._evict_client(victim)
            known = self._known[via, address, port] = _Client(self, detour, (via, address, port))
            self._clients.add(known, OUTSIDE, address)
            self._begun(IPProtocol.UDP, known.key, (address, port), detour.port)
        known.send(payload)

    def forget(self, client: _Client) -> None:
        """Remove a client whose socket is closed."""
        if self._known.pop(client.place, None) is not None:
            self._clients.remove(client)
            self._ended(client.key, client.snapshot(self.network.now, "CLOSED"))

    def _evict_client(self, client: _Client) -> None:
        client.close()

    # ----------------------------------------------------------------------------------------- both

    @property
    def flow_count(self) -> int:
        """Number of flows."""
        return len(self._open) + len(self._known)

    def flows(self) -> list[FlowInfo]:
        """Snapshots of all of them."""
        now = self.network.now
        splices = [splice.info(now) for splice in self._open.values()]
        return [*map(self._seen, splices + [client.info(now) for client in self._known.values()])]

    def _seen(self, flow: FlowInfo) -> FlowInfo:
        """A flow with the guest's end as the guest's."""
        if not self._outward or flow.host is None:
            return flow
        return replace(
            flow,
            guest=flow.host,
            host=flow.guest,
            inbound=False,
            bytes_in=flow.bytes_out,
            bytes_out=flow.bytes_in,
            packets_in=flow.packets_out,
            packets_out=flow.packets_in,
            queued_in=flow.queued_out,
            queued_out=flow.queued_in,
        )

    def _ended(self, key: bytes, describe: Callable[[], FlowInfo]) -> None:
        serial, events = self._serials.pop(key, 0), self.network.events
        if serial and events is not None:
            report_end(events, serial, self._seen(describe()))
        self._closed_flows.append((lambda: self._seen(describe())) if self._outward else describe)

    def _begun(self, protocol: int, key: bytes, client: tuple[bytes, int], port: int) -> None:
        """Count a flow, and report it: the guest is the source, as of all forwards."""
        network, outward = self.network, self._outward
        if outward:
            network.stats.guest_loopback += 1
        else:
            network.stats.hostfwd_loopback += 1
        if network.events is None:
            return
        service = (self.address if outward else self.inside.guest, port)
        (source, source_port), (far, far_port) = (client, service) if outward else (service, client)
        request = FlowRequest(protocol, source, source_port, far, far_port, host=outward)
        self._serials[key] = network.flows_begun = network.flows_begun + 1
        network.events.flow_opened(network.flows_begun, request, None, far, far_port, not outward)

    def close(self) -> None:
        """Close all of them."""
        for splice in list(self._open.values()):
            splice.abort(errno.ECONNABORTED)
        for client in list(self._known.values()):
            client.close()


class UdpDetour:
    """The part of a UDP forward that can switch over to the guest's loopback.

    Attributes:
        on: whether datagrams go to the loopback: since the guest's address refused one, until the loopback does.
    """

    __slots__ = ("_forwards", "_recent", "_size", "guest", "local", "on", "port")

    def __init__(self, forwards: LoopbackForwards, port: int) -> None:
        self._forwards = forwards
        self.guest = forwards.inside.guest
        self.local = forwards.local
        self._recent: deque[tuple[int, DatagramPeer, bytes, bytes, int]] = deque(maxlen=RECENT)
        self._size = 0
        self.port = port
        self.on = False

    def keep(self, via: DatagramPeer, payload: bytes, address: bytes, port: int) -> None:
        """Keep a datagram that goes to the guest's address, in case it is refused there."""
        now = self._forwards.network.now
        recent = self._recent
        while recent and (
            len(recent) == RECENT
            or self._size + len(payload) > RECENT_BYTES
            or now - recent[0][0] > RECENT_TIME
        ):
            self._size -= len(recent.popleft()[2])
        self._size += len(payload)
        recent.append((now, via, payload, address, port))

    def send(self, via: DatagramPeer, payload: bytes, address: bytes, port: int) -> None:
        """Send a datagram to the guest's loopback."""
        self._forwards.send(self, via, payload, address, port)

    def refused(self) -> None:
        """Switch over to the loopback, because nobody listens at the guest's address; resend what was kept."""
        recent, self._recent = self._recent, deque(maxlen=RECENT)
        self._size = 0
        self.on = True
        since = self._forwards.network.now - RECENT_TIME
        for when, via, payload, address, port in recent:
            if when >= since:
                self.send(via, payload, address, port)


class _Client(DatagramFlow[DatagramPeer]):
    """A UDP client whose datagrams go to the guest's loopback; owner of the client's socket inside."""

    __slots__ = ("_detour", "_forwards", "place")
    protocol = "udp"

    def __init__(
        self, forwards: LoopbackForwards, detour: UdpDetour, place: tuple[DatagramPeer, bytes, int]
    ) -> None:
        super().__init__(
            forwards.network, forwards.address, detour.port, forwards.key(), IDLE_TIMEOUT, inbound=True
        )
        self._forwards = forwards
        self._detour = detour
        self.place = place
        self.peer = forwards.inside.open_udp(self)

    def expire(self) -> None:
        """End the flow because it was idle."""
        self.close()

    def send(self, payload: bytes) -> None:
        """Send a datagram to the service."""
        self.last_activity = self._forwards.network.now
        self.packets_out += 1
        self.bytes_out += len(payload)
        error = self.peer.send(payload, self.guest, self.number) if self.peer is not None else 0
        if error:
            self.datagram_error(error)

    def datagram(self, payload: bytes, address: bytes, port: int) -> None:
        """Pass the service's datagram on to the client; drop those of other programs inside."""
        network = self._forwards.network
        if (address, port) != (self.guest, self.number):
            network.stats.drop_udp_unreachable += 1
            return
        self.last_activity = network.now
        self.packets_in += 1
        self.bytes_in += len(payload)
        via, address, port = self.place
        error = via.send(payload, address, port)
        if error in (errno.EAGAIN, errno.ENOBUFS):
            network.stats.drop_udp_host_full += 1
        elif error:
            network.stats.drop_udp_host_error += 1

    def datagram_error(self, error: int, report: IcmpReport | None = None) -> None:
        """Note a failure. If nobody listens on the loopback, the next datagrams go to the guest's address again."""
        if error in (errno.EAGAIN, errno.ENOBUFS):
            self._forwards.network.stats.drop_udp_host_full += 1
            return
        self._forwards.network.stats.drop_udp_host_error += 1
        if error == errno.ECONNREFUSED:
            self._detour.on = False
            self.close()

    def snapshot(
        self, now: int, state: str = "OPEN", host: tuple[bytes, int] | None = None
    ) -> Callable[[], FlowInfo]:
        """Return a function that describes this flow as it is now, whatever becomes of it."""
        return super().snapshot(now, state, self.place[1:])

    def close(self) -> None:
        """Release the socket. Calling this again does nothing."""
        super().close()
        self._forwards.forget(self)
