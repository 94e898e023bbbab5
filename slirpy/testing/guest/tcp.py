"""TCP of a :class:`~slirpy.testing.guest.Guest`: streams with simple calls, and listening ports."""

from __future__ import annotations

import errno
from collections.abc import Callable
from ipaddress import ip_address

from slirpy.checks import octets
from slirpy.config.text import with_port
from slirpy.errors import StateError
from slirpy.interfaces import Buffer, StreamOwner
from slirpy.reprs import counted, never_raises
from slirpy.tcp import Connection, State
from slirpy.testing.guest.ip import IpHost
from slirpy.testing.guest.tcphost import TcpHost, TcpStream
from slirpy.testing.text import error_name

__all__ = ["GuestStream", "GuestTcp", "StreamListener"]


class GuestStream(TcpStream):
    """One TCP connection of a guest.

    Attributes:
        conn: the engine's connection, for inspection.
        address, port: the far end.
        local_port: the guest's port.
        received: data that arrived and was not yet read.
        count: number of bytes received in total.
        paused: while true, arriving data stays in the engine, and the advertised window shrinks; see :meth:`resume`.
        owner: is notified of the connection, as that of a host's stream is; None: nobody. It is ``connected`` unless
            the stream is an accepted one; ``readable`` when data was added to ``received``, or when the end has
            arrived; ``writable`` when everything written has been acknowledged; or it has ``failed``. After
            :meth:`abort`, it hears nothing more.
    """

    __slots__ = (
        "_connected",
        "_ended",
        "_failed",
        "_unsent",
        "_written",
        "count",
        "on_data",
        "owner",
        "paused",
        "received",
    )

    def __init__(self, host: GuestTcp, key: bytes, conn: Connection, listener: object = None) -> None:
        super().__init__(host, key, conn, listener)
        self._ended = False  # on_data was called for the end
        # What the owner does not know yet.
        self._connected = listener is not None
        self._failed = self._unsent = False
        self._written = 0
        self.received = bytearray()
        self.count = 0
        self.paused = False
        self.on_data: Callable[[GuestStream], None] | None = None
        """Called when data was added to ``received``, or when the end has arrived."""
        self.owner: StreamOwner | None = None

    @never_raises
    def __repr__(self) -> str:
        far, far_port, own, port = self.places
        error = f", {error_name(self.error)}" if self.error else ""
        paused = ", paused" if self.paused else ""
        return (
            f"<GuestStream {with_port(ip_address(own), port)} - {with_port(ip_address(far), far_port)}"
            f" {self.state.value}: {counted(self.count, 'byte')} in, {self._written} out,"
            f" {self.unsent} unacknowledged{paused}{error}>"
        )

    # ------------------------------------------------------------------------------------ looking at it

    @property
    def state(self) -> State:
        """Return the state of RFC 9293, section 3.3.2."""
        return self.conn.state

    @property
    def eof(self) -> bool:
        """True if the far side has ended its direction, and ``received`` got everything before that."""
        return self.conn.fin_received and not self.conn.rcv_pending

    @property
    def error(self) -> int:
        """Reason why the connection died: 0, or an ``errno`` value, such as ECONNREFUSED or ECONNRESET."""
        return self.conn.error

    @property
    def closed(self) -> bool:
        """True if both directions have ended, or the connection died."""
        return self.conn.state in (State.CLOSED, State.TIME_WAIT)

    @property
    def unsent(self) -> int:
        """Bytes written that the far side has not acknowledged."""
        return self.conn.snd_buf.length

    # ------------------------------------------------------------------------------------ what it can do

    def write(self, data: Buffer) -> None:
        """Send data as soon as the far side's window allows; the queue has no limit.

        Raises:
            ConfigError: not bytes.
            StateError: after :meth:`shutdown`, or on a dead connection.
        """
        octets("data", data)
        if self.conn.fin_queued or self.conn.state is State.CLOSED:
            raise StateError(
                f"this stream ({self.conn.state.value}) takes no more data: it was shut down or is dead"
            )
        copy = memoryview(data).tobytes()
        if copy:
            self._written += len(copy)
            self._unsent = True
            self.conn.write(copy)
            self.act()

    def read(self) -> bytes:
        """Remove and return everything in ``received``."""
        data = bytes(self.received)
        self.received.clear()
        return data

    def shutdown(self) -> None:
        """End the outgoing direction, after all data written. The incoming one stays open."""
        self.conn.shutdown()
        self.act()

    def abort(self) -> None:
        """Reset the connection."""
        self.owner = None
        self.conn.abort(errno.ECONNABORTED)
        self.act()

    def resume(self) -> None:
        """End a pause."""
        self.paused = False
        self.act()

    # ------------------------------------------------------------------------------------------- inside

    def opened(self) -> None:
        if isinstance(self.listener, StreamListener):
            listener, self.listener = self.listener, None
            listener.accepted.append(self)
            if listener.on_accept is not None:
                listener.on_accept(self)

    def service(self, now: int) -> None:
        taken = self._take()  # before sending, so that an ACK has the window that this leaves
        self.transmit(now)
        if self.conn.rcv_queue:
            self.conn.copy_received()
        ends = self.eof and not self._ended
        self._ended = self._ended or ends
        if self.on_data is not None and (ends or taken):
            self.on_data(self)
        if self.owner is not None:
            self._notify(self.owner, taken or ends)

    def _notify(self, owner: StreamOwner, arrived: bool) -> None:
        """Notify the owner of what has changed, unless it has left meanwhile."""
        if self.established and not self._connected:
            self._connected = True
            owner.connected()
        if arrived and self.owner is owner:
            owner.readable()
        dead = self.conn.state is State.CLOSED
        if self._unsent and self.established and not self.unsent and not dead and self.owner is owner:
            self._unsent = False
            owner.writable()
        if dead and self.error and not self._failed and self.owner is owner:
            self._failed = True
            owner.failed(self.error)

    def _take(self) -> bool:
        """Take the data received; returns whether there was any."""
        conn = self.conn
        count = conn.rcv_pending
        if not count or self.paused:
            return False
        for piece in conn.rcv_queue:
            self.received += piece
        self.count += count
        conn.consume(count)
        return True


class StreamListener:
    """A listening port of a guest."""

    def __init__(self, host: GuestTcp, port: int) -> None:
        self._host = host
        self.port = port
        self.accepted: list[GuestStream] = []
        """Established streams, in order. May be changed."""
        self.on_accept: Callable[[GuestStream], None] | None = None
        """Called with each stream that was added to ``accepted``."""

    @never_raises
    def __repr__(self) -> str:
        closed = "" if self._host.listeners.get(self.port) is self else " closed"
        return f"<StreamListener :{self.port}{closed}: {counted(len(self.accepted), 'stream')} accepted>"

    def close(self) -> None:
        """Stop listening; streams stay open. Harmless when repeated."""
        self._host.listeners.pop(self.port, None)


class GuestTcp(TcpHost[GuestStream]):
    """All TCP connections of a guest."""

    def __init__(self, guest: IpHost) -> None:
        super().__init__(guest)
        self.listeners: dict[int, StreamListener] = {}

    def connect(self, address: bytes, port: int, rcv_buffer: int) -> GuestStream:
        """Start a connection from a free port."""
        return self.open(self.free_key(address, port), rcv_buffer)

    def listen(self, port: int) -> StreamListener:
        """Reserve a port."""
        if port in self.listeners:
            raise StateError(f"TCP port {port} of this guest is in use; close that listener first")
        listener = self.listeners[port] = StreamListener(self, port)
        return listener

    def find_listener(self, address: bytes, port: int) -> StreamListener | None:
        return self.listeners.get(port)

    def make(self, key: bytes, conn: Connection, listener: object) -> GuestStream:
        return GuestStream(self, key, conn, listener)
