"""QEMU's ``dgram`` transport, and the udp and mcast forms of ``socket``: each datagram is one frame.

Over UDP and unix datagram sockets. Nothing tells that the other end is there or not, so nothing is fatal: what it
does not take is counted, and the link goes on.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Callable, Sequence
from functools import partial

from slirpy import forks
from slirpy.errors import LinkError
from slirpy.interfaces import READ, WRITE, Frame, LinkFeatures, LinkSink, Poller
from slirpy.links.endpoint import Endpoint, adopt, reason
from slirpy.links.options import Options, place_keys
from slirpy.links.starting import check_start

__all__ = ["DgramLink", "dgram_netdev", "is_multicast", "multicast"]

_LONGEST = 69632  # QEMU's bound of a frame
_ROOM = 256 * 1024
_BATCH = 64  # frames of one poll
_KERNEL_ROOM = 1 << 20  # asked for; the system gives what it allows. What does not fit there is lost
_NOT_OURS = -1
_FULL = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)
_GONE = (errno.ECONNREFUSED, errno.ENOTCONN, errno.EDESTADDRREQ, errno.ENOENT, errno.ECONNRESET)


class DgramLink:
    """Frames in datagrams: made by :meth:`open`, :meth:`from_fd`, :func:`multicast`, or of a connected socket.

    Only datagrams of the other end are taken. It need not be there: what cannot be delivered is counted, and delivery
    begins when it comes.

    Attributes:
        features: none; the far side wants complete frames.
    """

    features: LinkFeatures

    def __init__(
        self, sock: socket.socket, *, local: Endpoint | None = None, remote: Endpoint | None = None
    ) -> None:
        """Take a datagram socket over.

        Args:
            sock: connected, or not yet when ``remote`` is given.
            local: its path is removed at close.
            remote: to connect to, now, and again when it has refused.
        """
        sock.setblocking(False)
        for room in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, room, _KERNEL_ROOM)
        self.features = LinkFeatures()
        self._sock: socket.socket | None = sock
        self._out = sock
        self._receive: Callable[[memoryview], int] = sock.recv_into
        self._local = local
        self._inode = None if local is None else local.inode()
        self._made_at = forks.count
        self._remote = remote
        self._connected = remote is None
        self._view = memoryview(bytearray(_ROOM))
        self._waiting = False
        self._sink: LinkSink | None = None
        self._poller: Poller | None = None
        self._connect()

    @classmethod
    def open(cls, local: Endpoint, remote: Endpoint) -> DgramLink:
        """A link between two addresses.

        Args:
            local: where to receive; for a unix socket a path, which is removed at close.
            remote: where the other end receives.

        Raises:
            LinkError: ``local`` is in use or cannot be had, or the two are of different kinds.
        """
        if local.family != remote.family:
            raise LinkError(f"local {local} and remote {remote} are of different kinds; give two of one kind")
        return cls(local.bind(socket.SOCK_DGRAM), local=local, remote=remote)

    @classmethod
    def from_fd(cls, fd: int) -> DgramLink:
        """A link on an inherited datagram socket that is connected, which it takes over.

        Raises:
            LinkError: the descriptor is no such socket.
        """
        sock = adopt(fd, socket.SOCK_DGRAM)
        try:
            sock.getpeername()
        except OSError as error:
            sock.detach()
            raise LinkError(f"descriptor {fd}: {reason(error)}; pass a connected datagram socket") from None
        return cls(sock)

    @property
    def address(self) -> Endpoint | None:
        """Where the link receives, with the port that was chosen where 0 was asked for; None for a descriptor."""
        if self._local is None or self._sock is None or self._local.local:
            return self._local
        return Endpoint(self._local.family, self._sock.getsockname())

    def _connect(self) -> bool:
        """Connected, a socket takes datagrams of ``remote`` alone, hears of refusals, and can wait for room there."""
        if not self._connected and self._remote is not None:
            self._connected = not self._out.connect_ex(self._remote.address)
        return self._connected

    # ---------------------------------------------------------------------------- as a Link

    def start(self, sink: LinkSink, poller: Poller) -> None:
        """Deliver what the guest sends.

        Raises:
            StateError: it is started already, or closed.
        """
        check_start(self, started=self._sink is not None, closed=self._sock is None)
        if self._sock is not None:
            self._sink, self._poller = sink, poller
            poller.register(self._sock.fileno(), READ, self._ready)
            if self._out is not self._sock:
                poller.register(self._out.fileno(), 0, self._room)

    def _ready(self, mask: int) -> None:
        if mask & WRITE and self._waiting:
            self._room(mask)
        if mask & READ:
            self._read()

    def _read(self) -> None:
        """Take a batch; each frame lies behind the one before, and the room is used again at the next poll."""
        sink, view, receive = self._sink, self._view, self._receive
        if sink is None:
            return
        put, start = sink.input, 0
        for _ in range(_BATCH):
            if _ROOM - start <= _LONGEST:
                return
            try:
                count = receive(view[start:])
            except OSError as error:
                if error.errno in _FULL or self._sock is None:
                    return
                sink.stats.drop_link_refused += 1  # an earlier datagram of ours; reported once
                continue
            if count > _LONGEST:
                sink.stats.drop_link_oversized += 1
            elif count != _NOT_OURS:
                put(view[start : start + count])
                start += count

    def send(self, frames: Sequence[Frame]) -> int:
        """Send each frame; the kernel takes one at a time."""
        sink = self._sink
        if sink is None:
            return len(frames)
        if self._waiting:
            return 0
        if not self._connect():
            sink.stats.drop_link_refused += len(frames)
            return len(frames)
        send, join = self._out.send, b"".join
        for sent, frame in enumerate(frames):
            try:
                send(join(frame[0]))
            except OSError as error:
                if error.errno in _FULL:
                    self._wait()
                    return sent
                if error.errno not in _GONE:
                    sink.lost(1)
                    continue
                sink.stats.drop_link_refused += 1
                # A unix socket was removed, and another may be in its place.
                self._connected = self._remote is None or not self._remote.local
                if not self._connect():
                    sink.stats.drop_link_refused += len(frames) - sent - 1
                    return len(frames)
        return len(frames)

    def _wait(self) -> None:
        if self._poller is not None:
            self._waiting = True
            if self._out is self._sock:
                self._poller.modify(self._out.fileno(), READ | WRITE, self._ready)
            else:
                self._poller.modify(self._out.fileno(), WRITE, self._room)

    def _room(self, mask: int) -> None:
        """There is room again."""
        if self._poller is None or self._sink is None:
            return
        self._waiting = False
        if self._out is self._sock:
            self._poller.modify(self._out.fileno(), READ, self._ready)
        else:
            self._poller.modify(self._out.fileno(), 0, self._room)
        self._sink.writable()

    def close(self) -> None:
        """Close the socket, and remove its path. Harmless when repeated."""
        sock, self._sock = self._sock, None
        if sock is None:
            return
        for one in {sock, self._out}:
            if self._poller is not None:
                self._poller.unregister(one.fileno())
            one.close()
        if self._local is not None and not forks.is_fork(self._made_at):
            self._local.remove(self._inode)
        self._sink = self._poller = None

    abandon = close


def is_multicast(place: Endpoint) -> bool:
    """Whether an address is a group's, not one peer's."""
    return not place.local and ipaddress.ip_address(place.address[0].partition("%")[0]).is_multicast


def multicast(group: Endpoint, interface: str = "") -> DgramLink:
    """A link to all who joined an IPv4 multicast group: a shared cable.

    Frames leave by a socket of their own, whose address tells them from the others': what we sent does not come back.

    Args:
        group: the group and the UDP port.
        interface: address of the interface to use; empty: the system's choice.

    Raises:
        LinkError: the address is no multicast group, or the interface cannot be used.
    """
    host, port = group.address[:2]
    if group.family != socket.AF_INET or not is_multicast(group):
        raise LinkError(f"{group} is not an IPv4 multicast group; write for example 239.0.0.1:1234")
    own = socket.inet_aton(interface or "0.0.0.0")
    with_group = group.open(socket.SOCK_DGRAM)
    sender = group.open(socket.SOCK_DGRAM)
    try:
        with_group.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with_group.bind((host, port))
        with_group.setsockopt(
            socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4s", socket.inet_aton(host), own)
        )
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)  # others may be on this machine
        sender.bind((interface, 0))
        sender.connect((host, port))
    except OSError as error:
        with_group.close()
        sender.close()
        raise LinkError(
            f"cannot join {group}: {reason(error)}; name an interface of this host, such as localaddr=127.0.0.1"
        ) from None
    return _MulticastLink(with_group, sender)


class _MulticastLink(DgramLink):
    """Receives by one socket and sends by another."""

    def __init__(self, receiver: socket.socket, sender: socket.socket) -> None:
        super().__init__(receiver)
        self._out = sender
        own = sender.getsockname()

        def receive(view: memoryview) -> int:
            count, address = receiver.recvfrom_into(view)
            return _NOT_OURS if address == own else count

        self._receive = receive


def dgram_netdev(options: Options) -> Callable[[], DgramLink]:
    """Read ``dgram,...``; see :mod:`slirpy.links.table`."""
    options.allow(*place_keys("local"), *place_keys("remote"))
    remote = options.place("remote", socket.SOCK_DGRAM) if options.has("remote.") else None
    if isinstance(remote, int):
        raise options.error("remote cannot be a descriptor; give it as local, connected")
    if remote is not None and is_multicast(remote):
        # Of local only the address counts, which tells the interface.
        interface = options.take("local.host") or ""
        for key in place_keys("local"):
            options.take(key)
        options.done()
        return partial(multicast, remote, interface)
    local = options.place("local", socket.SOCK_DGRAM)
    options.done()
    if isinstance(local, int):
        if remote is not None:
            raise options.error("a descriptor is connected already; leave remote out")
        return partial(DgramLink.from_fd, local)
    if remote is None:
        raise options.error("remote.type=... is missing: where the other end receives")
    return partial(DgramLink.open, local, remote)
