"""The neighbour table: guests' addresses, with their MAC addresses and links.

The table knows neither ARP nor Neighbor Discovery and treats addresses of both families alike. Its creator hands in
the function that asks for an address, and every packet that shows an address leads to :meth:`Neighbors.learn`. For a
packet that has to wait, ARP asks once, and Neighbor Discovery up to three times, a second apart (RFC 4861, section
7.2.2).

An address that was heard behind one link is not accepted from another within :data:`HOLD`. After such a silence it
may move, because guests do. The link behind which it was first heard is its home, from which it may return at once.
So a guest that takes over the address of a silent one loses it with that guest's next packet. An address with a lease
is not lost at all: while the lease lasts, it is accepted only from the MAC address of its tenant, or from the link
behind which it was leased, since a bond of several cards sends from any of them. With
``Config.source_guard``, every address needs a lease, and is accepted only from the link behind which it was leased;
link-local ones, which nobody leases, belong to the first guest that uses them for as long as its link is attached.

**Reachability.** Every packet from an address confirms its entry; the fast paths record this anyhow. An entry that
is used after a silence of ``fresh`` nanoseconds is verified, while it stays in use. For IPv4, ARP asks once, and an
entry without an answer stays. For IPv6 this is Neighbor Unreachability Detection (RFC 4861, section 7.3): after
:data:`DELAY_FIRST_PROBE_TIME` without a packet, solicitations go to the MAC address itself; if none is answered, it
is forgotten, and the address is asked for anew when there is something to send. TCP sends without looking at the age,
since it notices by itself when nothing is acknowledged (:meth:`Neighbors.doubt`).
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Final

from slirpy.core.network import Network
from slirpy.core.port import LinkPort
from slirpy.core.probes import Occupant, Probes
from slirpy.core.timers import Alarm
from slirpy.fair import Group, Shares
from slirpy.interfaces import Frame
from slirpy.units import SECOND
from slirpy.wire.scope import is_link_local

__all__ = ["Neighbor", "Neighbors"]

PENDING_FRAMES: Final = 16
"""Maximum number of frames that wait for one neighbour's answer."""
PENDING_TIME: Final = 1 * SECOND
"""Time to wait for the answer to one question."""
MAX_MULTICAST_SOLICIT: Final = 3
"""Number of questions to all for the MAC address of an IPv6 neighbour (RFC 4861, section 10). ARP asks once."""
AGE: Final = 600 * SECOND
"""Time for which an entry stays valid without any packet from the neighbour."""
REACHABLE_TIME: Final = 30 * SECOND
"""Time for which an IPv6 neighbour counts as reachable after its last packet (RFC 4861, section 10)."""
DELAY_FIRST_PROBE_TIME: Final = 5 * SECOND
RETRANS_TIMER: Final = 1 * SECOND
MAX_UNICAST_SOLICIT: Final = 3
"""Number of solicitations to the MAC address of an entry that is verified (RFC 4861, section 10)."""
HOLD: Final = 3 * SECOND
"""Silence after which an address may move to another link."""
MAX_NEIGHBORS = 4096


class Neighbor:
    """A guest's address, with its MAC address and link once they are known."""

    __slots__ = ("address", "alarm", "fresh", "home", "home_seen", "ident", "mac", "path_mtu",
                 "path_mtu_since", "pending", "port", "seen", "share")  # fmt: skip

    def __init__(self, address: bytes) -> None:
        self.address = address
        self.fresh = AGE if len(address) == 4 else REACHABLE_TIME
        """Nanoseconds for which it counts as reachable after its last packet."""
        self.mac: bytes | None = None
        self.ident: int | None = None
        """Identification of the latest packet that was sent to it in fragments; None: there was none."""
        self.path_mtu = 0
        """Largest IPv6 packet that it says it can be sent, in bytes; 0: it has said nothing."""
        self.path_mtu_since = 0
        self.port: LinkPort | None = None
        self.seen = 0
        self.home: LinkPort | None = None
        self.home_seen = 0
        self.share: Group[Neighbor] | None = None
        self.pending: list[tuple[Frame, int]] = []
        self.alarm: Alarm | None = None

    @property
    def key(self) -> bytes:
        """For :class:`~slirpy.fair.Shares`."""
        return self.address

    @property
    def last_activity(self) -> int:
        """For :class:`~slirpy.fair.Shares`."""
        return self.seen

    def may_be_behind(self, port: LinkPort, now: int) -> bool:
        """Report whether the address may have moved to this link."""
        old = self.port
        if old is None or old is port or old.closed or now - self.seen >= HOLD:
            return True
        return self.home is port and now - self.home_seen < AGE

    def move(self, port: LinkPort, now: int) -> None:
        """Record that the address is behind ``port`` now."""
        if self.port is self.home:
            self.home_seen = self.seen
        if self.home is None or self.home.closed or now - self.home_seen >= AGE:
            self.home = port
        self.port = port


class Neighbors:
    """The neighbour table.

    Args:
        question: asks behind all links for an address.
        solicit: asks an IPv6 neighbour, at its MAC address, whether it is there.
    """

    def __init__(
        self, network: Network, question: Callable[[bytes], None], solicit: Callable[[Neighbor], None]
    ) -> None:
        self._network = network
        self._question = question
        self._solicit = solicit
        self._table: dict[bytes, Neighbor] = {}
        self._shares: Shares[Neighbor] = Shares(MAX_NEIGHBORS)
        self._needs_lease = network.config.source_guard
        self.tenant: Callable[[bytes], tuple[bytes, object] | None] = _no_tenant
        """Returns the MAC address that has leased an address, and its link, or None if that is not known."""
        self.probes = Probes(network, question)

    def known(self) -> list[Neighbor]:
        """Neighbours whose MAC address is known."""
        return [n for n in self._table.values() if n.mac is not None]

    def first_heard(self, preferred: bytes) -> bytes | None:
        """The address of a guest that has been heard: ``preferred``, or else the one of its family known longest.

        A guest whose link was detached comes last, and a link-local address after all others. None if no guest has
        been heard.
        """
        found = self._table.get(preferred)
        if found is not None and found.mac is not None:
            return preferred
        heard = [n for n in self._table.values() if n.mac is not None and len(n.address) == len(preferred)]
        first = min(heard, key=lambda n: (is_link_local(n.address), n.port is None), default=None)
        return None if first is None else first.address

    def occupant(self, address: bytes) -> Occupant | None:
        """The host that uses an address. None if none is known, or its link is detached."""
        neighbor = self._table.get(address)
        if neighbor is None or neighbor.mac is None or neighbor.port is None or neighbor.port.closed:
            return None
        return Occupant(neighbor.mac, neighbor.port, neighbor.seen)

    def probe(
        self, address: bytes, time: int, but: Container[bytes], done: Callable[[Occupant | None], None]
    ) -> None:
        """Ask whether an address is in use; see :meth:`Probes.ask`."""
        self.probes.ask(address, time, but, done)

    def attached(self, link: object) -> bool:
        """Report whether a link is attached now."""
        return link in self._network.ports

    def heard(self, mac: bytes, port: LinkPort) -> int:
        """Time, in nanoseconds, at which ``mac`` was last heard behind ``port``; 0: never."""
        return max((n.seen for n in self._table.values() if n.mac == mac and n.port is port), default=0)

    def learn(self, address: bytes, mac: bytes, port: LinkPort) -> Neighbor | None:
        """Record a packet from ``address`` at ``mac`` behind ``port``. Returns None, counted, if it looks spoofed."""
        if self._needs_lease and not self._is_leased(address, mac, port):
            return None
        known = self._table.get(address)
        if (known is None or known.port is not port or known.mac != mac) and self.is_leased_by_another(
            address, mac, port
        ):
            self._network.stats.drop_neighbor_spoofed += 1
            return None
        neighbor = known or self.get(address)
        now = self._network.now
        if neighbor.port is not port:
            if not neighbor.may_be_behind(port, now):
                self._network.stats.drop_neighbor_spoofed += 1
                return None
            neighbor.move(port, now)
            self._shares.remove(neighbor)
            self._shares.add(neighbor, port, b"")
        neighbor.seen = now
        neighbor.mac = mac
        if neighbor.pending:
            self._release(neighbor)
        return neighbor

    def is_leased_by_another(self, address: bytes, mac: bytes, port: LinkPort) -> bool:
        """Report whether an address has a lease, but of a guest that is neither at ``mac`` nor behind ``port``."""
        tenant = self.tenant(address)
        return tenant is not None and tenant[0] != mac and tenant[1] is not port

    def _is_leased(self, address: bytes, mac: bytes, port: LinkPort) -> bool:
        """Report whether a guest may use an address with ``source_guard``. If not, this is counted."""
        tenant = self.tenant(address)
        if tenant is not None:
            link = tenant[1]
            if tenant[0] == mac and (link is None or link is port or not self.attached(link)):
                return True
        elif is_link_local(address):
            neighbor = self._table.get(address)
            old = None if neighbor is None else neighbor.port
            if neighbor is None or old is None or old.closed or (old is port and neighbor.mac == mac):
                return True
        self._network.stats.drop_source_guard += 1
        return False

    def lost(self, port: LinkPort) -> None:
        """Forget that guests are behind ``port``, which was detached.

        When there is something to send to one of them, it is searched for behind all ports. It may have returned
        without sending anything: a guest that downloads waits for us.
        """
        for neighbor in self._table.values():
            if neighbor.port is port:
                neighbor.port = None

    def get(self, address: bytes) -> Neighbor:
        """Find or create the entry of an address of the network."""
        neighbor = self._table.get(address)
        if neighbor is None:
            victim = self._shares.to_evict()
            if victim is not None:
                self._evict(victim)
            neighbor = self._table[address] = Neighbor(address)
            self._shares.add(neighbor, None, b"")
        return neighbor

    def _evict(self, neighbor: Neighbor) -> None:
        """Remove an entry. Flows keep theirs, and continue."""
        if neighbor.alarm is not None:
            neighbor.alarm.cancel()
            neighbor.alarm = None
        self._network.stats.drop_neighbor_unresolved += len(neighbor.pending)
        neighbor.pending.clear()
        self._forget(neighbor)
        self._network.stats.neighbor_evicted += 1

    def _forget(self, neighbor: Neighbor) -> None:
        del self._table[neighbor.address]
        self._shares.remove(neighbor)

    def send(self, neighbor: Neighbor, frame: Frame, length: int) -> None:
        """Send a frame whose first part begins with an Ethernet header; its destination is filled in here."""
        network = self._network
        if neighbor.mac is not None and neighbor.port is not None:
            if network.now - neighbor.seen > neighbor.fresh and neighbor.alarm is None:
                self._verify(neighbor)  # the old answer is used meanwhile
            neighbor.port.push(_addressed(frame, neighbor.mac), length)
            return
        entry = self.get(neighbor.address)
        if entry is not neighbor:  # a flow's entry, evicted since; the answer will update the new one
            if entry.mac is not None:
                self.send(entry, frame, length)
                return
            neighbor = entry
        if len(neighbor.pending) >= PENDING_FRAMES:
            network.stats.drop_neighbor_queue_full += 1
            del neighbor.pending[0]  # the latest ones are wanted most (RFC 4861, section 7.2.2)
        parts = (b"".join(frame.parts),)  # its buffers may be reused before the answer arrives
        neighbor.pending.append((frame._replace(parts=parts), length))
        if neighbor.alarm is None:
            self._ask(neighbor)

    def doubt(self, neighbor: Neighbor) -> None:
        """Ask again for a neighbour whose MAC address no longer answers (RFC 1122, section 2.3.2.1, (4)).

        The address may have come from a damaged frame, since no checksum of IP or TCP covers it.
        """
        if neighbor.alarm is None:
            self._ask(neighbor)

    def _verify(self, neighbor: Neighbor) -> None:
        """Find out whether a neighbour that has been silent is still there."""
        if len(neighbor.address) == 4:
            self._ask(neighbor)
        else:
            network = self._network
            since = network.now
            neighbor.alarm = network.call_at(
                since + DELAY_FIRST_PROBE_TIME, lambda: self._probe(neighbor, since, MAX_UNICAST_SOLICIT)
            )

    def _probe(self, neighbor: Neighbor, since: int, left: int) -> None:
        """Solicit a neighbour unless it has been heard; at the end, its MAC address is no longer valid."""
        network = self._network
        neighbor.alarm = None
        if neighbor.port is None:
            if neighbor.pending:  # its link was detached meanwhile
                self._ask(neighbor)
        elif neighbor.seen >= since:
            return
        elif left:
            self._solicit(neighbor)
            neighbor.alarm = network.call_at(
                network.now + RETRANS_TIMER, lambda: self._probe(neighbor, since, left - 1)
            )
        else:
            network.stats.neighbor_unreachable += 1
            neighbor.mac = None

    def _ask(self, neighbor: Neighbor) -> None:
        """Ask behind all links for a neighbour, and give up if nobody answers."""
        self._ask_again(neighbor, 1 if len(neighbor.address) == 4 else MAX_MULTICAST_SOLICIT)

    def _ask_again(self, neighbor: Neighbor, left: int) -> None:
        if not left:
            self._give_up(neighbor)
            return
        network = self._network
        self._question(neighbor.address)
        neighbor.alarm = network.call_at(
            network.now + PENDING_TIME, lambda: self._ask_again(neighbor, left - 1)
        )

    def _give_up(self, neighbor: Neighbor) -> None:
        network = self._network
        neighbor.alarm = None
        network.stats.arp_unanswered += 1
        network.stats.drop_neighbor_unresolved += len(neighbor.pending)
        neighbor.pending.clear()
        if neighbor.mac is None and self._table.get(neighbor.address) is neighbor:
            self._forget(neighbor)

    def _release(self, neighbor: Neighbor) -> None:
        assert neighbor.mac is not None
        assert neighbor.port is not None
        if neighbor.alarm is not None:
            neighbor.alarm.cancel()
            neighbor.alarm = None
        pending, neighbor.pending = neighbor.pending, []
        for frame, length in pending:
            neighbor.port.push(_addressed(frame, neighbor.mac), length)

    def is_known(self, address: bytes) -> bool:
        """Report whether a guest is known to have this address. If so, it answers for itself."""
        neighbor = self._table.get(address)
        return neighbor is not None and neighbor.mac is not None


def _no_tenant(address: bytes) -> None:
    """Return None: no address is leased."""


def _addressed(frame: Frame, mac: bytes) -> Frame:
    first = frame.parts[0]
    if first[:6] == mac:
        return frame
    return frame._replace(parts=(mac + bytes(first[6:]), *frame.parts[1:]))
