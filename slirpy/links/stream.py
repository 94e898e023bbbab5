"""QEMU's ``stream`` transport: frames over a TCP or unix connection, outgoing, accepted or inherited.

A link serves one guest at a time. When its connection ends, a listening link waits for the next, a connecting link
with ``reconnect`` tries again, and any other link ends. Frames for an absent guest are dropped, as on an unplugged
cable. :mod:`slirpy.links.listener` serves many guests at one address.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from slirpy.checks import instance
from slirpy.errors import LinkError
from slirpy.errortext import strerror
from slirpy.interfaces import READ, WRITE, Frame, LinkFeatures, LinkSink, Poller, Timer
from slirpy.links.endpoint import Endpoint, adopt, check_endpoint, reason
from slirpy.links.framing import FrameStream
from slirpy.links.listeningsocket import ListeningSocket, tune
from slirpy.links.options import Options, endpoint_keys
from slirpy.links.starting import check_start
from slirpy.mypyc import mypyc_attr
from slirpy.reprs import never_raises
from slirpy.units import SECOND

__all__ = ["StreamLink", "stream_netdev"]

_LONGEST_WAIT: Final = 86_400  # seconds between two attempts to connect
_UNDERWAY: Final = (0, errno.EINPROGRESS, errno.EWOULDBLOCK)


@mypyc_attr(allow_interpreted_subclasses=True)
class StreamLink:
    """Frames over a connection. Made by :meth:`connect`, :meth:`listen`, :meth:`from_fd`, or from a connected
    socket.

    Attributes:
        features: none; the other end expects complete frames.
        on_state: called with True when a connection is established, with False when it has ended; not by ``close``.
    """

    features: LinkFeatures
    on_state: Callable[[bool], object] | None

    def __init__(self, sock: socket.socket | None = None) -> None:
        if sock is not None:
            instance("sock", sock, socket.socket, "a socket")
        self.features = LinkFeatures()
        self.on_state = None
        self._stream = FrameStream(tune(sock)) if sock is not None else None
        self._connecting = False
        self._waiting = False  # for room
        self._listener: ListeningSocket | None = None
        self._target: Endpoint | None = None
        self._interval = 0
        self._timer: Timer | None = None
        self._sink: LinkSink | None = None
        self._poller: Poller | None = None
        self._closed = False

    @never_raises
    def __repr__(self) -> str:
        place = (
            f" at {self.address}"
            if self._listener is not None
            else f" to {self._target}"
            if self._target
            else ""
        )
        guest = "closed" if self._closed else "connected" if self.connected else "no guest"
        return f"<{type(self).__name__}{place}: {guest}>"

    @classmethod
    def connect(cls, target: Endpoint, *, reconnect: float = 0.0) -> StreamLink:
        """Make a link that connects.

        Args:
            target: address of a listener.
            reconnect: seconds between attempts, also after a connection has ended; 0: only one attempt.

        Raises:
            ConfigError: ``target`` is not an Endpoint.
            LinkError: the connection is refused at once and ``reconnect`` is 0; ``reconnect`` is not a number, is
                negative, or more than a day.
        """
        check_endpoint("target", target)
        link = cls()
        link._target = target
        link._interval = _interval(reconnect)
        error = link._dial(target)
        if error and not link._interval:
            raise LinkError(
                f"cannot connect to {target}: {strerror(error).lower()}; start the listener first, "
                "or set reconnect"
            )
        return link

    @classmethod
    def listen(cls, endpoint: Endpoint) -> StreamLink:
        """Make a link that waits for a guest, and for the next when that one has gone; others wait meanwhile.

        Raises:
            ConfigError: not an Endpoint.
            LinkError: the address is in use, or not available.
        """
        check_endpoint("endpoint", endpoint)
        link = cls()
        link._listener = ListeningSocket(endpoint.bind(socket.SOCK_STREAM), endpoint)
        return link

    @classmethod
    def from_fd(cls, fd: int) -> StreamLink:
        """Make a link from an inherited stream socket, connected or listening, and take it over.

        Raises:
            LinkError: the descriptor is not such a socket.
        """
        sock = adopt(fd, socket.SOCK_STREAM)
        try:
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                link = cls()
                link._listener = ListeningSocket(sock, None)
                return link
            sock.getpeername()
        except OSError as error:
            sock.detach()
            raise LinkError(f"descriptor {fd}: {reason(error)}; pass a connected or listening socket") from None
        return cls(sock)

    @property
    def connected(self) -> bool:
        """True if a guest is connected."""
        return self._stream is not None and not self._connecting

    @property
    def address(self) -> Endpoint | None:
        """The listening address, or None."""
        return None if self._listener is None else self._listener.address()

    # ---------------------------------------------------------------------------- as a Link

    def start(self, sink: LinkSink, poller: Poller) -> None:
        """Deliver the guest's frames.

        Raises:
            StateError: the link is started already, or closed.
        """
        check_start(self, started=self._sink is not None, closed=self._closed)
        self._sink, self._poller = sink, poller
        if self._stream is not None:
            self._watch(self._stream)
        elif self._listener is not None:
            poller.register(self._listener.sock.fileno(), READ, self._accept_ready)
        else:
            self._schedule_attempt()

    def send(self, frames: Sequence[Frame]) -> int:
        """Send many frames by one system call; without a guest they are dropped."""
        sink, stream = self._sink, self._stream
        if sink is None or stream is None or self._connecting:
            if sink is not None:
                sink.lost(len(frames))
            return len(frames)
        if self._waiting:
            return 0
        taken = stream.send(frames, sink)
        if stream.blocked and self._poller is not None:
            self._waiting = True
            self._poller.modify(stream.sock.fileno(), READ | WRITE, self._ready)
        return taken

    def close(self) -> None:
        """Close the connection, and remove the path of a listening unix socket."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        watched = self._listener if self._stream is None else None
        if watched is not None and self._poller is not None:
            self._poller.unregister(watched.sock.fileno())
        self._hang_up()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self._sink = self._poller = self.on_state = None

    def abandon(self) -> None:
        """Close the descriptors, in a forked child."""
        StreamLink.close(self)

    # ------------------------------------------------------------------- connections come and go

    def _watch(self, stream: FrameStream) -> None:
        assert self._poller is not None
        assert self._sink is not None
        self._poller.register(stream.sock.fileno(), WRITE if self._connecting else READ, self._ready)
        if not self._connecting:
            self._sink.stats.link_connections += 1
            self._report(True)

    def _report(self, there: bool) -> None:
        if self.on_state is not None:
            self.on_state(there)

    def _dial(self, target: Endpoint) -> int:
        """Begin to connect; returns the ``errno`` of a failure, or 0."""
        try:
            sock = target.open(socket.SOCK_STREAM)
        except LinkError:
            return errno.EMFILE
        if sock.family != getattr(socket, "AF_UNIX", None):
            tune(sock)
        error = sock.connect_ex(target.address)
        # A unix socket whose listener has no room returns EAGAIN: that attempt has failed, it is not in progress.
        if error not in _UNDERWAY or (error and target.local):
            sock.close()
            return error
        self._stream = FrameStream(sock)
        self._connecting = error != 0
        return 0

    def _schedule_attempt(self) -> None:
        """Schedule another attempt, if the link reconnects."""
        assert self._sink is not None
        if self._interval:
            self._timer = self._sink.call_at(self._sink.now + self._interval, self._attempt)

    def _attempt(self) -> None:
        self._timer = None
        assert self._sink is not None
        assert self._target is not None
        if self._dial(self._target):
            self._sink.stats.link_connect_failures += 1
            self._schedule_attempt()
        elif self._stream is not None:
            self._watch(self._stream)

    def _accept_ready(self, mask: int) -> None:
        """Accept a connection. The listening socket is not watched again until that connection has ended."""
        assert self._listener is not None
        assert self._poller is not None
        assert self._sink is not None
        sock = self._listener.accept(self._sink.stats)
        if sock is not None:
            self._poller.unregister(self._listener.sock.fileno())
            self._stream = FrameStream(sock)
            self._watch(self._stream)

    def _ready(self, mask: int) -> None:
        stream, sink, poller = self._stream, self._sink, self._poller
        if stream is None or sink is None or poller is None:
            return
        if self._connecting:
            self._attempt_ended(stream, sink, poller)
            return
        if mask & WRITE and self._waiting and stream.resume():
            self._waiting = False
            poller.modify(stream.sock.fileno(), READ, self._ready)
            sink.writable()
        if not mask & READ:
            return
        if stream.receive(sink):
            if stream.unfinished and self._stream is stream:
                poller.again(stream.sock.fileno())
        elif self._stream is stream:
            sink.stats.link_disconnects += 1
            self._connection_ended()
            self._report(False)

    def _attempt_ended(self, stream: FrameStream, sink: LinkSink, poller: Poller) -> None:
        """Handle the outcome of an attempt to connect."""
        self._connecting = False
        if stream.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            sink.stats.link_connect_failures += 1
            self._connection_ended()
            if not self._interval:
                self._report(False)
        else:
            poller.modify(stream.sock.fileno(), READ, self._ready)
            sink.stats.link_connections += 1
            self._report(True)

    def _hang_up(self) -> None:
        if self._stream is not None:
            if self._poller is not None:
                self._poller.unregister(self._stream.sock.fileno())
            self._stream.close()
            self._stream = None
            self._connecting = False

    def _connection_ended(self) -> None:
        """Handle the end of the connection: wait for another, if the link does that."""
        self._hang_up()
        assert self._sink is not None
        assert self._poller is not None
        if self._listener is not None:
            self._poller.register(self._listener.sock.fileno(), READ, self._accept_ready)
        else:
            self._schedule_attempt()
        if self._waiting:
            self._waiting = False
            self._sink.writable()  # waiting frames are dropped from here on, rather than wait forever


def _interval(reconnect: float) -> int:
    """Return the nanoseconds between attempts to connect."""
    number = isinstance(reconnect, int | float) and not isinstance(reconnect, bool)
    if number and reconnect < 0:
        raise LinkError(f"reconnect {reconnect} is negative; give seconds, or 0 for a single attempt")
    if not number or not reconnect <= _LONGEST_WAIT:
        raise LinkError(
            f"reconnect {reconnect!r} is not a number of seconds from 0, for a single attempt, to {_LONGEST_WAIT}"
        )
    return round(reconnect * SECOND)


def stream_netdev(options: Options) -> Callable[[], StreamLink]:
    """Read ``stream,...``; see :mod:`slirpy.links.table`."""
    options.allow(
        *("server", "reconnect", "reconnect-ms"),
        *endpoint_keys("addr"),
    )
    server = options.flag("server")
    seconds = options.number("reconnect", 0, 86400, 0)
    milliseconds = options.number("reconnect-ms", 0, 86_400_000, 0)
    address = options.endpoint("addr", socket.SOCK_STREAM)
    options.done()
    if seconds and milliseconds:
        raise options.error("reconnect and reconnect-ms are alternatives; give one of them")
    again = seconds or milliseconds / 1000
    if again and (server or isinstance(address, int)):
        raise options.error("reconnect is only for links that connect; leave it out")
    if isinstance(address, int):
        return partial(StreamLink.from_fd, address)
    return (
        partial(StreamLink.listen, address) if server else partial(StreamLink.connect, address, reconnect=again)
    )
