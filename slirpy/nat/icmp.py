"""Outbound ICMP echo, and ICMP errors that guests send about packets they received.

Echo requests leave through ping sockets of the host, one for each address and identifier of a guest. The host's
system assigns its own identifier; the guest gets the answer under the identifier it chose (RFC 5508, section 3.1). If
the system does not allow such sockets, nothing is forged: the guest gets a "prohibited" error.
"""

from __future__ import annotations

import errno
from typing import Final

from slirpy.core.arrival import Arrival
from slirpy.core.parts import Parts
from slirpy.core.translation import is_small, translated_mtu
from slirpy.errortext import errno_name
from slirpy.interfaces import HostNetwork, IcmpReport, IPProtocol, PingPeer
from slirpy.logs import warn
from slirpy.nat.flow import DatagramFlow, DatagramNat
from slirpy.nat.limits import EXHAUSTED, DescriptorLimit
from slirpy.nat.refusals import ERRNO_CAUSES, tell_errno
from slirpy.nat.reports import out_of_time, relay, sent_echo
from slirpy.nat.routes import Route, Router, onward_ttl
from slirpy.nat.udp import UdpNat
from slirpy.units import SECOND
from slirpy.wire import icmp, ipv4
from slirpy.wire.icmps import messages_of
from slirpy.wire.ip import family_of

__all__ = ["IcmpFlow", "IcmpNat"]

IDLE_TIMEOUT: Final = 60 * SECOND
"""RFC 5508, REQ-2, requires at least a minute."""
MAX_FLOWS = 1024
"""Maximum number of flows. Each uses a descriptor of the host."""
MAX_ROUTES = 1024
"""Maximum number of destinations of one flow."""
_ADVICE: Final = (
    "slirpy: guests cannot ping beyond the gateway, because the system gives this process no ping socket (%s); "
    'to allow it to all users: sysctl -w net.ipv4.ping_group_range="0 2147483647"'
)


_SIZES: Final = 4, 16


def _key(guest: bytes, identifier: int, size: int) -> bytes:
    """The key of a guest's flow to hosts whose addresses have ``size`` bytes."""
    return guest + identifier.to_bytes(2, "big") + (b"" if size == len(guest) else b"*")


class IcmpFlow(DatagramFlow[PingPeer]):
    """A guest's (address, identifier), and the ping socket that represents it. Owner of that socket.

    Requests to hosts of the other IP family, which the guest knows under translated addresses, are a flow beside it.
    """

    __slots__ = ("_nat", "_reverse", "_routes", "family")
    protocol = "icmp"

    def __init__(self, nat: IcmpNat, guest: bytes, identifier: int, size: int) -> None:
        super().__init__(nat.network, guest, identifier, _key(guest, identifier, size), IDLE_TIMEOUT)
        self._nat = nat
        self.family = 4 if size == 4 else 6
        """IP version of the socket."""
        self._routes: dict[bytes, bytes] = {}  # the host address, by the address that the guest uses
        self._reverse: dict[bytes, bytes] = {}

    def expire(self) -> None:
        """End the flow because it was idle."""
        self._nat.remove(self)

    def still_reads(self, destination: tuple[bytes, int]) -> bool:
        """Echo requests say no names."""
        return False

    def destinations(self) -> list[tuple[bytes, int]]:
        """Return the addresses that it sends to, as the guest knows them, each with port 0."""
        return [(destination, 0) for destination in self._routes]

    def target(self, destination: bytes) -> bytes | None:
        """Destination of requests to ``destination``; None: no request yet."""
        return self._routes.get(destination)

    def map_destination(self, destination: bytes, address: bytes) -> None:
        """Send requests to ``destination`` to ``address`` from now on."""
        if len(self._routes) >= MAX_ROUTES:
            oldest = next(iter(self._routes))
            gone = self._routes.pop(oldest)
            self.routes.pop((oldest, 0), None)
            if self._reverse.get(gone) == oldest:
                del self._reverse[gone]
        self._routes[destination] = address
        self._reverse[address] = destination

    def send(
        self, arrival: Arrival, peer: PingPeer, address: bytes, ttl: int, sequence: int, payload: memoryview
    ) -> None:
        """Relay a guest's echo request."""
        network = self._nat.network
        header = arrival.header
        self.last_activity = network.now
        self.packets_in += 1
        self.bytes_in += len(payload)
        if self.tallies:
            self.count_sent((header.destination, 0), 1, len(payload))
        dont_fragment = header.dont_fragment
        if len(address) < len(self.guest) and is_small(payload):
            dont_fragment = False
        error = peer.send(sequence, payload, address, ttl, dont_fragment)
        if error in (errno.EAGAIN, errno.ENOBUFS):
            network.stats.drop_icmp_host_full += 1
        elif error:
            network.stats.drop_icmp_host_error += 1
            tell_errno(self._nat.parts.errors, arrival, error, translated_mtu(peer.mtu, address, self.guest))

    def echo_reply(self, sequence: int, payload: bytes, address: bytes, ttl: int) -> None:
        """Relay an answer to the guest, but only from an address that the guest sent a request to."""
        network, parts = self._nat.network, self._nat.parts
        seen = self._reverse.get(address)
        if seen is None:
            network.stats.drop_icmp_unasked += 1
            return
        self.last_activity = network.now
        self.packets_out += 1
        self.bytes_out += len(payload)
        tally = self.tallies.get((seen, 0))
        if tally is not None:
            tally.packets_out += 1
            tally.bytes_out += len(payload)
        messages = messages_of(self.guest)
        rest = self.number << 16 | sequence
        message = messages.build(seen, self.guest, messages.echo_reply, 0, rest, payload)
        neighbor, protocol = parts.neighbors.get(self.guest), family_of(self.guest).icmp
        parts.ip.send(neighbor, seen, self.guest, protocol, message, ttl=max(ttl - 1, 1) if ttl else 64)

    def echo_error(self, sequence: int, report: IcmpReport) -> None:
        """Relay an ICMP error about a request."""
        nat = self._nat
        seen = self._reverse.get(report.address)
        if seen is None:
            nat.network.stats.drop_icmp_unasked += 1
            return
        nat.network.stats.drop_icmp_host_error += 1
        packet = sent_echo(self.guest, self.number, sequence, seen, report)
        relay(nat.parts, nat.router, report, self.guest, seen, packet)


class IcmpNat(DatagramNat[IcmpFlow]):
    """Opens, finds and ends echo flows; see :class:`~slirpy.core.arrival.FlowOpeners`."""

    protocol = IPProtocol.ICMP

    def __init__(
        self, parts: Parts, host: HostNetwork, router: Router, udp: UdpNat, descriptors: DescriptorLimit
    ) -> None:
        super().__init__(parts, host, router, descriptors, MAX_FLOWS)
        self._udp = udp
        self._advised = False

    def input_echo(self, arrival: Arrival, identifier: int, sequence: int, payload: memoryview) -> None:
        """Handle a guest's echo request to the outside."""
        header = arrival.header
        flow, address = self._known(header.source, identifier, header.destination)
        route: Route | None = None
        if address is None:
            route = self.route(arrival, identifier, (header.destination, 0), payload, sequence)
            if route is None:
                return
            address = route.address
            flow = self.flows.get(_key(header.source, identifier, len(address)))
        ttl = onward_ttl(header.hop_limit, address)
        if not ttl:
            out_of_time(self.parts, arrival)
            return
        if flow is None or flow.peer is None:
            flow = self._open(arrival, identifier, len(address))
            if flow is None:
                return
        if flow.target(header.destination) is None:
            flow.map_destination(header.destination, address)
            self.opened(flow, (header.destination, 0), route or Route(address, 0))
        if flow.peer is not None:
            flow.send(arrival, flow.peer, address, ttl, sequence, payload)

    def _known(self, guest: bytes, identifier: int, destination: bytes) -> tuple[IcmpFlow | None, bytes | None]:
        """The flow with earlier requests to a destination, and the host address that they went to."""
        for size in _SIZES:
            flow = self.flows.get(_key(guest, identifier, size))
            address = None if flow is None else flow.target(destination)
            if address is not None:
                return flow, address
        return None, None

    def resume(self, arrival: Arrival, number: int, extra: int, payload: memoryview) -> None:
        """Handle an echo request that has waited; ``extra`` is its sequence number."""
        self.input_echo(arrival, number, extra, payload)

    def count_refused(self, *, by_policy: bool) -> None:
        """Count an echo request that was refused."""
        if by_policy:
            self.network.stats.drop_icmp_policy += 1
        else:
            self.network.stats.drop_icmp_unreachable += 1

    def count_evicted(self) -> None:
        """Count an evicted flow."""
        self.network.stats.icmp_flows_evicted += 1

    def _open(self, arrival: Arrival, identifier: int, size: int) -> IcmpFlow | None:
        """Open a flow with its socket. Returns None, and reports it to the guest, if the system refuses."""
        network = self.network
        if not self.router.may_open(arrival.port, network.now):
            network.stats.drop_flow_rate += 1
            return None
        self.make_room()
        flow = IcmpFlow(self, arrival.header.source, identifier, size)
        peer = self._host.open_ping(flow, flow.family)
        if peer in EXHAUSTED and self._descriptors.make_room(arrival.port, network.now):
            peer = self._host.open_ping(flow, flow.family)
        if isinstance(peer, int):
            flow.close()
            self._refused(arrival, peer)
            return None
        flow.peer = peer
        self.add(flow, arrival.port)
        network.stats.icmp_flows += 1
        return flow

    def _refused(self, arrival: Arrival, error: int) -> None:
        stats = self.network.stats
        if not tell_errno(self.parts.errors, arrival, error):
            stats.drop_icmp_no_socket += 1
            return
        stats.drop_icmp_refused += 1
        if ERRNO_CAUSES.get(error) is icmp.Cause.PROHIBITED and not self._advised:
            self._advised = True
            warn(_ADVICE, errno_name(error))

    def input_error(self, trouble: icmp.Trouble, quote: icmp.Quote) -> bool:
        """Handle a guest's ICMP error about a packet from us; see :class:`~slirpy.core.arrival.FlowOpeners`."""
        second, family = quote.transport[2:4], family_of(quote.destination)
        if quote.protocol == ipv4.TCP:
            return self._tcp_error(trouble, quote)
        ours = quote.source in self.network.addresses
        if quote.protocol == ipv4.UDP:
            refused = trouble.error == errno.ECONNREFUSED
            known = self._udp.guest_error(quote.destination + second, refused)
        elif quote.protocol == family.icmp:
            identifier = int.from_bytes(quote.transport[4:6], "big")
            known = ours or any(_key(quote.destination, identifier, size) in self.flows for size in _SIZES)
        else:
            return False
        if (known or ours) and trouble.error == errno.EMSGSIZE and family.version == 6:
            return self._note_path_mtu(quote, trouble.mtu)
        return known

    def _note_path_mtu(self, quote: icmp.Quote, mtu: int) -> bool:
        """Send a guest smaller IPv6 packets from now on, since no router cuts them. Returns whether that is news.

        Less than the least MTU is not believed, and no report makes packets larger (RFC 8201, section 4).
        """
        neighbor = self.parts.neighbors.get(quote.destination)
        if not family_of(quote.destination).least_mtu <= mtu < (neighbor.path_mtu or quote.total_length):
            return False
        neighbor.path_mtu, neighbor.path_mtu_since = mtu, self.network.now
        return True

    def _tcp_error(self, trouble: icmp.Trouble, quote: icmp.Quote) -> bool:
        first, second = quote.transport[:2], quote.transport[2:4]
        family = family_of(quote.destination)
        flow = self.tables.tcp_flows.get(quote.destination + quote.source + second + first)
        if flow is None:
            return False
        from slirpy.tcp.pathmtu import refused_by_icmp, too_big  # with the engine, for the first connection

        conn, seq = flow.conn, int.from_bytes(quote.transport[4:8], "big")
        if trouble.error == errno.EMSGSIZE:
            taken = too_big(
                conn,
                seq,
                trouble.mtu,
                quote.total_length,
                ip_header=family.header_length,
                least_mtu=family.least_mtu,
            )
        else:
            taken = refused_by_icmp(conn, seq, trouble.error, trouble.hard)
        flow.mark()
        return taken
