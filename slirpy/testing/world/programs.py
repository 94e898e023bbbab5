"""Programs at the far end of simulated connections: servers and clients of the outside world.

:class:`Remote` can be driven by hand from a test, or subclassed to react by itself; :class:`Echo`, :class:`Sink`,
:class:`Source` and :class:`Resetter` cover the common cases.
"""

from __future__ import annotations

from collections.abc import Callable

from slirpy.checks import amount, octets, switch
from slirpy.interfaces import AcceptedStream
from slirpy.reprs import counted, never_raises
from slirpy.testing.text import error_name
from slirpy.testing.world.places import SocketAddress, shown
from slirpy.testing.world.stream import SimListener, SimStream

__all__ = ["Echo", "Remote", "Resetter", "SimServer", "Sink", "Source"]

_PIECE = 65536


class Remote:
    """A program with one connection. It keeps the data received and offers methods to control it.

    It receives all available data at once, unless :attr:`paused`. When both directions have ended it closes.
    """

    def __init__(self) -> None:
        self.stream: SimStream | None = None
        """The connection, or None."""
        self.peer: SocketAddress | None = None
        """Address and port of the other end; None before there is a connection, and on a unix socket."""
        self.established = False
        self.received = bytearray()
        """All data received so far. May be cleared."""
        self.ended = False
        """True if the other side has sent its end, and all data before it."""
        self.error: int | None = None
        """The ``errno`` value with which the connection failed."""
        self._paused = False
        self._queue = bytearray()
        self._bytes_in = self._bytes_out = 0
        self._finishing = False
        self._finished = False

    @never_raises
    def __repr__(self) -> str:
        ends = "" if self.stream is None else f" {self.stream.ends}"
        count = f"{counted(self._bytes_in, 'byte')} in, {self._bytes_out} out"
        unsent = f", {len(self._queue)} unsent" if self._queue else ""
        return f"<{type(self).__name__}{ends} {self._state()}: {count}{unsent}>"

    def _state(self) -> str:
        if self.error is not None:
            return f"failed with {error_name(self.error)}"
        if self.stream is None:
            return "not connected"
        if not self.stream.alive:
            return "closed"
        if not self.established:
            return "connecting"
        ended = {(True, False): "end received", (False, True): "end sent"}
        return ended.get((self.ended, self._finished), "paused" if self._paused else "established")

    # ----------------------------------------------------------------------------- for tests to call

    def write(self, data: bytes) -> None:
        """Send data, now or when there is room.

        Raises:
            ConfigError: not bytes.
        """
        octets("data", data)
        self._queue += data
        self._flush()

    def finish(self) -> None:
        """Send the end after all data written."""
        self._finishing = True
        self._flush()

    def reset(self) -> None:
        """Reset the connection."""
        if self.stream is not None:
            self.stream.abort()

    def close(self) -> None:
        """Close the connection, discarding unsent data, as a program that exits does."""
        if self.stream is not None:
            self.stream.close()

    @property
    def paused(self) -> bool:
        """True if it leaves incoming data in the connection's buffer, which then fills up."""
        return self._paused

    @paused.setter
    def paused(self, value: bool) -> None:
        self._paused = switch("paused", value)
        if not value:
            self.readable()

    @property
    def unsent(self) -> int:
        """Bytes written that the connection has not yet accepted."""
        return len(self._queue)

    # ------------------------------------------------------------------------ for subclasses to override

    def on_established(self) -> None:
        """The connection is established."""

    def on_data(self, data: bytes) -> None:
        """Data arrived; it is already part of :attr:`received`."""

    def on_end(self) -> None:
        """The other side has ended its direction."""

    # ------------------------------------------------------------ what the simulation and the stream call

    def assign(self, stream: SimStream) -> None:
        """Take over one end of a connection."""
        self.stream = stream
        self.peer = shown(stream.remote) if stream.remote[1] else None

    def connected(self) -> None:
        self.established = True
        self.on_established()
        self._flush()

    def readable(self) -> None:
        stream = self.stream
        while stream is not None and not self._paused and not self.ended:
            data = stream.recv(_PIECE)
            if data is None:
                return
            if data:
                self._bytes_in += len(data)
                self.received += data
                self.on_data(data)
            else:
                self.ended = True
                self.on_end()
        self._close_if_done()

    def writable(self) -> None:
        self._flush()

    def failed(self, error: int) -> None:
        self.error = error

    def _flush(self) -> None:
        stream = self.stream
        if stream is None or not self.established:
            return
        if self._queue:
            taken = stream.send([bytes(self._queue)])
            self._bytes_out += taken
            del self._queue[:taken]
        if self._finishing and not self._queue and not self._finished:
            self._finished = True
            stream.shutdown()
            self._close_if_done()

    def _close_if_done(self) -> None:
        if self.ended and self._finished:
            self.close()


class Echo(Remote):
    """Sends everything back, and ends its direction once the other side has ended its own."""

    def on_data(self, data: bytes) -> None:
        self.received.clear()
        self.write(data)

    def on_end(self) -> None:
        self.finish()


class Sink(Remote):
    """Discards all data, keeps only the count, and ends when the other side does."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        """Bytes received."""

    def on_data(self, data: bytes) -> None:
        self.count += len(data)
        self.received.clear()

    def on_end(self) -> None:
        self.finish()


class Source(Remote):
    """Sends ``data`` at once, then the end.

    Raises:
        ConfigError: not bytes.
    """

    def __init__(self, data: bytes) -> None:
        octets("data", data)
        super().__init__()
        self._data = data

    def on_established(self) -> None:
        self.write(self._data)
        self.finish()


class Resetter(Remote):
    """Resets the connection once it has received ``after`` bytes; 0 resets at once.

    Raises:
        ConfigError: not a number of bytes.
    """

    def __init__(self, after: int = 0) -> None:
        super().__init__()
        self._after = amount("after", after, 0, " of bytes")

    def on_established(self) -> None:
        if not self._after:
            self.reset()

    def on_data(self, data: bytes) -> None:
        if len(self.received) >= self._after:
            self.reset()


class SimServer:
    """A TCP server of the outside world: one program for each connection."""

    def __init__(self, program: Callable[[], Remote]) -> None:
        self.connections: list[Remote] = []
        """The programs, in the order in which their connections arrived."""
        self.listener: SimListener | None = None
        self._program = program

    @never_raises
    def __repr__(self) -> str:
        where = "not listening" if self.listener is None else self.listener.text
        return f"<SimServer {where}: {counted(len(self.connections), 'connection')}>"

    def accept(self, accepted: AcceptedStream) -> Remote:
        """Start a program for a new connection."""
        remote = self._program()
        self.connections.append(remote)
        assert isinstance(accepted.peer, SimStream)
        remote.assign(accepted.peer)
        remote.connected()
        return remote

    def close(self) -> None:
        """Stop listening; connections stay open. Harmless when repeated."""
        if self.listener is not None:
            self.listener.close()
