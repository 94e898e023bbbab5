"""ARP of a :class:`~slirpy.testing.guest.Guest`: answers for its address, requests for others (RFC 826)."""

from __future__ import annotations

from slirpy.interfaces import Buffer
from slirpy.testing.guest.host import GuestHost
from slirpy.units import SECOND
from slirpy.wire import arp, ethernet

__all__ = ["ArpTable"]

TRIES = 3
WAITING_MAX = 64
"""Packets that may wait for one address."""


class ArpTable:
    """MAC addresses of other hosts. Entries do not expire."""

    def __init__(self, guest: GuestHost) -> None:
        self._guest = guest
        self.macs: dict[bytes, bytes] = {}
        """MAC addresses by IPv4 address; may be changed."""
        self.requests = 0
        """Requests sent."""
        self._waiting: dict[bytes, list[bytes]] = {}

    def resolve(self, address: bytes, packet: bytes) -> None:
        """Request an address, and send ``packet`` once it is known."""
        waiting = self._waiting.get(address)
        if waiting is None:
            self._waiting[address] = [packet]
            self._ask(address, TRIES)
        elif len(waiting) < WAITING_MAX:
            waiting.append(packet)
        else:
            self._guest.counters.unreachable += 1

    def _ask(self, address: bytes, tries: int) -> None:
        guest = self._guest
        if address not in self._waiting:
            return
        if not tries:
            guest.counters.unreachable += len(self._waiting.pop(address))
            return
        self.requests += 1
        self._send(
            ethernet.BROADCAST, arp.ArpPacket(arp.REQUEST, guest.mac, guest.ip or bytes(4), bytes(6), address)
        )
        guest.timers.call_at(guest.now + SECOND, lambda: self._ask(address, tries - 1))

    def _send(self, mac: bytes, packet: arp.ArpPacket) -> None:
        self._guest.send_frame(mac, ethernet.TYPE_ARP, arp.build(packet))

    def input(self, data: Buffer) -> None:
        """Handle a request or a reply."""
        guest = self._guest
        packet = arp.parse(data)
        if packet is None:
            guest.counters.malformed += 1
            return
        for_us = guest.ip is not None and packet.target == guest.ip
        if for_us or packet.sender in self.macs or packet.sender in self._waiting:
            self.macs[packet.sender] = packet.sender_mac
            for waiting in self._waiting.pop(packet.sender, ()):
                guest.send_frame(packet.sender_mac, ethernet.TYPE_IPV4, waiting)
        if for_us and packet.operation == arp.REQUEST:
            answer = arp.ArpPacket(arp.REPLY, guest.mac, packet.target, packet.sender_mac, packet.sender)
            self._send(packet.sender_mac, answer)
