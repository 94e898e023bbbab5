"""MAC addresses of a guest's neighbours, and the packets that wait for them: what ARP and NDP have in common."""

from __future__ import annotations

import abc

from slirpy.testing.guest.addressing import Addressing
from slirpy.testing.guest.host import GuestHost
from slirpy.units import SECOND

__all__ = ["NeighborTable"]

TRIES = 3
WAITING_MAX = 64
"""Packets that may wait for one address."""


class NeighborTable(abc.ABC):
    """MAC addresses of other hosts. Entries do not expire."""

    def __init__(self, guest: GuestHost, addressing: Addressing) -> None:
        self.guest = guest
        self.addressing = addressing
        self.macs: dict[bytes, bytes] = {}
        """MAC addresses by IP address; may be changed."""
        self.requests = 0
        """Requests sent."""
        self._waiting: dict[bytes, list[bytes]] = {}

    def send(self, address: bytes, packet: bytes) -> None:
        """Send ``packet`` to a neighbour, after a request if its MAC address is unknown."""
        mac = self.macs.get(address)
        if mac is not None:
            self.guest.send_frame(mac, self.addressing.family.ethertype, packet)
            return
        waiting = self._waiting.get(address)
        if waiting is None:
            self._waiting[address] = [packet]
            self._ask(address, TRIES)
        elif len(waiting) < WAITING_MAX:
            waiting.append(packet)
        else:
            self.guest.counters.unreachable += 1

    def _ask(self, address: bytes, tries: int) -> None:
        guest = self.guest
        if address not in self._waiting:
            return
        if not tries:
            packets = self._waiting.pop(address)
            guest.counters.unreachable += len(packets)
            for packet in packets:
                guest.undeliverable(packet)
            guest.flush()
            return
        self.requests += 1
        self.request(address)
        guest.timers.call_at(guest.now + SECOND, lambda: self._ask(address, tries - 1))

    @abc.abstractmethod
    def request(self, address: bytes) -> None:
        """Ask for the MAC address of a neighbour."""

    def learn(self, address: bytes, mac: bytes, *, create: bool) -> None:
        """Take note of a neighbour's MAC address.

        Args:
            create: whether a neighbour of whom nothing is known is worth an entry.
        """
        if create or address in self.macs or address in self._waiting:
            self.macs[address] = mac
            for packet in self._waiting.pop(address, ()):
                self.guest.send_frame(mac, self.addressing.family.ethertype, packet)
