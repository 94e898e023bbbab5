"""A simulated outside world, in memory and in virtual time: for tests of everything that uses a host network.

Time passes only in :meth:`SimHost.advance`. Calls of the stack queue events; ``advance`` runs those that are due, in
the order of their time and then of their creation. A run with the same seed and the same calls is therefore the same,
event by event. Example::

    sim = SimHost(random.Random(1), latency_ns=10_000_000)
    server = sim.serve_tcp("192.0.2.7", 80, Echo)
    stream = sim.connect_tcp(bytes([192, 0, 2, 7]), 80, owner)   # as the stack does it
    sim.advance(20_000_000)                                       # owner.connected() was called
    server.connections[0].reset()
    sim.advance(30_000_000)                                       # owner.failed(errno.ECONNRESET)

Tests write addresses as text, as objects of :mod:`ipaddress` or as bytes, of either family, and read them as objects.
The methods of :class:`~slirpy.interfaces.HostNetwork`, which the stack calls, take bytes.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from ipaddress import ip_address
from random import Random
from typing import Any

from slirpy.addresses import AnyAddress, address_bytes
from slirpy.checks import instance, octets, whole
from slirpy.config.values import function, host_name
from slirpy.errors import ConfigError, StateError
from slirpy.errortext import strerror
from slirpy.interfaces import (
    AcceptedStream,
    Acceptor,
    DatagramOwner,
    IcmpReport,
    NameAnswer,
    PingOwner,
    StreamOwner,
)
from slirpy.paths import is_unix_path
from slirpy.reprs import counted, never_raises
from slirpy.testing.text import seconds
from slirpy.testing.world.base import SimWorld
from slirpy.testing.world.path import PLAIN, Shape, obstacle, refusal, report_of
from slirpy.testing.world.ping import SimPing
from slirpy.testing.world.places import Key, Place, find, key_of, place_of, source_of, unix_place
from slirpy.testing.world.programs import Remote, SimServer
from slirpy.testing.world.stream import SimListener, SimStream
from slirpy.testing.world.udp import Answer, SimDatagram, SimUdpServer
from slirpy.units import MS
from slirpy.wire.scope import is_loopback

__all__ = ["SimHost"]

_PORTS = range(49152, 65536)  # RFC 6335: dynamic ports
_OUTSIDE = (bytes([203, 0, 113, 1]), bytes.fromhex("20010db8000000000000000000000071"))  # for documentation


def _own(what: str, address: AnyAddress, length: int) -> bytes:
    """Return one of the host's own addresses, of the family with this length."""
    packed = address_bytes(what, address)
    if len(packed) != length:
        raise ConfigError(f"{what} {address!r} is not an IPv{4 if length == 4 else 6} address")
    return packed


def _name(name: str) -> str:
    return host_name("name", name, dot=True).lower()


def _program(program: Remote | None) -> Remote:
    if program is None:
        return Remote()
    instance("program", program, Remote, "a Remote, such as Source(data)")
    return program


def _error(number: int) -> OSError:
    return OSError(number, strerror(number))


def _is_taken(table: dict[Key, Any], address: bytes | None, port: int | None) -> bool:
    """Report whether another socket listens at an address and port."""
    for other, other_port in table:
        same = other == address
        if other and address and len(other) == len(address):
            same = same or not any(other) or not any(address)  # one of them is the wildcard
        if other_port == port and same:
            return True
    return False


class SimHost(SimWorld):
    """A :class:`~slirpy.interfaces.HostNetwork` in memory, and the programmable world behind it.

    Args:
        random: the source of ports and of random faults.
        latency_ns: one-way latency of everything. May be changed at any time; order is kept.
        buffer_bytes: bytes that a stream accepts beyond those that the far program has received. At least 1.
        address: the host's own IPv4 address in addition to its loopback.
        address6: its IPv6 address.

    Raises:
        ConfigError: an argument that cannot be used.
    """

    def __init__(
        self,
        random: Random,
        *,
        latency_ns: int = 1 * MS,
        buffer_bytes: int = 262_144,
        address: AnyAddress = "192.0.2.1",
        address6: AnyAddress = "2001:db8::1",
    ) -> None:
        super().__init__(random, latency_ns, (_own("address", address, 4), _own("address6", address6, 16)))
        self.buffer_bytes = whole("buffer_bytes", buffer_bytes, 1, 1 << 40)
        self.ping_refusal = 0
        """The ``errno`` value with which :meth:`open_ping` is refused, such as EACCES; 0: allowed."""
        self.families = {4, 6}
        """IP versions that the host's system supports; sockets of another one fail with EAFNOSUPPORT."""
        self.max_sockets: int | None = None
        """Maximum number of open sockets; beyond it, new ones fail with EMFILE. Accepted connections are not
        refused.
        """
        # The open sockets of the stack in the order of opening, so that close() does the same in every run.
        self._open: dict[SimStream | SimListener | SimDatagram | SimPing, None] = {}
        self._names: dict[str, tuple[bytes, ...] | None] = {}  # in lower case; None: temporary failure
        self._tcp: dict[Key, SimListener] = {}
        self._udp: dict[Key, SimDatagram | SimUdpServer] = {}

    @never_raises
    def __repr__(self) -> str:
        own = ", ".join(str(ip_address(address)) for address in self._own_addresses)
        servers = sum(not listener.near for listener in self._tcp.values())
        servers += sum(isinstance(socket, SimUdpServer) for socket in self._udp.values())
        return (
            f"<SimHost {own} at {seconds(self.now)}: {counted(servers, 'server')},"
            f" {counted(len(self._open), 'socket')} of the stack, {counted(len(self.calls), 'call')}>"
        )

    # ------------------------------------------------------------------------- the world, for tests

    def serve_tcp(
        self, address: AnyAddress | None, port: int | None, program: Callable[[], Remote] = Remote
    ) -> SimServer:
        """Run a TCP server in the outside world.

        Args:
            address: address of the server; None answers for every address that has no other server.
            port: None answers at every port.
            program: makes the program for each connection, such as ``Echo`` or ``lambda: Source(data)``.

        Raises:
            ConfigError: an invalid address or port, or a program that cannot be called.
            StateError: another server listens there already.
        """
        function("program", program, " or class that makes the program for a connection, such as Echo")
        key = self._free("TCP", self._tcp, address, port)
        server = SimServer(program)
        server.listener = self._listen(*key, server.accept, near=False)
        return server

    def serve_udp(
        self, address: AnyAddress | None, port: int | None, answer: Answer | None = None
    ) -> SimUdpServer:
        """Run a UDP server in the outside world; address and port as for :meth:`serve_tcp`.

        Args:
            answer: called with payload, source address (an object of :mod:`ipaddress`) and port; returns the answer,
                or None for none.

        Raises:
            ConfigError: an invalid address or port, or an answer that cannot be called.
            StateError: another server or a socket of the stack uses the port.
        """
        if answer is not None:
            function("answer", answer, " of payload, address and port")
        key = self._free("UDP", self._udp, address, port)
        server = self._udp[key] = SimUdpServer(self, key, answer, self.carry)
        return server

    def connect(
        self,
        address: AnyAddress,
        port: int,
        program: Remote | None = None,
        source: tuple[AnyAddress, int] | None = None,
    ) -> Remote:
        """Connect from outside to a listener of the stack; returns the program that connects.

        Its ``error`` becomes ECONNREFUSED after a round trip if there is no listener.

        Args:
            program: the program that connects, such as ``Source(data)``; None: a :class:`Remote`.
            source: address and port to connect from; None: 203.0.113.1 or 2001:db8::71, and any port.

        Raises:
            ConfigError: an invalid address or port, or a program that is not a Remote.
        """
        where = place_of(address, port)
        here = source_of(source, where[0]) or (_OUTSIDE[len(where[0]) == 16], self.random.choice(_PORTS))
        return self._connect(here, where, _program(program))

    def connect_unix(self, path: str, program: Remote | None = None) -> Remote:
        """Connect from outside to a unix socket of the stack; see :meth:`connect`.

        Raises:
            ConfigError: not the path of a unix socket, or a program that is not a Remote.
        """
        if not is_unix_path(path):
            raise ConfigError(f"path {path!r} is not the path of a unix socket, such as /run/web.sock")
        return self._connect((b"", 0), unix_place(path), _program(program))

    def send_udp(
        self, payload: bytes, address: AnyAddress, port: int, source: tuple[AnyAddress, int] | None = None
    ) -> None:
        """Send a datagram from outside to a socket of the stack; ``source`` as for :meth:`connect`.

        Raises:
            ConfigError: an invalid address or port, or ``payload`` is not bytes.
        """
        octets("payload", payload)
        where = place_of(address, port)
        here = source_of(source, where[0]) or (_OUTSIDE[len(where[0]) == 16], _PORTS[0])
        self.carry(payload, here, where)

    def add_name(self, name: str, *addresses: AnyAddress) -> None:
        """Let the host's resolver library know a name, in place of what it knew of that name before.

        Args:
            name: name of a host, in upper or lower case.
            addresses: its addresses, in the order of the answer; none: the name exists, but has no address.

        Raises:
            ConfigError: not the name of a host, or an invalid address.
        """
        self._names[_name(name)] = tuple(address_bytes("address", address) for address in addresses)

    def fail_name(self, name: str) -> None:
        """Let the host's resolver library fail to look up a name, as it does if its servers do not answer.

        Raises:
            ConfigError: not the name of a host.
        """
        self._names[_name(name)] = None

    # ------------------------------------------------------------------ HostNetwork, for the stack

    def connect_tcp(self, address: bytes, port: int, owner: StreamOwner, ttl: int = 0) -> SimStream:
        """See :meth:`slirpy.interfaces.HostNetwork.connect_tcp`."""
        self.record("connect_tcp", (address, port))
        here = (self.source_for(address), self.random.choice(_PORTS))
        stream = SimStream(self, here, (address, port), self.buffer_bytes, near=True)
        stream.own(owner)
        if error := self._refusal(len(address)):
            stream.fail(error)
            return stream
        self._open[stream] = None
        stream.ttl = ttl
        met = obstacle(self._path(address), Shape(ttl), 0, address) if ttl else None
        fate = self._fate(address, port)
        if met is not None:
            report = report_of(met, (address, port), b"")
            self.schedule(self._now + 2 * self.latency_ns, stream.fail, met.error, report)
        elif fate is None:
            self.schedule(self._now + self.latency_ns, self._syn, stream)
        elif fate.at_once:
            stream.fail(fate.error)
        elif fate.error:
            self.schedule(self._now + 2 * self.latency_ns, stream.fail, fate.error)
        return stream

    def listen_tcp(self, address: bytes, port: int, accept: Acceptor) -> SimListener:
        """See :meth:`slirpy.interfaces.HostNetwork.listen_tcp`.

        Raises:
            OSError: the address is in use, or not one of the host's.
        """
        self.record("listen_tcp", (address, port))
        self._check_own(address)
        listener = self._listen(address, port or self._free_port(self._tcp, address), accept, near=True)
        self._open[listener] = None
        return listener

    def listen_unix(self, path: str, accept: Acceptor) -> SimListener:
        """See :meth:`slirpy.interfaces.HostNetwork.listen_unix`; see :meth:`connect_unix`.

        Raises:
            OSError: the path is in use.
        """
        place = unix_place(path)
        self.record("listen_unix", place)
        nobody = bytes((127, 0, 0, 1)), 0
        listener = self._listen(*place, lambda each: accept(AcceptedStream(each.peer, *nobody)), near=True)
        self._open[listener] = None
        return listener

    def open_udp(self, owner: DatagramOwner, family: int = 4) -> SimDatagram | int:
        """See :meth:`slirpy.interfaces.HostNetwork.open_udp`."""
        anywhere = bytes(4 if family == 4 else 16)
        self.record("open_udp", (anywhere, 0))
        return self._refusal(len(anywhere)) or self._bind(anywhere, 0, owner)

    def bind_udp(self, address: bytes, port: int, owner: DatagramOwner) -> SimDatagram:
        """See :meth:`slirpy.interfaces.HostNetwork.bind_udp`.

        Raises:
            OSError: the address is in use, or not one of the host's.
        """
        self.record("bind_udp", (address, port))
        self._check_own(address)
        return self._bind(address, port, owner)

    def open_ping(self, owner: PingOwner, family: int = 4) -> SimPing | int:
        """See :meth:`slirpy.interfaces.HostNetwork.open_ping`."""
        anywhere = bytes(4 if family == 4 else 16)
        self.record("open_ping", (anywhere, 0))
        if error := self.ping_refusal or self._refusal(len(anywhere)):
            return error
        peer = SimPing(self, owner, self.echo, family)
        self._open[peer] = None
        return peer

    def lookup(self, name: str, done: Callable[[NameAnswer], None]) -> bool:
        """See :meth:`slirpy.interfaces.HostNetwork.lookup`; the answer takes a round trip."""
        self.record("lookup", (b"", 0), name.encode())
        found = self._names.get(name.lower(), ())
        answer = NameAnswer(found or (), None if found is None else name.lower() in self._names)
        self.schedule(self._now + 2 * self.latency_ns, done, answer)
        return True

    def close(self) -> None:
        """Close all sockets of the stack. Harmless when repeated."""
        for item in tuple(self._open):
            item.close()

    # ----------------------------------------------------------- for the streams and sockets of the world

    def carry(
        self,
        payload: bytes,
        source: Place,
        destination: Place,
        sender: SimDatagram | None = None,
        shape: Shape = PLAIN,
    ) -> int:
        """Deliver a datagram after the latency, or apply its fate. Returns an errno value at once, or 0."""
        address = destination[0]
        met = obstacle(self._path(address), shape, len(payload), address) if sender is not None else None
        fate = self._fate(*destination)
        if met is not None and sender is not None:
            if met.reporter is None:
                sender.mtu = met.info
                return met.error
            told = report_of(met, destination, payload)
            self.schedule(self._now + 2 * self.latency_ns, sender.refuse, met.error, told)
        elif fate is None:
            self.schedule(
                self._now + self.latency_ns, self._datagram, payload, source, destination, sender, shape
            )
        elif fate.at_once:
            return fate.error
        elif fate.error and sender is not None:
            report = refusal(self._path(destination[0]), fate.error, destination, payload)
            self.schedule(self._now + 2 * self.latency_ns, sender.refuse, fate.error, report)
        return 0

    def echo(self, sender: SimPing, sequence: int, payload: bytes, address: bytes, shape: Shape) -> int:
        """Answer an echo request after a round trip, or apply its fate."""
        path = self._path(address)
        met = obstacle(path, shape, len(payload), address)
        fate = self._fate(address, 0)
        back = self._now + 2 * self.latency_ns
        report: IcmpReport | None = None
        if met is not None:
            if met.reporter is None:
                sender.mtu = met.info
                return met.error
            report = report_of(met, (address, 0), payload)
        elif fate is not None:
            if fate.at_once:
                return fate.error
            report = refusal(path, fate.error, (address, 0), payload)
        elif is_loopback(address) or not self._pingable.isdisjoint((address, None)):
            ttl = 64 - len(path.hops)
            self.schedule(back, sender.tell, lambda owner: owner.echo_reply(sequence, payload, address, ttl))
        if report is not None:
            told = report
            self.schedule(back, sender.tell, lambda owner: owner.echo_error(sequence, told))
        return 0

    def report(self, report: IcmpReport) -> None:
        """Deliver ``report`` to every open UDP socket of the stack, whatever it is about: for tests.

        Raises:
            ConfigError: not an IcmpReport.
        """
        instance("report", report, IcmpReport, "an IcmpReport")
        for item in tuple(self._open):
            if isinstance(item, SimDatagram):
                item.refuse(report.error, report)

    def released(self, item: object) -> None:
        """See :meth:`slirpy.testing.world.base.SimWorld.released`."""
        self._open.pop(item, None)  # type: ignore[call-overload] # anything may be asked for
        if isinstance(item, SimListener) and self._tcp.get(item.key) is item:
            del self._tcp[item.key]
        elif isinstance(item, SimDatagram | SimUdpServer) and self._udp.get(item.key) is item:
            del self._udp[item.key]

    # ---------------------------------------------------------------------------------------- inside

    def _connect(self, here: Place, where: Place, remote: Remote) -> Remote:
        stream = SimStream(self, here, where, self.buffer_bytes, near=False)
        remote.assign(stream)
        stream.own(remote)
        self.schedule(self._now + self.latency_ns, self._syn, stream)
        return remote

    def _syn(self, caller: SimStream) -> None:
        """Handle the arrival of a connection request."""
        if not caller.alive:
            return
        listener = find(self._tcp, *caller.remote)
        if listener is None:
            self.schedule(self._now + self.latency_ns, caller.fail, errno.ECONNREFUSED)
            return
        stream = SimStream(self, caller.remote, caller.local, self.buffer_bytes, listener.near)
        if listener.near:
            self._open[stream] = None
        stream.join(caller)
        stream.own(listener.accept(AcceptedStream(stream, *caller.local)))

    def _datagram(
        self, payload: bytes, source: Place, destination: Place, sender: SimDatagram | None, shape: Shape
    ) -> None:
        """Handle the arrival of a datagram."""
        socket = find(self._udp, *destination)
        if socket is not None:
            socket.deliver(payload, source, destination, shape)
        elif sender is not None:
            report = refusal(self._path(destination[0]), errno.ECONNREFUSED, destination, payload)
            self.schedule(self._now + self.latency_ns, sender.refuse, errno.ECONNREFUSED, report)

    def _listen(self, address: bytes | None, port: int | None, accept: Acceptor, near: bool) -> SimListener:
        if _is_taken(self._tcp, address, port):
            raise _error(errno.EADDRINUSE)
        listener = SimListener(self, (address, port), accept, near)
        self._tcp[address, port] = listener
        return listener

    def _bind(self, address: bytes, port: int, owner: DatagramOwner) -> SimDatagram:
        port = port or self._free_port(self._udp, address)
        if _is_taken(self._udp, address, port):
            raise _error(errno.EADDRINUSE)
        socket = SimDatagram(self, (address, port), owner, self.carry)
        self._udp[address, port] = socket
        self._open[socket] = None
        return socket

    def _refusal(self, size: int) -> int:
        """The ``errno`` value with which a socket for addresses of ``size`` bytes is refused; 0: it is allowed."""
        if (4 if size == 4 else 6) not in self.families:
            return errno.EAFNOSUPPORT
        full = self.max_sockets is not None and len(self._open) >= self.max_sockets
        return errno.EMFILE if full else 0

    def _free_port(self, table: dict[Key, Any], address: bytes) -> int:
        for _ in _PORTS:
            port = self.random.choice(_PORTS)
            if not any(key[1] == port for key in table):
                return port
        raise _error(errno.EADDRINUSE)

    def _free(self, protocol: str, table: dict[Key, Any], address: AnyAddress | None, port: int | None) -> Key:
        """Return the key of a new server."""
        key = key_of(address, port)
        if _is_taken(table, *key):
            where = "any address" if key[0] is None else ip_address(key[0])
            which = "any port" if port is None else f"port {port}"
            raise StateError(f"{protocol} {which} of {where} is served already; close that server first")
        return key

    def _check_own(self, address: bytes) -> None:
        if (4 if len(address) == 4 else 6) not in self.families:
            raise _error(errno.EAFNOSUPPORT)
        if any(address) and not self.is_own(address):
            raise _error(errno.EADDRNOTAVAIL)
