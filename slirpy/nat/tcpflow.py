"""A TCP flow: a guest's connection through the NAT, and how it is refused, reported and ended.

:mod:`slirpy.nat.pumps` moves its data, :mod:`slirpy.nat.tcp` opens it.
"""

from __future__ import annotations

import abc
import errno
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from typing import Any, Final

from slirpy.config.text import with_port
from slirpy.core.arrival import Arrival
from slirpy.core.flows import FlowInfo, describe, ending, report_end
from slirpy.core.neighbor import Neighbor, Neighbors
from slirpy.core.network import Network
from slirpy.core.parts import Parts
from slirpy.core.pins import Pin
from slirpy.core.port import LinkPort
from slirpy.core.tables import FlowTables
from slirpy.core.tcpflow import TcpFlow
from slirpy.fair import Shares
from slirpy.interfaces import IcmpReport, StreamPeer
from slirpy.mypyc import mypyc_attr
from slirpy.nat.exchange import exchange, exchange6
from slirpy.nat.inspected import InspectedStream
from slirpy.nat.memory import MemoryBudget
from slirpy.nat.outcomes import Pending
from slirpy.nat.pumps import PumpedFlow
from slirpy.nat.refusals import UNHEARD, refuse_by_host, refuse_by_rule
from slirpy.nat.reports import out_of_time
from slirpy.nat.routes import Refusal, Route, Router, onward_ttl
from slirpy.reprs import never_raises
from slirpy.tcp import Connection, Segment, Settings, reopens
from slirpy.tcp.states import CLOSED, ESTABLISHED, SYN_RECEIVED, SYNCHRONIZED, TIME_WAIT
from slirpy.units import SECOND
from slirpy.wire.headers import LAYOUT
from slirpy.wire.ip import Family, family_of, split_key
from slirpy.wire.tcp import ACK, HEADER_LENGTH, RST, SYN

__all__ = ["CONNECT_TIMEOUT", "FlowKeeper", "NatTcpFlow"]

CONNECT_TIMEOUT: Final = 75 * SECOND
"""Time for either side to answer.

Shorter than the three minutes of RFC 9293 (MUST-23), since whoever opens a connection may give up: the other side has
a timeout too, and waits for both."""


@mypyc_attr(allow_interpreted_subclasses=True)
class FlowKeeper(abc.ABC):
    """The NAT, as its flows see it. Keeps them in three tables, and ends them; a subclass opens them.

    Attributes:
        opening: half-open connections.
        open: established connections.
        over: connections in TIME-WAIT.
    """

    parts: Parts
    network: Network
    neighbors: Neighbors
    tables: FlowTables
    router: Router
    memory: MemoryBudget[NatTcpFlow]
    opening: Shares[NatTcpFlow]
    open: Shares[NatTcpFlow]
    over: Shares[NatTcpFlow]

    @abc.abstractmethod
    def open_tcp(self, arrival: Arrival, key: bytes, seg: Segment, previous: Connection | None = None) -> None:
        """Handle a guest's SYN that belongs to no flow, or that replaces ``previous``, which was in TIME-WAIT."""

    @abc.abstractmethod
    def lead(self, flow: NatTcpFlow, target: Route, arrival: Arrival) -> None:
        """Lead a new flow along its route."""

    @abc.abstractmethod
    def connect(self, flow: NatTcpFlow, target: Route, arrival: Arrival) -> StreamPeer:
        """Connect to the far side, with what is left of the SYN's time to live."""

    @abc.abstractmethod
    def settings(self, port: LinkPort | None, family: Family) -> Settings:
        """Settings for connections through a link."""

    def make_room(self, shares: Shares[NatTcpFlow]) -> None:
        """Evict a flow if a table is full."""
        victim = shares.to_evict()
        if victim is not None:
            self.network.stats.tcp_flows_evicted += 1
            self.evict(victim)

    def count(self, flow: NatTcpFlow, shares: Shares[NatTcpFlow]) -> None:
        """Move a flow to another of the three tables."""
        share = flow.share
        if share is None:
            return
        party, who = share.party.name, share.address
        flow.counted.remove(flow)
        self.make_room(shares)
        flow.counted = shares
        shares.add(flow, party, who)

    def evict(self, flow: TcpFlow) -> None:
        """Evict a flow, with resets to both sides."""
        if isinstance(flow, NatTcpFlow) and flow.connecting:
            flow.failed(errno.ECONNABORTED)  # the guest still waits for an answer to its SYN
        else:
            flow.conn.abort(errno.ECONNABORTED)
        flow.service(self.network.now)
        self.remove(flow)

    def remove(self, flow: TcpFlow) -> None:
        """Remove a flow. An entry in the history remains."""
        tables = self.tables
        if tables.tcp_flows.get(flow.key) is flow:
            del tables.tcp_flows[flow.key]
            end = ending(flow.conn.error)
            if isinstance(flow, NatTcpFlow):
                flow.counted.remove(flow)
                self.memory.forget(flow)
                flow.report_end(end)
            tables.closed_flows.append(flow.snapshot(self.network.now, end))
        flow.release()


class NatTcpFlow(PumpedFlow):
    """A guest's connection through the NAT, from its SYN to its end."""

    __slots__ = ("_arrival", "_nat", "_report", "_syn", "connecting", "counted", "inbound", "on_outcome",
                 "on_refused", "otherwise", "outside", "pending", "pin", "resolved_outside",
                 "route")  # fmt: skip
    connects_at_once = True

    def __init__(
        self, nat: FlowKeeper, key: bytes, neighbor: Neighbor, conn: Connection, *, inbound: bool
    ) -> None:
        super().__init__(nat.network, nat.neighbors, key, neighbor, conn, nat.memory)
        self._nat = nat
        self._arrival: Arrival | None = None  # the SYN, as long as it may still have to be refused
        self._syn: Segment | None = None
        self._report: IcmpReport | None = None  # why the far side was unreachable
        self.counted = nat.opening
        """Table that counts it: opening, open, or closed connections."""
        self.inbound = inbound
        self.outside = False
        """True if the guest's segments are relayed beyond the gateway."""
        self.otherwise: bytes | None = None
        """Address to try if nobody listens at that of the route."""
        self.on_refused: Callable[[StreamPeer], None] | None = None
        """Called with the peer, which it takes over, if the guest refuses the connection."""
        self.on_outcome: Callable[[int], None] | None = None
        """Called with 0 when the guest has accepted the connection, and with an ``errno`` value if it is reset."""
        self.connecting = not inbound
        self.read_ready = inbound
        self.pending: Pending | None = None
        """The route, if it is yet to be found."""
        self.pin: Pin | None = None
        """The pin of the name that allowed the flow."""
        self.resolved_outside = False
        """True if a proxy got the name of the destination rather than the address."""
        self.route: Route | None = None
        """The route outside; None: there is none."""

    @never_raises
    def __repr__(self) -> str:
        source, source_port, destination, port = split_key(self.key)
        guest, far = with_port(ip_address(source), source_port), with_port(ip_address(destination), port)
        state = "CONNECTING" if self.connecting else self.conn.state.value
        return (
            f"<NatTcpFlow {guest} {'<-' if self.inbound else '->'} {far}, {state},"
            f" {self.bytes_in} bytes in, {self.bytes_out} out>"
        )

    def routed(self, found: Route | Refusal) -> None:
        """Continue with the route that was pending."""
        self.pending = None
        arrival, syn, nat = self._arrival, self._syn, self._nat
        if arrival is None or syn is None or self.conn.state is not SYN_RECEIVED:
            return  # the guest has given up
        if isinstance(found, Refusal):
            refuse_by_rule(nat.parts, arrival, self.key, syn, found)
        elif not onward_ttl(arrival.header.hop_limit, found.address):
            out_of_time(nat.parts, arrival)
        else:
            nat.lead(self, found, arrival)
            self.mark()
            return
        self._syn = None
        self.conn.close_with(errno.ECONNREFUSED)
        nat.remove(self)

    def hold(self, arrival: Arrival, syn: Segment) -> None:
        """Keep what is needed to refuse the connection later."""
        packet = memoryview(bytes(arrival.packet[: arrival.header.header_length + HEADER_LENGTH]))
        port, neighbor, macs, header, _, checksummed = arrival  # _replace() takes many times as long
        self._arrival = Arrival(port, neighbor, macs, header, packet, checksummed)
        self._syn = Segment(syn.seq, syn.ack, syn.flags, syn.wnd, syn.options, b"", syn.urg)

    # --------------------------------------------------------------------- StreamOwner: events

    def connected(self) -> None:
        """Note that the far side has answered."""
        self.connecting = False
        self._syn = self._arrival = None
        self.mark()

    def reported(self, report: IcmpReport) -> None:
        """Note an ICMP error, from a router or the far host, that rules out the connection."""
        self._report = report

    def writable(self) -> None:
        """Note that the peer accepts data again."""
        if isinstance(self.peer, InspectedStream):
            self.peer.resume()
        super().writable()

    # ------------------------------------------------------------------------------------ service

    def service(self, now: int) -> None:
        """Run both pumps, then send what the connection has to send."""
        conn = self.conn
        if self.connecting:
            self._while_connecting(now)
            return
        if self.alert:
            self._service_alert(now)
            return
        if conn.state is ESTABLISHED and not conn.snd_buf.length:
            serve = exchange if self.layout is LAYOUT else exchange6
            if serve(self, now):
                return
        if conn.rcv_pending:
            self.to_peer()
        if conn.peer_reset:
            self._abort_peer()
        elif (
            conn.fin_seq is not None
            and conn.fin_received
            and not self.shut
            and not conn.rcv_pending
            and self.peer is not None
        ):
            self.shut = True
            self.peer.shutdown()
        if self.read_ready:
            self.from_peer()
        self.finish(now)

    def finish(self, now: int) -> None:
        """Send what the connection has to send, after the pumps."""
        self.output(now)
        conn = self.conn
        if conn.rcv_queue:
            conn.copy_received()
            self.memory.note(self, self.data())
        if conn.state is CLOSED or conn.state is TIME_WAIT:
            self._closed()

    def _service_alert(self, now: int) -> None:
        """Handle a failure of the peer, and note the data that are held after the service."""
        if self.peer_error:
            self._peer_failed()
        self.alert = False
        self.service(now)
        self.alert = bool(self.peer_error)
        self.memory.note(self, self.data())

    def _while_connecting(self, now: int) -> None:
        """Wait for the far side, with the SYN,ACK held back. The attempt may be given up, refused, or time out."""
        conn = self.conn
        if self.peer_error in UNHEARD and self.otherwise is not None and conn.state is SYN_RECEIVED:
            self._connect_to(self.otherwise)
        error = self.peer_error
        if not error and conn.state is not SYN_RECEIVED:
            error = errno.ECONNABORTED  # a RST, or a SYN of another connection
            self._syn = None
        if not error and now - self.started >= CONNECT_TIMEOUT:
            error = errno.ETIMEDOUT
        if not error:
            conn.ack_now = False  # repeated SYNs are not answered
            self.alarm.set(self.started + CONNECT_TIMEOUT)
            return
        if self._syn is not None and self._arrival is not None:
            nat = self._nat
            refuse_by_host(nat.parts, nat.router, self._arrival, self.key, self._syn, error, self._report)
        conn.close_with(error)
        self._abort_peer()
        self._nat.remove(self)

    def _connect_to(self, address: bytes) -> None:
        """Try the second address, as if it had been the first."""
        self.otherwise = self._report = None
        self._abort_peer()
        if self._arrival is not None and self.route is not None:
            self.peer_error = 0
            route = self.route._replace(address=address, otherwise=None)
            self.peer = self._nat.connect(self, route, self._arrival)

    def _peer_failed(self) -> None:
        """Turn a reset by the far side into one to the guest."""
        self.read_ready = False
        if self.peer is not None:
            self.peer.close()
            self.peer = None
        if self.conn.state is not TIME_WAIT:
            self.conn.abort(self.peer_error)

    def _abort_peer(self) -> None:
        peer, self.peer = self.peer, None
        if peer is None:
            return
        if self.on_refused is not None and self.conn.error == errno.ECONNREFUSED:
            self.on_refused(peer)
        else:
            if self.on_outcome is not None:
                self.on_outcome(self.conn.error)
            peer.abort()

    def _closed(self) -> None:
        """Release the peer once it has everything, and the flow once the connection is closed."""
        conn = self.conn
        if conn.state is TIME_WAIT and self.counted is not self._nat.over:
            self._nat.count(self, self._nat.over)
            self.report_end("RESET" if conn.error else "CLOSED")  # nothing more is to come but repetitions
        if conn.error:
            self._abort_peer()
        elif conn.rcv_pending:
            return  # the guest is done, but the peer has yet to take its data
        elif self.peer is not None:
            self.peer.close()
            self.peer = None
        if conn.state is CLOSED:
            self._nat.remove(self)

    def input(self, seg: Segment, arrival: Arrival) -> None:
        """Handle a segment. A SYN may be the first of a new connection between the same ports."""
        conn = self.conn
        if self.outside and self._ends_here(seg, arrival):
            return
        if conn.state is TIME_WAIT and reopens(conn, seg):
            self._nat.remove(self)
            self._nat.open_tcp(arrival, self.key, seg, conn)
            return
        super().input(seg, arrival)

    def take(self, seg: Segment, port: LinkPort) -> None:
        """Handle a segment, and count the flow as open from the last one of its handshake on."""
        conn = self.conn
        opening = conn.state not in SYNCHRONIZED
        super().take(seg, port)
        if opening and conn.state in SYNCHRONIZED:
            self.opened(port)
        if conn.reassembly.size:
            self.alert = True  # the budget has to know

    def opened(self, port: LinkPort) -> None:
        """Count the flow as open."""
        settings = self._nat.settings(port, family_of(self.neighbor.address))
        if settings is not self.conn.settings:
            self.conn.configure(settings)  # the guest is behind another link than assumed
        self._nat.count(self, self._nat.open)
        if self.on_outcome is not None:
            self.on_outcome(0)

    def _ends_here(self, seg: Segment, arrival: Arrival) -> bool:
        """Report whether a segment ends at the gateway because of its time to live."""
        ttl, first = arrival.header.hop_limit, self._arrival
        if (
            self.connecting
            and first is not None
            and seg.flags & (SYN | ACK | RST) == SYN
            and ttl != first.header.hop_limit
        ):
            # The next probe of a traceroute that uses one port: the host must send a SYN with another time to live.
            self._abort_peer()
            self.conn.close_with(errno.ECONNABORTED)
            self._nat.remove(self)
            self._nat.open_tcp(arrival, self.key, seg)
            return True
        if ttl == 1:
            out_of_time(self._nat.parts, arrival)
        return ttl == 1

    def snapshot(self, now: int, end: str | None = None) -> Callable[[], FlowInfo]:
        """Return a function that describes this flow as it is now, whatever becomes of it."""
        conn = self.conn
        return partial(
            _describe,
            self.key,
            end or ("CONNECTING" if self.connecting else conn.state.value),
            self.inbound,
            (self.bytes_in, self.bytes_out),
            (self.packets_in, self.packets_out),
            (conn.rcv_pending, conn.snd_buf.length),
            self.started,
            self.last_activity,
            now,
        )

    def report_end(self, end: str) -> None:
        """Report the end of the flow to whoever listens to events, once."""
        serial, self.serial = self.serial, 0
        network = self._nat.network
        if serial and network.events is not None:
            report_end(network.events, serial, self.info(network.now, end))

    def release(self) -> None:
        """Drop every reference that leads back to this flow."""
        super().release()
        self._arrival = self._syn = self.on_refused = self.on_outcome = None
        if self.pending is not None:
            self.pending.cancel()
            self.pending = None
        if self.pin is not None:
            self._nat.router.release(self.pin)
            self.pin = None


def _describe(key: bytes, state: str, *counts: Any) -> FlowInfo:
    guest, guest_port, far, far_port = split_key(key)
    return describe("tcp", state, (guest, guest_port), (far, far_port), *counts)
