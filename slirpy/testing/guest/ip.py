"""IPv4 of a :class:`~slirpy.testing.guest.Guest`: routes, next hops, and fragments in both directions (RFC 791)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from random import Random

from slirpy.interfaces import Buffer
from slirpy.testing.guest.arp import ArpTable
from slirpy.testing.guest.host import Address, GuestHost, packed
from slirpy.wire import ethernet, ipv4

__all__ = ["EVERYWHERE", "IpHost", "Reassembler", "fragments"]

EVERYWHERE = b"\xff\xff\xff\xff"
"""255.255.255.255."""

MAX_PACKETS = 64
"""Incomplete packets that are kept; the oldest is evicted first."""


def fragments(
    source: bytes, destination: bytes, protocol: int, payload: Buffer, ident: int, ttl: int, mtu: int
) -> Iterator[bytes]:
    """Return the packets that carry ``payload``: one, or as many as the MTU requires."""
    room = mtu - ipv4.HEADER_LENGTH
    length = len(payload)
    step = room if length <= room else room & ~7
    view = memoryview(payload)
    for offset in range(0, max(length, 1), step):
        piece = view[offset : offset + step]
        more = ipv4.MF if offset + len(piece) < length else 0
        header = ipv4.build(
            source, destination, protocol, len(piece), ident=ident, fragment=offset >> 3 | more, ttl=ttl
        )
        yield header + piece


class Reassembler:
    """Packets with missing fragments."""

    def __init__(self) -> None:
        self._packets: dict[tuple[bytes, bytes, int, int], dict[int, tuple[bytes, bool]]] = {}

    def insert(self, header: ipv4.IPv4Header, packet: memoryview) -> tuple[ipv4.IPv4Header, memoryview] | None:
        """Take a fragment; returns the whole packet with its header once it is complete."""
        key = header.source, header.destination, header.protocol, header.ident
        if key not in self._packets and len(self._packets) >= MAX_PACKETS:
            del self._packets[next(iter(self._packets))]
        pieces = self._packets.setdefault(key, {})
        offset = (header.fragment & ipv4.OFFSET_MASK) * 8
        pieces[offset] = bytes(packet[header.header_length :]), bool(header.fragment & ipv4.MF)
        payload = bytearray()
        more = True
        while more:
            if len(payload) not in pieces:
                return None
            data, more = pieces[len(payload)]
            if not data:
                return None
            payload += data
        del self._packets[key]
        whole = ipv4.build(
            header.source, header.destination, header.protocol, len(payload), ident=header.ident, ttl=header.ttl
        )
        parsed = ipv4.parse(whole + payload)
        return None if parsed is None else (parsed, memoryview(whole + payload))


class IpHost(GuestHost):
    """A host with an address, a network and a gateway; see :class:`GuestHost` for the arguments."""

    def __init__(
        self, send: Callable[[bytes], object], random: Random, now: int, mac: bytes, mtu: int, hostname: str
    ) -> None:
        super().__init__(send, random, now, mac, mtu, hostname)
        self._netmask = 0
        self._gateway: bytes | None = None
        self._ident = random.getrandbits(16)
        self.arp = ArpTable(self)

    @property
    def address(self) -> IPv4Address | None:
        """Address of the guest; None before it has one."""
        return None if self.ip is None else IPv4Address(self.ip)

    def configure(
        self, address: Address, prefix: int, gateway: Address | None = None, dns: Address | None = None
    ) -> None:
        """Set the address manually, instead of by DHCP.

        Args:
            prefix: length of the network's prefix, 0 to 32.
            gateway: next hop for addresses outside the network; None: they are unreachable.
            dns: server used by :meth:`resolve`.
        """
        self.ip = packed(address)
        self._netmask = 0xFFFFFFFF << (32 - prefix) & 0xFFFFFFFF
        self._gateway = None if gateway is None else packed(gateway)
        self.dns = None if dns is None else packed(dns)

    def unconfigure(self) -> None:
        """Give up the address. Open connections stay open, but cannot send."""
        self.ip = self.dns = self._gateway = None

    def broadcast(self) -> bytes:
        """Broadcast address of the guest's network."""
        own = int.from_bytes(self.ip or b"", "big")
        return (own | ~self._netmask & 0xFFFFFFFF).to_bytes(4, "big")

    def send_ip(self, destination: bytes, protocol: int, payload: Buffer, *, ttl: int = 64) -> None:
        """Send a packet from the guest's address, in fragments if it is larger than the MTU."""
        self._ident = (self._ident + 1) & 0xFFFF
        source = self.own_address()
        for packet in fragments(source, destination, protocol, payload, self._ident, ttl, self.mtu):
            self.send_packet(destination, packet)

    def send_packet(self, destination: bytes, packet: bytes) -> None:
        """Send a finished packet to the next hop for ``destination``, after an ARP request if necessary."""
        if destination in (EVERYWHERE, self.broadcast()):
            self.send_frame(ethernet.BROADCAST, ethernet.TYPE_IPV4, packet)
            return
        mask = self._netmask
        own, far = int.from_bytes(self.ip or bytes(4), "big"), int.from_bytes(destination, "big")
        hop = destination if (own ^ far) & mask == 0 else self._gateway
        if hop is None:
            self.counters.unreachable += 1
            return
        mac = self.arp.macs.get(hop)
        if mac is None:
            self.arp.resolve(hop, packet)
        else:
            self.send_frame(mac, ethernet.TYPE_IPV4, packet)
