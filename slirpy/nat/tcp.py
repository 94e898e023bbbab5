"""TCP flows: how they are opened, counted and evicted. :mod:`slirpy.nat.tcpflow` has the flows themselves.

Outbound, the guest's SYN is held until the far side has answered, so a connection that the guest sees really
exists. Inbound (hostfwd), the far side connects first and slirpy opens the connection to the guest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from slirpy.core.arrival import Arrival
from slirpy.core.neighbor import Neighbor
from slirpy.core.parts import Parts
from slirpy.core.port import LinkPort
from slirpy.core.ports import free_port
from slirpy.fair import OUTSIDE, Shares
from slirpy.interfaces import FlowRequest, HostNetwork, Inspector, IPProtocol, StreamPeer, Verdict
from slirpy.mypyc import replace
from slirpy.nat.kernel import KernelBuffers
from slirpy.nat.limits import EXHAUSTED, DescriptorLimit
from slirpy.nat.memory import MemoryBudget
from slirpy.nat.outcomes import Pending
from slirpy.nat.oversight import inspected, request_of
from slirpy.nat.refusals import refuse_by_rule
from slirpy.nat.reports import out_of_time
from slirpy.nat.routes import NO_LOG, Refusal, Route, Router, onward_ttl
from slirpy.nat.tcpflow import CONNECT_TIMEOUT, FlowKeeper, NatTcpFlow
from slirpy.tcp import (
    Connection,
    Segment,
    Settings,
    initial_sequence_number,
    next_iss,
    timestamp_offset,
)
from slirpy.tcp.congestion import ALGORITHMS
from slirpy.tcp.window import ORDINARY, WindowPool
from slirpy.units import SECOND
from slirpy.wire.ip import Family, family_of, flow_key, split_key
from slirpy.wire.tcp import HEADER_LENGTH

if TYPE_CHECKING:
    from slirpy.nat.proxies import Proxies

__all__ = ["TcpNat"]

KEEPALIVE_INTERVAL: Final = 75 * SECOND
"""Time between two keep-alives to a guest, unless ``Config.tcp_keepalive`` is less."""
MAX_FLOWS = 32768
"""Maximum number of established connections."""
MAX_OPENING = 4096
"""Maximum number of half-open connections; a flood of them does not affect established ones."""
MAX_TIME_WAIT = 8192
"""Maximum number of closed connections whose last segments may still be repeated."""
WIDE_BYTES = 256 << 20
"""Total size of all grown windows. Beyond it, windows grow less."""
LARGEST_WINDOW: Final = 0xFFFF << 9
"""Bytes of the largest window, 32 MiB less 512: 1.3 Gbit/s over a path of 200 ms."""
WINDOW_SHARE: Final = 16
"""The part of the budget for memory that the windows of one connection may promise each way, if this is more than
an ordinary window."""
ETHERNET_MTU: Final = 1500
"""Largest packet to a guest whose SYN has no MSS option, since it is on our link."""
MAX_PACKET: Final = 65535
"""Bytes of the largest packet, headers included, that is handed to a link which segments it."""
_TIMESTAMPS: Final = 12


class TcpNat(FlowKeeper):
    """Opens, finds and ends TCP flows."""

    def __init__(
        self, parts: Parts, host: HostNetwork, router: Router, descriptors: DescriptorLimit, secret: bytes
    ) -> None:
        self.parts = parts
        self.network = parts.network
        self.neighbors = parts.neighbors
        self.tables = parts.tables
        self.host = host
        self.router = router
        self._secret = secret
        self.opening = Shares(MAX_OPENING)
        self.open = Shares(MAX_FLOWS)
        self.over = Shares(MAX_TIME_WAIT)
        self.memory = MemoryBudget(self.network.config.memory, self._evict_for_memory)
        self._kernel = KernelBuffers(
            self.network, self.tables.tcp_flows, self.memory, self.network.config.memory
        )
        self.windows = WindowPool(min(WIDE_BYTES, self.network.config.memory // 2))
        self._descriptors = descriptors
        descriptors.share(self.opening, self.evict)
        descriptors.share(self.open, self.evict)
        self.proxies: Proxies | None = None
        """Upstream proxies, once they are needed."""
        self._settings: dict[tuple[Family, int, int], Settings] = {}
        self.inspector: Inspector | None = None
        """Makes the inspectors of flows that a name allowed."""

    # ------------------------------------------------------------------------------------- outward

    def open_tcp(self, arrival: Arrival, key: bytes, seg: Segment, previous: Connection | None = None) -> None:
        """Handle a guest's SYN that belongs to no flow, or that replaces ``previous``, which was in TIME-WAIT."""
        network = self.network
        if not self.router.may_open(arrival.port, network.now):
            network.stats.drop_flow_rate += 1  # the guest repeats its SYN
            return
        source, source_port, destination, port = split_key(key)
        service = self.tables.stream_service(destination, port)
        target: Route | Pending | None = None
        request = FlowRequest._of_packet(
            IPProtocol.TCP, source, source_port, destination, port, arrival.port.link, arrival.macs[6:]
        )
        if not self.router.admits:
            refuse_by_rule(self.parts, arrival, key, seg, self.router.refuse(request, NO_LOG))
            return
        if service is None:
            route = self.router.route(request)
            if isinstance(route, Refusal):
                refuse_by_rule(self.parts, arrival, key, seg, route)
                return
            target = route
            if isinstance(target, Route) and not onward_ttl(arrival.header.hop_limit, target.address):
                out_of_time(self.parts, arrival)
                return
        flow = self._new_flow(key, arrival.neighbor, arrival.port, previous=previous)
        flow.conn.listen(network.now)
        flow.input(seg, arrival)
        if isinstance(target, Route):
            self.lead(flow, target, arrival)
            if flow.connecting:  # on the loopback it is decided already, as a rule
                flow.hold(arrival, seg)
            return
        flow.hold(arrival, seg)
        if service is not None:
            self._report(flow, request, None, b"", 0)
            flow.peer = service(flow, request)
        elif target is not None:
            flow.pending = target
            target.then(flow.routed)

    def lead(self, flow: NatTcpFlow, target: Route, arrival: Arrival) -> None:
        """Lead a new flow along its route."""
        flow.outside = not onward_ttl(1, target.address)
        flow.otherwise = target.otherwise
        flow.route = target
        if target.verdict is not None and target.verdict.names and target.request is not None:
            flow.pin = self.router.use(target.request, target.verdict.names[0])
        self._report(flow, target.request, target.verdict, target.address, target.port)
        flow.peer = self.connect(flow, target, arrival)

    def _report(
        self, flow: NatTcpFlow, request: FlowRequest | None, verdict: Verdict | None, address: bytes, port: int
    ) -> None:
        """Report the beginning of a guest's flow to whoever listens to events."""
        network = self.network
        if network.events is not None:
            flow.serial = network.flows_begun = network.flows_begun + 1
            network.events.flow_opened(flow.serial, request or request_of(flow), verdict, address, port, False)

    def connect(self, flow: NatTcpFlow, target: Route, arrival: Arrival) -> StreamPeer:
        """Connect to the far side, with what is left of the SYN's time to live."""
        ttl, port = onward_ttl(arrival.header.hop_limit, target.address), arrival.port
        peer = self._connect(flow, target, ttl)
        if flow.peer_error in EXHAUSTED and self._descriptors.make_room(port, self.network.now):
            flow.peer_error = 0
            peer = self._connect(flow, target, ttl)
        if flow.peer_error in EXHAUSTED:
            self.network.stats.tcp_flows_no_socket += 1
        verdict, request = target.verdict, target.request
        if (
            verdict is None
            or request is None
            or not verdict.names
            or self.inspector is None
            or verdict.tls == "off"
        ):
            return peer
        first = self.inspector(request, verdict)
        return (
            peer if first is None else inspected(self.network, self.router, flow, peer, first, request, verdict)
        )

    def _connect(self, flow: NatTcpFlow, target: Route, ttl: int) -> StreamPeer:
        """Connect directly, through a proxy, or with a header before the guest's data."""
        verdict = target.verdict
        if self.proxies is None and (verdict is None or not (verdict.proxy or verdict.proxy_header)):
            return self.host.connect_tcp(target.address, target.port, flow, ttl)
        names = () if verdict is None else verdict.names
        if not names:
            names = self.router.names_of(target.request or request_of(flow))
        by_name = flow.resolved_outside = bool(names) and self.router.may_say_name(verdict)
        return self.load_proxies().open(flow, flow.key, target, names, ttl, by_name=by_name)

    def load_proxies(self) -> Proxies:
        """Return the upstream proxies; loads their modules, which few networks need."""
        if self.proxies is None:
            from slirpy.nat import proxies

            self.proxies = proxies.Proxies(self.network.config, self.network, self.host)
        return self.proxies

    # -------------------------------------------------------------------------------------- inward

    def open_inbound(
        self, peer: StreamPeer, address: bytes, port: int, guest: bytes, guest_port: int
    ) -> NatTcpFlow:
        """Relay a connection from outside to a guest's port.

        ``address`` and ``port`` are the far side's, as the guest sees them (loopback appears as the gateway). For
        port 0 one is chosen.
        """
        network, flows = self.network, self.tables.tcp_flows
        source = self.router.source_seen(address, guest)
        key = flow_key(guest, guest_port, source, port)
        if not port or key in flows:  # two hosts' loopbacks look alike to the guest
            port = free_port(network.random, 1024, lambda p: flow_key(guest, guest_port, source, p) in flows)
            key = flow_key(guest, guest_port, source, port)
        neighbor = self.neighbors.get(guest)
        link_port = neighbor.port or (network.ports[0] if len(network.ports) == 1 else None)
        flow = self._new_flow(key, neighbor, link_port, address)
        flow.peer = peer
        flow.outside = not onward_ttl(1, address)
        flow.conn.connect(network.now)
        flow.mark()
        if network.events is not None:
            flow.serial = network.flows_begun = network.flows_begun + 1
            network.events.flow_opened(flow.serial, request_of(flow), None, address, port, True)
        return flow

    # ---------------------------------------------------------------------------------------- both

    def _new_flow(
        self,
        key: bytes,
        neighbor: Neighbor,
        port: LinkPort | None,
        outside: bytes | None = None,
        previous: Connection | None = None,
    ) -> NatTcpFlow:
        """Create a flow. ``outside`` is the address of a client that connects from outside."""
        network = self.network
        self.make_room(self.opening)
        iss = initial_sequence_number(self._secret, key, network.now)
        if previous is not None:
            iss = next_iss(previous, iss)
        ts_offset = timestamp_offset(self._secret, key)
        settings = self.settings(port, family_of(neighbor.address))
        conn = Connection(settings, iss, ts_offset=ts_offset, stats=network.stats, pool=self.windows)
        flow = NatTcpFlow(self, key, neighbor, conn, inbound=outside is not None)
        self.tables.tcp_flows[key] = flow
        if outside is None:
            self.opening.add(flow, port, neighbor.address)
        else:
            self.opening.add(flow, OUTSIDE, outside)
        network.stats.tcp_flows += 1
        self._kernel.watch()
        return flow

    def settings(self, port: LinkPort | None, family: Family) -> Settings:
        """Settings for connections through a link."""
        mtu = port.mtu if port is not None else self.network.config.mtu
        headers = family.header_length + HEADER_LENGTH
        burst = MAX_PACKET - headers - _TIMESTAMPS if port is not None and port.segmentation_offload else 0
        cached = self._settings.get((family, mtu, burst))
        if cached is None:
            mss, peer_mss = mtu - headers, ETHERNET_MTU - headers
            chosen = self.network.config.congestion
            idle = self.network.config.tcp_keepalive * SECOND
            window = min(max(self.network.config.memory // WINDOW_SHARE, ORDINARY), LARGEST_WINDOW)
            cached = Settings(
                mss=mss,
                peer_mss=min(mss, peer_mss),
                max_burst=burst,
                emit_runs=not burst,
                rcv_buffer=window,
                snd_buffer=window,
                ecn=True,
                syn_timeout=CONNECT_TIMEOUT,
                congestion=ALGORITHMS[chosen] if isinstance(chosen, str) else chosen,
            )
            if idle:
                interval = min(idle, KEEPALIVE_INTERVAL)
                cached = replace(cached, keepalive=True, keepalive_idle=idle, keepalive_interval=interval)
            self._settings[family, mtu, burst] = cached
        return cached

    def _evict_for_memory(self, flow: NatTcpFlow) -> None:
        self.network.stats.memory_evicted += 1
        self.evict(flow)
