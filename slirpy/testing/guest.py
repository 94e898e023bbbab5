"""A small network guest in pure Python, sans-I/O: the other end of the wire, for tests, demos and experiments.

A :class:`Guest` is given frames (:meth:`Guest.input`) and the time (:meth:`Guest.advance`), and calls ``send`` with
its own frames. It has ARP, a DHCP client, ping, UDP, DNS lookups and TCP. It sends correct checksums and checks those
that it receives. With a real network it looks like this::

    with Slirp() as net:
        guest = Guest(lambda frame: nic.send(frame), random=Random(1), now=time.monotonic_ns())
        nic = net.attach(lambda frame: guest.input(frame, time.monotonic_ns()))
        lease = guest.dhcp()
        while not lease.bound:
            net.poll(0.05)
            guest.advance(time.monotonic_ns())

In virtual time :class:`~slirpy.testing.network.VirtualNetwork` drives it.

``send`` may deliver frames back before it returns: what arrives while the guest is sending changes its state at once
and is answered when the frame being sent has gone. A guest is a host, not a judge: it leaves out what a guest of
slirpy has no use for, such as IP options, routing and IPv6. What it cannot use it counts in :attr:`Guest.counters`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from random import Random
from typing import TypeAlias

from slirpy.config import MTU_MAX, MTU_MIN
from slirpy.core.timers import Timers
from slirpy.errors import StateError
from slirpy.interfaces import Buffer
from slirpy.rules.values import function, mac_bytes, moment, whole
from slirpy.testing.guest_arp import ArpTable
from slirpy.testing.guest_dhcp import DhcpClient
from slirpy.testing.guest_dns import Lookup
from slirpy.testing.guest_icmp import IcmpClient, IcmpError, Ping
from slirpy.testing.guest_ip import Reassembler, fragments
from slirpy.testing.guest_tcp import GuestListener, GuestStream, TcpHost
from slirpy.testing.guest_udp import UdpHost, UdpSocket
from slirpy.wire import ethernet, ipv4
from slirpy.wire.checksum import transport_ok

__all__ = ["DEFAULT_MAC", "Address", "Guest", "GuestCounters"]

Address: TypeAlias = str | bytes | IPv4Address
"""An IPv4 address as text, as four bytes or as an object."""

DEFAULT_MAC = bytes.fromhex("525400123456")
"""The MAC address that QEMU gives to its first network card."""

_EVERYWHERE = b"\xff\xff\xff\xff"


@dataclass(slots=True)
class GuestCounters:
    """What a guest has seen. Frames "in" come to the guest."""

    frames_in: int = 0
    frames_out: int = 0
    bad_checksum: int = 0
    """Packets whose IPv4, TCP, UDP or ICMP checksum was wrong. They were dropped."""
    malformed: int = 0
    """Frames that could not be read."""
    foreign: int = 0
    """Frames and packets that were not for this guest."""
    unhandled: int = 0
    """Packets that nobody in this guest wanted."""
    unreachable: int = 0
    """Packets that were dropped because ARP got no answer, or because there is no route."""


class Guest:
    """One guest with one network card.

    Args:
        send: called with each frame (``bytes``, without check sequence) that the guest sends.
        random: source of ports, sequence numbers and identifiers; give a seeded one to have the same frames twice.
        now: nanoseconds of a monotonic clock.
        mac: six bytes, or text.
        mtu: largest IP packet in bytes, 68 to 65521; a smaller one given by DHCP is obeyed.
        hostname: told to the DHCP server; empty: none.

    Raises:
        ConfigError: an argument that cannot be used, such as ``time.monotonic()`` for ``now``.
    """

    def __init__(
        self,
        send: Callable[[bytes], object],
        *,
        random: Random,
        now: int = 0,
        mac: bytes | str = DEFAULT_MAC,
        mtu: int = 1500,
        hostname: str = "guest",
    ) -> None:
        function("send", send, " that takes a frame")
        self.random = random
        self.now = moment("now", now)
        """Nanoseconds, as last told."""
        self.mac = mac_bytes("mac", mac)
        self.mtu = whole("mtu", mtu, MTU_MIN, MTU_MAX)
        self.hostname = hostname
        self.counters = GuestCounters()
        self.timers = Timers()
        self.ip: bytes | None = None
        """The guest's address, four bytes; None before it has one."""
        self.dns: bytes | None = None
        """The DNS server that :meth:`resolve` asks, four bytes."""
        self._netmask = 0
        self._gateway: bytes | None = None
        self._send = send
        self._sending = False
        self._out: deque[bytes] = deque()
        self._ident = random.getrandbits(16)
        self._reassembler = Reassembler()
        self.arp = ArpTable(self)
        self.icmp = IcmpClient(self)
        self.udp_host = UdpHost(self)
        self.tcp = TcpHost(self)
        self._dhcp: DhcpClient | None = None

    # ---------------------------------------------------------------------------------------- driving

    def input(self, frame: Buffer, now: int | None = None) -> None:
        """Take one frame from the network, and answer it.

        Args:
            frame: Ethernet frame; the guest keeps parts of it, so it must not change afterwards.
            now: nanoseconds; None: as last told.

        Raises:
            ConfigError: ``now`` is not a whole number of nanoseconds.
        """
        if now is not None:
            self.now = now if type(now) is int else moment("now", now)
        self.counters.frames_in += 1
        self._input(memoryview(frame))
        self.flush()

    def advance(self, now: int) -> None:
        """Let time pass: timers that are due act.

        Raises:
            ConfigError: ``now`` is not a whole number of nanoseconds.
        """
        if type(now) is not int:
            now = moment("now", now)
        self.now = now
        self.timers.run(now)
        self.flush()

    def deadline(self) -> int | None:
        """When :meth:`advance` is due, in nanoseconds, at the latest; None: not before a frame comes."""
        return self.timers.deadline()

    def flush(self) -> None:
        """Send what is due. Called by everything that makes something due; harmless when repeated."""
        if self._sending:
            return
        self._sending = True
        out = self._out
        try:
            while self.tcp.service() or out:
                while out:
                    self.counters.frames_out += 1
                    self._send(out.popleft())
        finally:
            self._sending = False

    # ------------------------------------------------------------------------------------- addressing

    @property
    def address(self) -> IPv4Address | None:
        """The guest's address; None before it has one."""
        return None if self.ip is None else IPv4Address(self.ip)

    def configure(
        self, address: Address, prefix: int, gateway: Address | None = None, dns: Address | None = None
    ) -> None:
        """Set the address by hand, in place of DHCP.

        Args:
            prefix: length of the network's prefix, 0 to 32.
            gateway: next hop for addresses outside of the network; None: they are unreachable.
            dns: the server that :meth:`resolve` asks.
        """
        self.ip = packed(address)
        self._netmask = 0xFFFFFFFF << (32 - prefix) & 0xFFFFFFFF
        self._gateway = None if gateway is None else packed(gateway)
        self.dns = None if dns is None else packed(dns)

    def unconfigure(self) -> None:
        """Give the address up. What is open stays open, and cannot send."""
        self.ip = self.dns = self._gateway = None

    def own_address(self) -> bytes:
        """The guest's address.

        Raises:
            StateError: it has none yet.
        """
        if self.ip is None:
            raise StateError(
                "the guest has no address yet; call dhcp() and wait until it is bound, or configure()"
            )
        return self.ip

    # ------------------------------------------------------------------------------------ what it can do

    def dhcp(self) -> DhcpClient:
        """Start to get an address by DHCP. The client's ``bound`` tells when there is one."""
        if self._dhcp is None:
            self._dhcp = DhcpClient(self)
        self._dhcp.start()
        self.flush()
        return self._dhcp

    def ping(self, address: Address, payload: bytes = b"slirpy" * 8, *, ttl: int = 64) -> Ping:
        """Send one ICMP echo request; the result's ``reply`` is None until one comes.

        Raises:
            StateError: the guest has no address.
        """
        ping = self.icmp.ping(packed(address), payload, ttl)
        self.flush()
        return ping

    @property
    def icmp_errors(self) -> list[IcmpError]:
        """All ICMP errors that came, in order. May be cleared."""
        return self.icmp.errors

    def udp(self, port: int = 0) -> UdpSocket:
        """Open a UDP socket; port 0 takes a free one.

        Raises:
            StateError: the port is taken.
        """
        return self.udp_host.open(port)

    def resolve(self, name: str, kind: str = "A", server: Address | None = None, port: int = 53) -> Lookup:
        """Ask a DNS server over UDP; the result's ``done`` tells when it has answered or has been given up.

        Args:
            kind: type of record, such as ``"A"``, ``"AAAA"`` or ``"TXT"``.
            server: whom to ask; None: the one that DHCP named.

        Raises:
            StateError: the guest has no address, or knows no DNS server.
        """
        target = self.dns if server is None else packed(server)
        if target is None:
            raise StateError("the guest knows no DNS server; give one, or let DHCP tell it")
        lookup = Lookup(self, name, kind, target, port)
        self.flush()
        return lookup

    def connect(self, address: Address, port: int, *, rcv_buffer: int = 1 << 20) -> GuestStream:
        """Start a TCP connection; the stream's ``state`` becomes ESTABLISHED, or its ``error`` an errno value.

        Args:
            rcv_buffer: bytes received and not read that are kept; it bounds the window that is offered.

        Raises:
            StateError: the guest has no address.
        """
        stream = self.tcp.connect(packed(address), port, rcv_buffer)
        self.flush()
        return stream

    def listen(self, port: int) -> GuestListener:
        """Accept TCP connections on a port; they appear in the listener's ``accepted``.

        Raises:
            StateError: something listens there already.
        """
        return self.tcp.listen(port)

    # -------------------------------------------------------------------------------------- frames in

    def _input(self, frame: memoryview) -> None:
        counters = self.counters
        if len(frame) < ethernet.HEADER_LENGTH:
            counters.malformed += 1
            return
        if frame[:6] not in (self.mac, ethernet.BROADCAST):
            counters.foreign += 1
            return
        kind = frame[12] << 8 | frame[13]
        if kind == ethernet.TYPE_IPV4:
            self._input_ip(frame[ethernet.HEADER_LENGTH :])
        elif kind == ethernet.TYPE_ARP:
            self.arp.input(frame[ethernet.HEADER_LENGTH :])
        else:
            counters.unhandled += 1

    def _input_ip(self, packet: memoryview) -> None:
        counters = self.counters
        header = ipv4.parse(packet)
        if header is None:
            counters.malformed += 1
            return
        if not ipv4.header_ok(packet, header.header_length):
            counters.bad_checksum += 1
            return
        # A client without an address takes all, because DHCP answers to the address that is being offered.
        if self.ip is not None and header.destination not in (self.ip, _EVERYWHERE, self._broadcast()):
            counters.foreign += 1
            return
        packet = packet[: header.total_length]
        if header.fragment & (ipv4.MF | ipv4.OFFSET_MASK):
            whole = self._reassembler.insert(header, packet)
            if whole is None:
                return
            header, packet = whole
        protocol = header.protocol
        if protocol in (ipv4.TCP, ipv4.UDP):
            zero = protocol == ipv4.UDP and not any(packet[header.header_length + 6 : header.header_length + 8])
            if not zero and not transport_ok(packet, header.header_length, header.total_length, protocol):
                counters.bad_checksum += 1
                return
        if protocol == ipv4.TCP:
            self.tcp.input(header, packet)
        elif protocol == ipv4.UDP:
            self.udp_host.input(header, packet)
        elif protocol == ipv4.ICMP:
            self.icmp.input(header, packet)
        else:
            counters.unhandled += 1

    def _broadcast(self) -> bytes:
        own = int.from_bytes(self.ip or b"", "big")
        return (own | ~self._netmask & 0xFFFFFFFF).to_bytes(4, "big")

    # ------------------------------------------------------------------------- frames out, for the protocols

    def send_ip(self, destination: bytes, protocol: int, payload: Buffer, *, ttl: int = 64) -> None:
        """Send a packet from the guest's address, in fragments if it is larger than the MTU."""
        self._ident = (self._ident + 1) & 0xFFFF
        source = self.own_address()
        for packet in fragments(source, destination, protocol, payload, self._ident, ttl, self.mtu):
            self.send_packet(destination, packet)

    def send_packet(self, destination: bytes, packet: bytes) -> None:
        """Send a finished packet to the next hop for ``destination``; ARP is asked if need be."""
        if destination in (_EVERYWHERE, self._broadcast()):
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

    def send_frame(self, mac: bytes, kind: int, payload: bytes) -> None:
        """Queue a frame; it goes at the next :meth:`flush`."""
        self._out.append(b"".join((mac, self.mac, kind.to_bytes(2, "big"), payload)))


def packed(address: Address) -> bytes:
    """Four bytes of an address."""
    return IPv4Address(address).packed
