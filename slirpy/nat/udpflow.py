"""A UDP flow: one host socket for an address and port of a guest.

Mapping is endpoint-independent (RFC 4787, REQ-1). So is filtering, unless a policy or the like restricts what guests
may reach; it is address-dependent then (:mod:`slirpy.nat.contacts`).
"""

from __future__ import annotations

import errno
from itertools import groupby
from typing import Final

from slirpy.core.arrival import Arrival
from slirpy.core.paths import UdpPath, UdpSender, shape_of
from slirpy.core.template import DatagramTemplate
from slirpy.core.translation import is_small, translated_mtu
from slirpy.interfaces import DatagramPeer, IcmpReport, Passed, Refused, Undecided
from slirpy.mypyc import mypyc_attr
from slirpy.nat.contacts import Contacts
from slirpy.nat.flow import DatagramFlow, DatagramNat
from slirpy.nat.limits import EXHAUSTED
from slirpy.nat.refusals import UNHEARD, tell_errno
from slirpy.nat.reports import out_of_time, relay, sent_udp
from slirpy.nat.routes import Route, onward_ttl
from slirpy.nat.trial import Trial
from slirpy.units import SECOND
from slirpy.wire.ip import family_of, split_key

__all__ = ["UdpFlow", "UdpSockets"]

IDLE_TIMEOUT: Final = 240 * SECOND
"""RFC 4787, REQ-5, requires at least two minutes."""
DNS_TIMEOUT: Final = 10 * SECOND
"""Timeout of a flow that has sent only to DNS servers and got its answers: resolvers use a port once."""
DNS_PORT: Final = 53
MAX_PATHS: Final = 64
"""Maximum number of destinations of one flow that have a fast path."""
ALIAS_FIRST: Final = 49152
ALIAS_TRIES: Final = 32
"""The first port that may represent a client's own, and the number of ports to try."""
MAX_ROUTES = 1024
"""Maximum number of destinations of one flow whose routes are remembered."""


@mypyc_attr(allow_interpreted_subclasses=True)
class UdpSockets(DatagramNat["UdpFlow"]):
    """The NAT, as its flows see it: it opens their sockets."""

    def open_socket(self, flow: UdpFlow, address: bytes) -> DatagramPeer | int:
        """Open a flow's socket for destinations like ``address``. Returns the ``errno`` value of a refusal."""
        family = family_of(address).version
        peer = self._host.open_udp(flow, family)
        if peer in EXHAUSTED and flow.share is not None:
            party = flow.share.party.name
            if self._descriptors.make_room(party, self.network.now) and flow.share is not None:
                peer = self._host.open_udp(flow, family)
        return peer

    def refused(self, arrival: Arrival, error: int) -> None:
        """Count, and report to the guest if that concerns it, that the system gave no socket for a datagram."""
        if tell_errno(self.parts.errors, arrival, error):
            self.network.stats.drop_udp_host_error += 1
        else:
            self.network.stats.drop_udp_no_socket += 1


class UdpFlow(DatagramFlow[DatagramPeer], UdpSender):
    """A guest's (address, port), and the socket that represents it. Owner of that socket."""

    __slots__ = ("_aliases", "_contacts", "_nat", "_other", "_paths", "_place_of_batch", "_read", "_reverse",
                 "_source_of_batch", "_targets", "_template", "_trials", "_waiting", "dirty", "dns_only", "path",
                 "pending")  # fmt: skip
    protocol = "udp"

    def __init__(self, nat: UdpSockets, guest: bytes, port: int, *, inbound: bool = False) -> None:
        key = guest + port.to_bytes(2, "big")
        super().__init__(nat.network, guest, port, key, IDLE_TIMEOUT, inbound=inbound)
        self._nat = nat
        self._contacts = Contacts() if nat.router.restricts else None
        self._other: DatagramPeer | None = None
        """The socket for hosts of the other family."""
        self._trials: dict[tuple[bytes, int], Trial] = {}
        """By address and port of the host."""
        self.dirty = False
        self.pending = []
        self.path = None
        self.dns_only = True
        """True if it has sent only to DNS servers."""
        # By the guest's name for it: the socket to use (None: the flow's own), the host address and port.
        self._targets: dict[tuple[bytes, int], tuple[DatagramPeer | None, bytes, int]] = {}
        self._read: dict[tuple[bytes, int], Route] = {}
        """Destinations whose datagrams are all read, since the client may say another name in any."""
        # The reverse, where a policy made the two differ.
        self._reverse: dict[tuple[bytes, int], tuple[bytes, int]] = {}
        # Clients of forwards whose address and port, as the guest sees them, already belonged to another client.
        self._aliases: dict[tuple[DatagramPeer | None, bytes, int], tuple[bytes, int]] = {}
        self._paths: list[UdpPath] = []
        # To the guest: payloads of this batch, and their source as the guest sees it.
        self._waiting: list[bytes] = []
        self._source_of_batch: tuple[bytes, int] | None = None
        self._place_of_batch: tuple[bytes, int] | None = None
        """The host's name for that source, by which the next datagram is compared; None: unknown, or changed."""
        self._template: DatagramTemplate | None = None
        """Sends single datagrams from that source, from the second one on; None: there is none."""

    def idle_timeout(self) -> int:
        """Time without packets after which the flow ends: less for a resolver's that has its answers."""
        return DNS_TIMEOUT if self._is_answered() else IDLE_TIMEOUT

    def expire(self) -> None:
        """End the flow because it was idle."""
        self._nat.remove(self)

    def still_reads(self, destination: tuple[bytes, int]) -> bool:
        """Report whether further datagrams for a destination are read, too."""
        return destination in self._read

    def destinations(self) -> list[tuple[bytes, int]]:
        """Return the addresses and ports that it sends to through its own socket, as the guest knows them."""
        return [seen for seen, (via, _, _) in self._targets.items() if via is None]

    def has_client(self, address: bytes, port: int) -> bool:
        """Report whether the client of a forward appears to the guest at this address and port."""
        target = self._targets.get((address, port))
        return target is not None and target[0] is not None

    def _is_answered(self) -> bool:
        """Report whether this was a resolver's flow, and all its queries have been answered."""
        return self.dns_only and self.packets_out >= self.packets_in

    def send(self, arrival: Arrival, destination_port: int, payload: memoryview) -> None:
        """Relay a guest's datagram."""
        destination = arrival.header.destination, destination_port
        target = self._targets.get(destination)
        if target is None:
            route = self._nat.route(arrival, self.number, destination, payload, destination_port)
            if route is None:
                return
            target = self.map_destination(destination, route)
            self._nat.opened(self, destination, route)
        elif self._read and not self._passes(arrival, destination, payload):
            return
        self.send_pending()  # keep a flow's datagrams in order
        via, address, port = target
        network = self._nat.network
        header = arrival.header
        ttl = onward_ttl(header.hop_limit, address)
        if not ttl:
            out_of_time(self._nat.parts, arrival)
            return
        peer = via or self._socket_for(address)
        self.last_activity = network.now
        self.packets_in += 1
        self.bytes_in += len(payload)
        if self.tallies:
            self.count_sent(destination, 1, len(payload))
        dont_fragment = header.dont_fragment
        if len(address) < len(self.guest) and is_small(payload):
            dont_fragment = False
        error = peer if isinstance(peer, int) else peer.send(payload, address, port, ttl, dont_fragment)
        trial = self._trials.get((address, port)) if self._trials else None
        if trial is not None:
            if not trial.keep(payload, header.hop_limit, header.dont_fragment, network.now):
                del self._trials[address, port]
            elif error in UNHEARD:
                self._send_otherwise(address, port)
                return
            elif not error:
                return  # no fast path yet
        if isinstance(peer, int):
            self._nat.refused(arrival, peer)
        elif error in (errno.EAGAIN, errno.ENOBUFS):
            network.stats.drop_udp_host_full += 1
        elif error:
            network.stats.drop_udp_host_error += 1
            tell_errno(self._nat.parts.errors, arrival, error, translated_mtu(peer.mtu, address, self.guest))
        elif destination not in self._read:
            self._lay_path(arrival, (peer, address, port), ttl)

    def _passes(self, arrival: Arrival, destination: tuple[bytes, int], payload: memoryview) -> bool:
        """Report whether a datagram may go on, where each of them is read. Half a name is dropped, and repeated."""
        route = self._read.get(destination)
        if route is None or route.first is None:
            return True
        finding = route.first.feed(bytes(payload))
        if isinstance(finding, Refused):
            self._nat.refuse(arrival, self._nat.holding.misnamed(route, finding.reason))
        elif isinstance(finding, Undecided):
            self._nat.network.stats.drop_flow_held += 1
        return isinstance(finding, Passed)

    def _socket_for(self, address: bytes) -> DatagramPeer | int:
        """The flow's socket of the family of ``address``, opened if need be; otherwise the ``errno`` value."""
        own = len(address) == len(self.guest)
        peer = self.peer if own else self._other
        if peer is not None:
            return peer
        opened = self._nat.open_socket(self, address)
        if not isinstance(opened, int):
            if own:
                self.peer = opened
            else:
                self._other = opened
        return opened

    # ------------------------------------------------------------------------- the fast path

    def _lay_path(self, arrival: Arrival, target: tuple[DatagramPeer, bytes, int], ttl: int) -> None:
        """Set up the fast path for further datagrams to this destination."""
        shape, paths = shape_of(arrival), self._nat.tables.udp_paths
        if shape is None:
            return
        old = paths.get(shape.key)
        if isinstance(old, UdpPath):
            self._paths.remove(old)
        elif len(self._paths) >= MAX_PATHS:
            self._forget_paths()
        path = paths[shape.key] = UdpPath(shape, ttl, self, target)
        self._paths.append(path)

    def _forget_paths(self) -> None:
        """Remove the fast paths, so that the next datagrams take the slow path."""
        self.send_pending()
        paths = self._nat.tables.udp_paths
        for path in self._paths:
            del paths[path.key]
        self._paths.clear()
        self.path = None

    def mark(self) -> None:
        """Ask for :meth:`service` at the next flush."""
        if not self.dirty:
            self.dirty = True
            self._nat.network.dirty.append(self)

    def service(self, now: int) -> None:
        """Relay, in both directions, what waits for the flush."""
        if self.pending:
            self.send_pending()
        if self._waiting:
            self._deliver()

    def send_pending(self) -> None:
        """Send what the fast path has left for the flush."""
        path = self.path
        if not self.pending or path is None:
            return
        payloads, self.pending = self.pending, []
        self.last_activity = self._nat.network.now
        alone = len(payloads) == 1
        size = len(payloads[0]) if alone else sum(map(len, payloads))
        self.packets_in += len(payloads)
        self.bytes_in += size
        if self.tallies:
            _, _, destination, port = split_key(path.key)
            self.count_sent((destination, port), len(payloads), size)
        if alone and not path.leaves_ipv6:
            error = path.peer.send(payloads[0], path.address, path.port, path.onward_ttl, path.dont_fragment)
            if error:
                self._not_sent(payloads, 0, error)
        elif path.leaves_ipv6:
            for small, run in groupby(payloads, is_small):
                self._send_many(path, list(run), path.dont_fragment and not small)
        else:
            self._send_many(path, payloads, path.dont_fragment)

    def _send_many(self, path: UdpPath, payloads: list[memoryview], dont_fragment: bool) -> None:
        while payloads:
            sent, error = path.peer.send_many(payloads, path.address, path.port, path.onward_ttl, dont_fragment)
            if not error:
                return
            payloads = self._not_sent(payloads, sent, error)

    def _not_sent(self, payloads: list[memoryview], sent: int, error: int) -> list[memoryview]:
        """Handle a datagram that the system refused; returns those after it that are still to be sent."""
        stats = self._nat.network.stats
        if error in (errno.EAGAIN, errno.ENOBUFS):
            stats.drop_udp_host_full += len(payloads) - sent
            return []
        stats.drop_udp_host_error += 1
        self._forget_paths()  # the next one takes the slow path, which reports the reason to the guest
        return payloads[sent + 1 :]

    # -----------------------------------------------------------------------------------------------

    def map_destination(
        self, destination: tuple[bytes, int], route: Route
    ) -> tuple[DatagramPeer | None, bytes, int]:
        """Send datagrams for ``destination`` along ``route`` from now on."""
        target = None, route.address, route.port
        self._remember(destination, target)
        if route.first is not None:
            self._read[destination] = route
        place = route.address, route.port
        plain = self._nat.router.source_seen(route.address, self.guest), route.port
        if self._nat.network.is_broadcast(destination[0]):
            return target
        if plain != destination or len(route.address) != len(self.guest):
            # A policy redirected it: answers must come from the address that the guest sent to.
            self._reverse[place] = destination
        else:
            self._reverse.pop(place, None)
        if route.otherwise is not None:
            self._trials[place] = Trial(destination, Route(route.otherwise, route.port), self._nat.network.now)
        return target

    def _send_otherwise(self, address: bytes, port: int) -> None:
        """End the trial of a place at which nobody listens: send its datagrams to the other one."""
        trial = self._trials.pop((address, port))
        _, address, port = self.map_destination(trial.destination, trial.otherwise)
        peer = self._socket_for(address)
        if isinstance(peer, int):
            self._nat.network.stats.drop_udp_no_socket += len(trial.kept)
        else:
            for kept in trial.kept:
                peer.send(kept.payload, address, port, onward_ttl(kept.hop_limit, address), kept.dont_fragment)

    def _remember(self, seen: tuple[bytes, int], target: tuple[DatagramPeer | None, bytes, int]) -> None:
        if len(self._targets) >= MAX_ROUTES:  # drop the oldest: a port scan gets errors about its latest probes
            oldest = next(iter(self._targets))
            gone = _, address, port = self._targets.pop(oldest)
            self._read.pop(oldest, None)
            self.routes.pop(oldest, None)
            self._forget_contact(gone)
            self._aliases.pop(gone, None)
            if self._reverse.get((address, port)) == oldest:
                del self._reverse[address, port]
            self._trials.pop((address, port), None)
        self._forget_paths()
        self._place_of_batch = None
        if self._contacts is not None:
            self._forget_contact(self._targets.get(seen))
            if target[0] is None:
                self._contacts.add(target[1])
        self._targets[seen] = target
        self.dns_only = self.dns_only and seen[1] == DNS_PORT

    def _forget_contact(self, target: tuple[DatagramPeer | None, bytes, int] | None) -> None:
        """Stop hearing from the host of a target, unless another target is there."""
        if self._contacts is not None and target is not None and target[0] is None:
            self._contacts.remove(target[1])

    def datagram(self, payload: bytes, address: bytes, port: int) -> None:
        """Relay a datagram that the host socket received for the guest."""
        place = address, port
        if place == self._place_of_batch:
            self._waiting.append(payload)
            self.mark()
            if self._template is None:
                self._make_template()
            return
        if self._contacts is not None and address not in self._contacts:
            self._nat.network.stats.drop_udp_unasked += 1
            return
        seen = self._reverse.get(place)
        if seen is None:
            if len(address) == len(self.guest):
                name: bytes | None = self._nat.router.source_seen(address, self.guest)
            else:
                name = self._nat.router.translated(address)
            if name is None:
                self._nat.network.stats.drop_udp_unreachable += 1
                return
            seen = name, port
        if self._trials:
            self._trials.pop(place, None)
        self._to_guest(seen, payload)
        self._place_of_batch = place

    def _make_template(self) -> None:
        """Prepare for more datagrams from the source of this batch."""
        source = self._source_of_batch
        if source is not None and len(source[0]) == len(self.guest):
            self._template = self._nat.parts.ip.template(source, (self.guest, self.number))

    def from_forward(self, via: DatagramPeer, payload: bytes, address: bytes, port: int) -> None:
        """Relay a datagram from the socket of a forward; answers return through that socket."""
        source = via, address, port
        seen = self._aliases.get(source) if self._aliases else None
        if seen is None:
            seen = self._nat.router.source_seen(address, self.guest), port
        known = self._targets.get(seen)
        if known != source:
            if known is not None and known[0] is not None:
                seen = self._aliases[source] = self._alias(seen)
            self._remember(seen, source)
        self._to_guest(seen, payload)

    def _alias(self, taken: tuple[bytes, int]) -> tuple[bytes, int]:
        """Choose another port for a client that the guest could not distinguish from an earlier one.

        A client may use one port for two addresses of the host or two forwards, and the guest's answers
        have to leave from the right one. Also, all loopback addresses look alike to the guest.
        """
        for _ in range(ALIAS_TRIES):
            alias = taken[0], self._nat.network.random.randrange(ALIAS_FIRST, 65536)
            if alias not in self._targets:
                return alias
        return taken

    def _to_guest(self, seen: tuple[bytes, int], payload: bytes) -> None:
        if seen != self._source_of_batch:
            self._deliver()
            self._source_of_batch = seen
            self._place_of_batch = self._template = None
        self._waiting.append(payload)
        self.mark()

    def _deliver(self) -> None:
        """Send the guest all datagrams received since the last flush."""
        payloads, source = self._waiting, self._source_of_batch
        if not payloads or source is None:
            return
        self._waiting = []
        nat = self._nat
        network = nat.network
        self.last_activity = network.now
        alone = len(payloads) == 1
        size = len(payloads[0]) if alone else sum(map(len, payloads))
        self.packets_out += len(payloads)
        self.bytes_out += size
        if network.events is not None:
            self._count_received(source, len(payloads), size)
        template = self._template
        if not alone or template is None or not template.send(payloads[0]):
            nat.parts.ip.send_datagrams(*source, self.guest, self.number, payloads)
        if self.dns_only and self._is_answered():
            self._alarm.set(network.now + DNS_TIMEOUT)

    def _count_received(self, source: tuple[bytes, int], packets: int, size: int) -> None:
        """Count datagrams to the guest. The first from a source that the guest has sent nothing to opens a flow."""
        tally = self.tallies.get(source)
        if tally is None:
            tally = self._nat.opened(self, source, Route(*source), inbound=True)
        if tally is not None:
            tally.packets_out += packets
            tally.bytes_out += size

    def datagram_error(self, error: int, report: IcmpReport | None = None) -> None:
        """Report that an earlier datagram was refused: here, on its way, or at its destination."""
        nat = self._nat
        stats = nat.network.stats
        stats.drop_udp_host_error += 1
        if report is None:
            return
        place = report.address, report.port
        if error in UNHEARD and place in self._trials:
            self._send_otherwise(*place)
            return
        seen = self._reverse.get(place) or (
            nat.router.source_seen(report.address, self.guest),
            report.port,
        )
        if seen not in self._targets:  # no errors are sent about broadcasts either
            stats.drop_icmp_unasked += 1
            return
        packet = sent_udp(self.guest, self.number, seen, report)
        relay(nat.parts, nat.router, report, self.guest, seen[0], packet)

    def close(self) -> None:
        """Release the socket and the timer."""
        self.send_pending()
        self._deliver()
        self._forget_paths()
        super().close()
        if self._other is not None:
            self._other.close()
            self._other = None
