"""A small network guest in pure Python, sans-I/O: the other end of the wire, for tests, demos and experiments.

A :class:`Guest` takes frames (:meth:`Guest.input`) and the time (:meth:`Guest.advance`), and calls ``send`` with its
own frames. It supports ARP, DHCP (as a client), ping, UDP, DNS lookups and TCP, and with IPv6 Neighbor Discovery,
autoconfiguration, DHCPv6 and multicast groups. It sends correct checksums and checks those that it receives. With a
real network::

    with Slirp() as net:
        guest = Guest(lambda frame: nic.send(frame), random=Random(1), now=time.monotonic_ns())
        nic = net.attach(lambda frame: guest.input(frame, time.monotonic_ns()))
        lease = guest.dhcp()
        while not lease.bound:
            net.poll(0.05)
            guest.advance(time.monotonic_ns())

In virtual time :class:`~slirpy.testing.network.VirtualNetwork` drives it.

``send`` may deliver frames back before it returns: a frame that arrives while the guest is sending changes its state
at once and is answered when the frame being sent has left. The guest lacks features that guests of slirpy do not
need, such as IP options and routing. It counts frames that it cannot use in :attr:`Guest.counters`.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from slirpy.addresses import AnyAddress, mac_bytes, port_number
from slirpy.checks import amount, instance, moment, octets, shown, switch, whole
from slirpy.config.options import MTU_MAX, MTU_MIN
from slirpy.config.values import as_text, function
from slirpy.errors import ConfigError, StateError
from slirpy.interfaces import Buffer
from slirpy.reprs import counted, never_raises
from slirpy.testing.guest.dhcp import DhcpClient, DhcpLease
from slirpy.testing.guest.dhcp6 import Dhcp6Client, Dhcp6Lease
from slirpy.testing.guest.dns import Lookup
from slirpy.testing.guest.host import DEFAULT_MAC, packed
from slirpy.testing.guest.icmp import IcmpError, Ping
from slirpy.testing.guest.protocols import ProtocolHost
from slirpy.testing.guest.slaac import Autoconfiguration
from slirpy.testing.guest.tcp import GuestStream, GuestTcp, StreamListener
from slirpy.testing.guest.udp import UdpSocket
from slirpy.testing.recent import Recent
from slirpy.wire import ipv6

__all__ = ["Guest"]


class Guest(ProtocolHost):
    """One guest with one network card.

    Args:
        send: called with each frame (``bytes``, without check sequence) that the guest sends.
        random: source of ports, sequence numbers and identifiers; use a seeded one to repeat the same frames.
        now: nanoseconds of a monotonic clock.
        mac: six bytes, or text.
        mtu: largest IP packet in bytes, 68 to 65521; a smaller one from DHCP is obeyed.
        hostname: sent to the DHCP server; empty: none.

    Raises:
        ConfigError: an argument that cannot be used, such as ``time.monotonic()`` for ``now``.
    """

    tcp: GuestTcp

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
        instance("random", random, Random, "a random.Random")
        super().__init__(
            send,
            random,
            moment("now", now),
            mac_bytes("mac", mac),
            whole("mtu", mtu, MTU_MIN, MTU_MAX),
            as_text("hostname", hostname),
        )

    @never_raises
    def __repr__(self) -> str:
        addresses = ", ".join(map(str, self.addresses)) or "without address"
        counters = self.counters
        dropped = counters.bad_checksum + counters.malformed + counters.unhandled + counters.unreachable
        return (
            f"<Guest {self.mac.hex(':')} {addresses}: {counted(counters.frames_in, 'frame')} in,"
            f" {counters.frames_out} out, {dropped} dropped, {counted(len(self.tcp.streams), 'stream')}>"
        )

    # ---------------------------------------------------------------------------------------- driving

    def input(self, frame: Buffer, now: int | None = None) -> None:
        """Take one frame from the network, and answer it.

        Args:
            frame: Ethernet frame; the guest keeps parts of it, so it must not change afterwards.
            now: nanoseconds; None: the last time given.

        Raises:
            ConfigError: ``frame`` is not a buffer, or ``now`` not a whole number of nanoseconds.
        """
        if now is not None:
            self.now = now if type(now) is int else moment("now", now)
        try:
            view = memoryview(frame)
        except TypeError:
            raise ConfigError(f"frame must be bytes; given was {shown(frame)}") from None
        self.counters.frames_in += 1
        self.take_frame(view)
        self.flush()

    def advance(self, now: int) -> None:
        """Advance the time, and handle the timers that are due.

        Raises:
            ConfigError: ``now`` is not a whole number of nanoseconds.
        """
        if type(now) is not int:
            now = moment("now", now)
        self.now = now
        self.timers.run(now)
        self.flush()

    def deadline(self) -> int | None:
        """Return the time, in nanoseconds, at which :meth:`advance` is due at the latest; None: not before a frame
        arrives.
        """
        return self.timers.deadline()

    # ------------------------------------------------------------------------------------ what it can do

    def dhcp(self) -> DhcpClient:
        """Start to obtain an address by DHCP. The client's ``bound`` becomes true when there is one."""
        if self._dhcp is None:
            self._dhcp = DhcpClient(self, self.udp_host)
        self._dhcp.start()
        self.flush()
        return self._dhcp

    @property
    def lease(self) -> DhcpLease | None:
        """The lease of the guest's address; None if it has none from DHCP."""
        return None if self._dhcp is None else self._dhcp.lease

    def dhcp6(self, *, stateless: bool = False, rapid_commit: bool = False) -> Dhcp6Client:
        """Start to obtain an IPv6 address by DHCPv6. The client's ``bound`` becomes true when there is one.

        The guest takes its link-local address if it has no IPv6 address yet. Routes come from :meth:`autoconfigure`.

        Args:
            stateless: whether to ask for information only; then ``informed`` becomes true.
            rapid_commit: whether the server may assign the address at once.

        Raises:
            ConfigError: an argument is neither True nor False.
        """
        switch("stateless", stateless)
        switch("rapid_commit", rapid_commit)
        self.take_link_local()
        if self._dhcp6 is None:
            self._dhcp6 = Dhcp6Client(self, self.udp_host)
        if stateless:
            self._dhcp6.inform()
        else:
            self._dhcp6.start(rapid_commit=rapid_commit)
        self.flush()
        return self._dhcp6

    @property
    def lease6(self) -> Dhcp6Lease | None:
        """The lease of the guest's IPv6 address; None if it has none from DHCPv6."""
        return None if self._dhcp6 is None else self._dhcp6.lease

    def join(self, group: AnyAddress) -> None:
        """Listen to an IPv6 multicast group, and report this by MLD. UDP sockets receive what is sent to it.

        Raises:
            ConfigError: it is no IPv6 multicast group.
        """
        address = packed(group)
        if len(address) != 16 or not ipv6.is_multicast(address):
            raise ConfigError(f"group is an IPv6 multicast address, such as ff15::1; given was {group!r}")
        self.take_link_local()
        self.ipv6.joined.add(address)
        self.mld.active = True
        self.flush()

    def leave(self, group: AnyAddress) -> None:
        """Listen to a group no longer. Harmless if the guest does not.

        Raises:
            ConfigError: it is no IP address.
        """
        self.ipv6.joined.discard(packed(group))
        self.flush()

    def autoconfigure(self, *, dad: bool = False) -> Autoconfiguration:
        """Start to obtain IPv6 addresses from the routers on the link (SLAAC, RFC 4862).

        Until this is called, or :meth:`configure` with an IPv6 address, the guest takes no part in IPv6. The result's
        ``ready`` becomes true when there is an address.

        Args:
            dad: whether to ask first if another host uses an address, which takes a second for each.

        Raises:
            ConfigError: ``dad`` is neither True nor False.
        """
        switch("dad", dad)
        if self._autoconfiguration is None:
            self._autoconfiguration = Autoconfiguration(self, self.ipv6, self.ndp, dad)
        self._autoconfiguration.start()
        self.flush()
        return self._autoconfiguration

    def ping(self, address: AnyAddress, payload: bytes = b"slirpy" * 8, *, ttl: int = 64) -> Ping:
        """Send one ICMP echo request; the result's ``reply`` is None until one arrives.

        Args:
            address: an address of either family.
            payload: data of the request, in fragments if it is longer than the MTU allows.
            ttl: time to live, or hop limit, 1 to 255.

        Raises:
            ConfigError: an argument that cannot be used.
            StateError: the guest has no address of that family.
        """
        octets("payload", payload)
        ping = self.icmp.ping(packed(address), payload, whole("ttl", ttl, 1, 255))
        self.flush()
        return ping

    @property
    def icmp_errors(self) -> Recent[IcmpError]:
        """The newest 10,000 ICMP errors received, in order; its ``dropped`` counts older ones. May be cleared."""
        return self.icmp.errors

    def udp(self, port: int = 0) -> UdpSocket:
        """Open a UDP socket; port 0 chooses a free one.

        Raises:
            ConfigError: not a port, 0 to 65535.
            StateError: the port is taken.
        """
        return self.udp_host.open(port_number("port", port))

    def resolve(self, name: str, kind: str = "A", server: AnyAddress | None = None, port: int = 53) -> Lookup:
        """Query a DNS server over UDP; the result's ``done`` becomes true on an answer or after the last timeout.

        Args:
            name: name to ask for, with or without a dot at the end.
            kind: type of record, such as ``"A"``, ``"AAAA"`` or ``"TXT"``.
            server: address of the server; None: the one from DHCP or autoconfiguration.
            port: 1 to 65535.

        Raises:
            ConfigError: an argument that cannot be used.
            StateError: the guest has no address, or knows no DNS server.
        """
        if server is None and not self.dns:
            raise StateError(
                "the guest knows no DNS server; pass one, or obtain one by DHCP or autoconfigure()"
            )
        target = self.dns[0] if server is None else packed(server)
        port_number("port", port, 1)
        lookup = Lookup(self, self.udp_host, name, kind, target, port)
        self.flush()
        return lookup

    def connect(self, address: AnyAddress, port: int, *, rcv_buffer: int = 1 << 20) -> GuestStream:
        """Start a TCP connection; the stream's ``state`` becomes ESTABLISHED, or its ``error`` an errno value.

        Args:
            address: an address of either family.
            port: 1 to 65535.
            rcv_buffer: maximum bytes, 1 or more, received and not yet read; limits the advertised window.

        Raises:
            ConfigError: an argument that cannot be used.
            StateError: the guest has no address of that family.
        """
        stream = self.tcp.connect(
            packed(address), port_number("port", port, 1), amount("rcv_buffer", rcv_buffer, 1)
        )
        self.flush()
        return stream

    def listen(self, port: int) -> StreamListener:
        """Accept TCP connections on a port; they appear in the listener's ``accepted``.

        Raises:
            ConfigError: not a port, 1 to 65535.
            StateError: another listener uses the port.
        """
        return self.tcp.listen(port_number("port", port, 1))
