"""TCP streams of a host in virtual time, as a program's socket has them: the seam of host networks.

A :class:`HostStream` is a :class:`~slirpy.interfaces.StreamPeer` on the TCP engine. It behaves as a socket of Linux:
received data stays in the receive buffer, and closes the window, until ``recv`` takes it; ``close`` sends a RST if
data was left unread (RFC 2525, section 2.17), and otherwise a FIN after what was written.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from ipaddress import ip_address

from slirpy.config.text import with_port
from slirpy.interfaces import AcceptedStream, Acceptor, Buffer, StreamOwner
from slirpy.reprs import never_raises
from slirpy.tcp import Connection, Settings
from slirpy.tcp.segment import Emit
from slirpy.tcp.states import CLOSED, FIN_WAIT_2
from slirpy.testing.guest.ip import IpHost
from slirpy.testing.guest.tcphost import TcpHost, TcpStream
from slirpy.testing.sim.emitting import segment_emitter
from slirpy.testing.sim.ports import free_port, in_use, overlap
from slirpy.testing.sim.trace import CarrySegment
from slirpy.testing.text import error_name
from slirpy.units import SECOND

__all__ = ["HostListener", "HostStream", "HostTcp"]

ORPHAN = 60 * SECOND
"""Time that a closed stream spends in FIN-WAIT-2, as ``net.ipv4.tcp_fin_timeout`` of Linux."""


class _Nobody:
    """Owner of a stream that no program uses any more."""

    def connected(self) -> None: ...

    def readable(self) -> None: ...

    def writable(self) -> None: ...

    def failed(self, error: int) -> None: ...


NOBODY = _Nobody()


class HostStream(TcpStream):
    """One connection, as a socket of a program has it."""

    level_triggered = False

    __slots__ = ("_announced", "_connected", "_dead", "_expires_at", "_orphan", "_wants_room", "owner")

    _host: HostTcp

    def __init__(self, host: HostTcp, key: bytes, conn: Connection, listener: HostListener | None) -> None:
        super().__init__(host, key, conn, listener)
        self.owner: StreamOwner = NOBODY
        self._connected = False  # the owner knows of the connection
        self._announced = 0  # bytes of the stream, and its end, of which the owner knows
        self._wants_room = False
        self._dead = False
        self._orphan = False
        self._expires_at = 0  # in FIN-WAIT-2, if no program uses it any more

    @never_raises
    def __repr__(self) -> str:
        error = f", {error_name(self.conn.error)}" if self.conn.error else ""
        (own, port), (far, far_port) = self.local, self.remote
        return (
            f"<HostStream {with_port(ip_address(own), port)} - {with_port(ip_address(far), far_port)}"
            f" {self.conn.state.value}{error}>"
        )

    def emitter(self) -> Emit:
        far, port, own, own_port = self.places
        stack = self._host.guest
        straight = self._host.straight_to(far)
        if straight is None:
            return super().emitter()
        mac, carry = straight
        return segment_emitter(mac + stack.mac, (own, own_port, far, port), stack.counters, carry)

    @property
    def local(self) -> tuple[bytes, int]:
        """Address and port of this end."""
        return self.places[2:]

    @property
    def remote(self) -> tuple[bytes, int]:
        """Address and port of the far end."""
        return self.places[:2]

    @property
    def room(self) -> int:
        """Bytes that :meth:`send` takes now."""
        conn = self.conn
        if conn.fin_queued or conn.state is CLOSED or not self.established:
            return 0
        return max(conn.settings.snd_buffer - conn.snd_buf.length, 0)

    @property
    def has_room(self) -> bool:
        """True if a third of the send buffer is free, as Linux wakes a writer, or if no data can be sent any more."""
        conn = self.conn
        if conn.fin_queued or conn.state is CLOSED:
            return True
        return self.established and self.room * 3 >= conn.settings.snd_buffer

    @property
    def available(self) -> int:
        """Bytes that :meth:`recv` has to return."""
        return self.conn.rcv_pending

    @property
    def ended(self) -> bool:
        """True if the far side's end has been received; unread data may be before it."""
        return self.conn.fin_received

    def has_news(self) -> bool:
        """Report whether :meth:`recv` has something to return: data, or the end."""
        return self.conn.rcv_pending > 0 or self.conn.fin_received

    # ------------------------------------------------------------------------- what the owner calls

    def send(self, buffers: Sequence[Buffer]) -> int:
        """See :meth:`slirpy.interfaces.StreamPeer.send`."""
        room = self.room
        data = b"".join(buffers)
        if len(data) >= room:
            self._wants_room = True
            data = data[:room]
        if data:
            self.conn.write(data)
            self.act()
        return len(data)

    def recv(self, limit: int) -> bytes | None:
        """See :meth:`slirpy.interfaces.StreamPeer.recv`."""
        conn = self.conn
        if conn.rcv_pending:
            data = conn.read(limit)
            growth = conn.rcv_limit - conn.rcv_pending - conn.rcv_wnd
            if 2 * growth >= min(4 * conn.mss, conn.rcv_limit) and conn.state is not CLOSED:
                self.act()  # less is not announced by a segment of its own
            return data
        return b"" if conn.fin_received else None

    def act(self) -> None:
        self._host.serve(self)

    def shutdown(self) -> None:
        """See :meth:`slirpy.interfaces.StreamPeer.shutdown`."""
        self.conn.shutdown()
        self.act()

    def abort(self) -> None:
        """See :meth:`slirpy.interfaces.StreamPeer.abort`."""
        self._abandon()
        self.conn.abort()
        self.act()

    def close(self) -> None:
        """See :meth:`slirpy.interfaces.StreamPeer.close`."""
        conn = self.conn
        if self._orphan or conn.state is CLOSED:
            self._abandon()
            return
        self._abandon()
        if conn.rcv_pending or not self.established:
            conn.abort()
        else:
            conn.shutdown()
        self.act()

    def _abandon(self) -> None:
        self._orphan = True
        self.owner = NOBODY

    def _due(self) -> None:
        if self._expires_at and self.conn.state is FIN_WAIT_2 and self._host.guest.now >= self._expires_at:
            self.conn.close_with(0)
        super()._due()

    # ------------------------------------------------------------------------------------ inside

    def opened(self) -> None:
        listener, self.listener = self.listener, None
        if isinstance(listener, HostListener):
            listener.opening.discard(self)
            if listener.closed:
                self.conn.abort()
                return
            self._connected = True
            self.owner = listener.accept(AcceptedStream(self, *self.remote))

    def service(self, now: int) -> None:
        self.transmit(now)
        conn = self.conn
        if self._orphan:
            if conn.rcv_pending and conn.state is not CLOSED:
                conn.abort()  # nobody will read it
                self._host.mark(self)
            elif conn.state is FIN_WAIT_2:  # in which the engine has no timer
                self._expires_at = self._expires_at or now + ORPHAN
                self._alarm.set(self._expires_at)
            return
        if self.established:
            if not self._connected:
                self._connected = True
                self.owner.connected()
            arrived = (conn.rcv_nxt - conn.irs) & 0xFFFFFFFF
            if arrived != self._announced:
                first = not self._announced
                self._announced = arrived
                if not first or conn.rcv_pending or conn.fin_received:
                    self.owner.readable()
            if self._wants_room and self.room and self.has_room:
                self._wants_room = False
                self.owner.writable()
        if conn.state is CLOSED and not self._dead:
            self._end()

    def _end(self) -> None:
        """Report the end of the connection."""
        conn = self.conn
        self._dead = True
        if isinstance(self.listener, HostListener):
            self.listener.opening.discard(self)
        error = conn.error
        if error == errno.ECONNRESET and conn.fin_received and not conn.fin_queued:
            error = errno.EPIPE  # as Linux has it in CLOSE-WAIT
        if error:
            self.owner.failed(error)


def _never() -> bool:
    return False


class HostListener:
    """A listening port of a host.

    Args:
        host: the TCP of the host.
        address: the address to listen at; zeros: all of the family; with ``dual`` all of both families.
        port: its port.
        accept: called with each new connection.
        dual: whether connections over IPv4 are accepted as well, as a socket without IPV6_V6ONLY does.
    """

    def __init__(self, host: HostTcp, address: bytes, port: int, accept: Acceptor, dual: bool) -> None:
        self._host = host
        self._place = address, port
        self.accept: Callable[[AcceptedStream], StreamOwner] = accept
        self.dual = dual
        self.opening: set[HostStream] = set()
        self.rcv_buffer = 0
        """Bytes that the receive buffer of each connection holds; 0: as the host's settings say."""
        self.is_full: Callable[[], bool] = _never
        """Function that reports whether SYNs are ignored, because earlier connections were not accepted."""
        self.closed = False

    @never_raises
    def __repr__(self) -> str:
        address, port = self._place
        return f"<HostListener {with_port(ip_address(address), port)}{' closed' if self.closed else ''}>"

    @property
    def address(self) -> tuple[bytes, int]:
        """See :attr:`slirpy.interfaces.Listener.address`."""
        return self._place

    @property
    def covers(self) -> tuple[bytes, bool]:
        """Address of the listener, and whether zeros mean both families."""
        return self._place[0], self.dual

    def matches(self, address: bytes) -> bool:
        """Report whether connections to this address of the host are for the listener."""
        own = self._place[0]
        return own == address or (not any(own) and (self.dual or len(own) == len(address)))

    def close(self) -> None:
        """See :meth:`slirpy.interfaces.Listener.close`."""
        self.closed = True
        self._host.unlisten(self)


@lru_cache(maxsize=1024)
def _settings_within(base: Settings, mss: int, version: int, rcv_buffer: int) -> Settings:
    """Return the settings of a connection; a test may make thousands of networks that need the same."""
    settings = replace(base, mss=mss, peer_mss=536 if version == 4 else 1220)
    if rcv_buffer:
        settings = replace(settings, rcv_buffer=rcv_buffer, rcv_buffer_initial=rcv_buffer)
    return settings


class HostTcp(TcpHost[HostStream]):
    """All TCP connections of a host.

    Args:
        guest: the host's stack.
        base: settings of every connection; sizes that depend on the path are replaced.
        straight_to: returns the MAC address of a neighbor, and the function that takes segments for it; None:
            segments go the way of all packets.
        serve: does what is due for a stream, and all that follows.
    """

    def __init__(
        self,
        guest: IpHost,
        base: Settings,
        straight_to: Callable[[bytes], tuple[bytes, CarrySegment] | None],
        serve: Callable[[HostStream], None],
    ) -> None:
        super().__init__(guest)
        self.serve = serve
        self.straight_to = straight_to
        self.base = base
        self.listeners: dict[int, list[HostListener]] = {}
        self._settings: dict[tuple[int, int, int], Settings] = {}
        """Settings of connections by what differs between them: MSS, IP version, and size of the receive buffer."""

    def settings(self, far: bytes, rcv_buffer: int = 0) -> Settings:
        header, version = (40, 4) if len(far) == 4 else (60, 6)
        limits = self.guest.mtu_for(far) - header, version, rcv_buffer
        settings = self._settings.get(limits)
        if settings is None:
            settings = self._settings[limits] = _settings_within(self.base, *limits)
        return settings

    def listen(self, address: bytes, port: int, accept: Acceptor, *, dual: bool = False) -> HostListener:
        """Listen at an address; port 0 chooses a free one.

        Raises:
            OSError: EADDRINUSE: another listener has the port at that address.
        """
        port = port or free_port(self.guest.random, self.listeners.__contains__)
        for other in self.listeners.get(port, ()):
            if overlap(*other.covers, address, dual):
                raise in_use(address, port)
        listener = HostListener(self, address, port, accept, dual)
        self.listeners.setdefault(port, []).append(listener)
        return listener

    def unlisten(self, listener: HostListener) -> None:
        """Forget a listener, and reset the connections that it has not accepted."""
        port = listener.address[1]
        others = [each for each in self.listeners.get(port, ()) if each is not listener]
        if others:
            self.listeners[port] = others
        else:
            self.listeners.pop(port, None)
        for stream in list(listener.opening):
            stream.abort()
        listener.opening.clear()

    def find_listener(self, address: bytes, port: int) -> HostListener | None:
        found = None
        for listener in self.listeners.get(port, ()):
            if listener.matches(address):
                found = listener
                if any(listener.address[0]):
                    break  # the more specific one
        return found

    def settings_for(self, listener: object, far: bytes) -> Settings:
        return self.settings(far, listener.rcv_buffer if isinstance(listener, HostListener) else 0)

    def is_full(self, listener: object) -> bool:
        return isinstance(listener, HostListener) and listener.is_full()

    def make(self, key: bytes, conn: Connection, listener: object) -> HostStream:
        if not isinstance(listener, HostListener):
            return HostStream(self, key, conn, None)
        stream = HostStream(self, key, conn, listener)
        listener.opening.add(stream)
        return stream
