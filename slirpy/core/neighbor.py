"""The neighbour table: guests' addresses, with their MAC addresses and links.

It knows neither ARP nor Neighbor Discovery, and treats addresses of both families alike: the question for an address
is handed in, and whatever hears an address calls :meth:`Neighbors.learn`, for traffic too.

An address that was heard behind one link within :data:`HOLD` is not believed from another; after such a silence it
may move, because guests do. Where it was first is its home: from there it may come back at once. So a guest that
takes the address of a silent one loses it with that guest's next word.
"""

from __future__ import annotations

from collections.abc import Callable, Container

from slirpy.core.network import Network
from slirpy.core.port import LinkPort
from slirpy.core.probes import Occupant, Probes
from slirpy.core.timers import Alarm
from slirpy.fair import Group, Shares
from slirpy.interfaces import Frame
from slirpy.units import SECOND

__all__ = ["Neighbor", "Neighbors"]

PENDING_FRAMES = 16
"""Frames that wait for one neighbour's answer."""
PENDING_TIME = 1 * SECOND
AGE = 600 * SECOND
"""How long an entry is trusted without a word from the neighbour."""
HOLD = 3 * SECOND
"""How long an address must have been silent before it may be heard behind another link."""
MAX_NEIGHBORS = 4096


class Neighbor:
    """A guest's address and, once known, where it is."""

    __slots__ = ("address", "alarm", "home", "home_seen", "ident", "mac", "pending", "port", "seen", "share")

    def __init__(self, address: bytes) -> None:
        self.address = address
        self.mac: bytes | None = None
        self.ident = 0
        """Packets that were sent to it in fragments. Each guest has numbers of its own, so that they last longer."""
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
        """Whether it can be believed that this address is there now."""
        old = self.port
        if old is None or old is port or old.closed or now - self.seen >= HOLD:
            return True
        return self.home is port and now - self.home_seen < AGE

    def move(self, port: LinkPort, now: int) -> None:
        """It is behind ``port`` now."""
        if self.port is self.home:
            self.home_seen = self.seen
        if self.home is None or self.home.closed or now - self.home_seen >= AGE:
            self.home = port
        self.port = port


class Neighbors:
    """The neighbour table.

    Args:
        question: asks behind all links where an address is.
    """

    def __init__(self, network: Network, question: Callable[[bytes], None]) -> None:
        self._network = network
        self._question = question
        self._table: dict[bytes, Neighbor] = {}
        self._shares: Shares[Neighbor] = Shares(MAX_NEIGHBORS)
        self.probes = Probes(network, question)

    def known(self) -> list[Neighbor]:
        """Neighbours whose MAC address is known."""
        return [n for n in self._table.values() if n.mac is not None]

    def first_heard(self, preferred: bytes) -> bytes | None:
        """The address of a guest that was heard: ``preferred``, or else the one that has been known longest.

        A guest whose link was taken out comes last. None if no guest was heard.
        """
        found = self._table.get(preferred)
        if found is not None and found.mac is not None:
            return preferred
        lost = None
        for neighbor in self._table.values():
            if neighbor.mac is not None:
                if neighbor.port is not None:
                    return neighbor.address
                lost = lost or neighbor.address
        return lost

    def occupant(self, address: bytes) -> Occupant | None:
        """Where an address is, as far as is known; None: nowhere, or behind a link that is gone."""
        neighbor = self._table.get(address)
        if neighbor is None or neighbor.mac is None or neighbor.port is None or neighbor.port.closed:
            return None
        return Occupant(neighbor.mac, neighbor.port, neighbor.seen)

    def probe(
        self, address: bytes, time: int, but: Container[bytes], done: Callable[[Occupant | None], None]
    ) -> None:
        """Ask whether anybody uses an address; see :meth:`Probes.ask`."""
        self.probes.ask(address, time, but, done)

    def attached(self, link: object) -> bool:
        """Whether it is one of the links that guests are behind now."""
        return link in self._network.ports

    def heard(self, mac: bytes, port: LinkPort) -> int:
        """When any neighbour at ``mac`` behind ``port`` was last heard, in nanoseconds; 0: never."""
        return max((n.seen for n in self._table.values() if n.mac == mac and n.port is port), default=0)

    def learn(self, address: bytes, mac: bytes, port: LinkPort) -> Neighbor | None:
        """``address`` was just seen at ``mac`` behind ``port``; None, counted, if that is not believed."""
        neighbor = self.get(address)
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

    def lost(self, port: LinkPort) -> None:
        """``port`` was taken out. Who was behind it is asked for when there is something to send, behind any port.

        It may be back and say nothing of its own accord: a guest that downloads waits for us.
        """
        for neighbor in self._table.values():
            if neighbor.port is port:
                neighbor.port = None

    def get(self, address: bytes) -> Neighbor:
        """The entry for an address of the network, made if need be."""
        neighbor = self._table.get(address)
        if neighbor is None:
            victim = self._shares.to_evict()
            if victim is not None:
                self._evict(victim)
            neighbor = self._table[address] = Neighbor(address)
            self._shares.add(neighbor, None, b"")
        return neighbor

    def _evict(self, neighbor: Neighbor) -> None:
        """Forget one. Flows keep their entry, and go on."""
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
            if network.now - neighbor.seen > AGE and neighbor.alarm is None:
                self._ask(neighbor)  # meanwhile what we know is used
            neighbor.port.push(_addressed(frame, neighbor.mac), length)
            return
        entry = self.get(neighbor.address)
        if entry is not neighbor:  # a flow's entry that was given up; the answer will be for the new one
            if entry.mac is not None:
                self.send(entry, frame, length)
                return
            neighbor = entry
        if len(neighbor.pending) >= PENDING_FRAMES:
            network.stats.drop_neighbor_queue_full += 1
            return
        parts = (b"".join(frame.parts),)  # it may wait for longer than its buffers last
        neighbor.pending.append((frame._replace(parts=parts), length))
        if neighbor.alarm is None:
            self._ask(neighbor)

    def doubt(self, neighbor: Neighbor) -> None:
        """Nobody answers at the MAC address that was last seen: ask again (RFC 1122, section 2.3.2.1, (4)).

        It may have come from a damaged frame: no checksum of IP or TCP covers it.
        """
        if neighbor.alarm is None:
            self._ask(neighbor)

    def _ask(self, neighbor: Neighbor) -> None:
        network = self._network
        self._question(neighbor.address)
        neighbor.alarm = network.call_at(network.now + PENDING_TIME, lambda: self._give_up(neighbor))

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
        """Whether some guest has this address, as far as is known: then it will answer by itself."""
        neighbor = self._table.get(address)
        return neighbor is not None and neighbor.mac is not None


def _addressed(frame: Frame, mac: bytes) -> Frame:
    first = frame.parts[0]
    if first[:6] == mac:
        return frame
    return frame._replace(parts=(mac + bytes(first[6:]), *frame.parts[1:]))
