"""UDP flows: how they are opened, found and ended. :mod:`slirpy.nat.udpflow` has the flows themselves."""

from __future__ import annotations

from collections.abc import Callable

from slirpy.core.arrival import Arrival
from slirpy.core.parts import Parts
from slirpy.core.port import LinkPort
from slirpy.fair import OUTSIDE
from slirpy.interfaces import DatagramPeer, HostNetwork, IcmpReport, IPProtocol
from slirpy.nat.limits import DescriptorLimit
from slirpy.nat.routes import Router
from slirpy.nat.udpflow import UdpFlow, UdpSockets
from slirpy.wire.scope import is_link_local

__all__ = ["UdpNat"]

MAX_FLOWS = 4096
"""Maximum number of flows. Each uses a descriptor of the host."""


class UdpNat(UdpSockets):
    """Opens, finds and ends UDP flows."""

    protocol = IPProtocol.UDP

    def __init__(self, parts: Parts, host: HostNetwork, router: Router, descriptors: DescriptorLimit) -> None:
        super().__init__(parts, host, router, descriptors, MAX_FLOWS)
        self.on_refused: Callable[[bytes, int], None] | None = None
        """Called with each (address, port) of a guest at which no program listens."""

    def input_udp(self, arrival: Arrival, source_port: int, destination_port: int, payload: memoryview) -> None:
        """Handle a guest's datagram that no service takes."""
        source = arrival.header.source
        flow = self._answering(arrival, source_port, destination_port)
        if flow is None:
            flow = self.flows.get(source + source_port.to_bytes(2, "big"))
        if flow is None:
            if not self.router.may_open(arrival.port, self.network.now):
                self.network.stats.drop_flow_rate += 1
                return
            # Route first: a refused datagram must not evict a working flow.
            destination = arrival.header.destination, destination_port
            route = self.route(arrival, source_port, destination, payload, destination_port)
            if route is None:
                return
            flow = self.open(source, source_port, arrival.port)
            flow.map_destination(destination, route)
            self.opened(flow, destination, route)
        flow.send(arrival, destination_port, payload)

    def _answering(self, arrival: Arrival, source_port: int, destination_port: int) -> UdpFlow | None:
        """Return the flow that a datagram from a guest's link-local address belongs to, if it is another address's.

        On a transparent network the gateway may be link-local, and a client that appears as the gateway is then
        answered from the address of the same scope (RFC 6724, section 5, rule 2), whatever address it has sent to.
        """
        network, header = self.network, arrival.header
        if not (network.config.transparent and is_link_local(header.source)):
            return None
        flow = self.flows.get(network.config.dhcpstart_address6 + source_port.to_bytes(2, "big"))
        if flow is None or not flow.has_client(header.destination, destination_port):
            return None
        return flow

    def resume(self, arrival: Arrival, number: int, extra: int, payload: memoryview) -> None:
        """Handle a datagram that has waited; ``extra`` is its destination port."""
        self.input_udp(arrival, number, extra, payload)

    def open(self, guest: bytes, port: int, link: LinkPort | None) -> UdpFlow:
        """Create a flow. Its socket is opened when the guest first sends. ``link`` is None if it begins outside."""
        self.make_room()
        flow = UdpFlow(self, guest, port, inbound=link is None)
        self.add(flow, OUTSIDE if link is None else link)
        self.network.stats.udp_flows += 1
        return flow

    def from_forward(
        self, via: DatagramPeer, guest: bytes, guest_port: int, payload: bytes, address: bytes, port: int
    ) -> None:
        """Relay a datagram that arrived at the socket of a forward."""
        flow = self.flows.get(guest + guest_port.to_bytes(2, "big"))
        if flow is None:
            if not self.router.admits:
                return
            flow = self.open(guest, guest_port, None)
        flow.from_forward(via, payload, address, port)

    def forward_error(self, guest: bytes, guest_port: int, error: int, report: IcmpReport | None) -> None:
        """Report an error about a datagram that left through the socket of a forward."""
        flow = self.flows.get(guest + guest_port.to_bytes(2, "big"))
        if flow is not None:
            flow.datagram_error(error, report)
        else:
            self.network.stats.drop_udp_host_error += 1

    def count_refused(self, *, by_policy: bool) -> None:
        """Count a datagram that was refused."""
        if by_policy:
            self.network.stats.drop_udp_policy += 1
        else:
            self.network.stats.drop_udp_unreachable += 1

    def count_evicted(self) -> None:
        """Count an evicted flow."""
        self.network.stats.udp_flows_evicted += 1

    def guest_error(self, key: bytes, refused: bool) -> bool:
        """Handle a guest's error about a datagram to its (address, port). Returns False if there is no flow.

        With ``refused`` no program listens there any more, and the host's socket is closed, so that the host's system
        sends errors to clients of that port.
        """
        flow = self.flows.get(key)
        if flow is None:
            return False
        if refused:
            if flow.peer is not None:
                self.remove(flow)
            if self.on_refused is not None:
                self.on_refused(flow.guest, flow.number)
        return True
