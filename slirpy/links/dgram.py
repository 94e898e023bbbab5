"""QEMU's ``dgram`` transport, and the udp and mcast forms of ``socket``: each datagram is one frame.

It runs over UDP and unix datagram sockets. The transport cannot tell whether the other end is there, so no error is
fatal: refused frames are counted, and the link goes on.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic_ns
from typing import Final

from slirpy import forks
from slirpy.addresses import ipv4
from slirpy.checks import instance
from slirpy.config.values import as_text
from slirpy.errors import LinkError
from slirpy.fair import TURN
from slirpy.interfaces import READ, WRITE, Frame, LinkFeatures, LinkSink, Poller
from slirpy.links.endpoint import Endpoint, adopt, check_endpoint, reason
from slirpy.links.options import Options, endpoint_keys
from slirpy.links.starting import check_start, state_of
from slirpy.mypyc import mypyc_attr
from slirpy.reprs import never_raises

__all__ = ["DgramLink", "dgram_netdev", "is_multicast", "multicast"]

_LONGEST: Final = 69632  # QEMU's limit of a frame
_ROOM: Final = 256 * 1024
_BATCH: Final = 64  # frames per poll
_KERNEL_ROOM: Final = 1 << 20  # requested; the system grants as much as it allows. Frames beyond are lost
_NOT_OURS: Final = -1
_FULL: Final = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)
_GONE: Final = (errno.ECONNREFUSED, errno.ENOTCONN, errno.EDESTADDRREQ, errno.ENOENT, errno.ECONNRESET)


@mypyc_attr(allow_interpreted_subclasses=True)
class DgramLink:
    """Frames in datagrams: made by :meth:`open`, :meth:`from_fd`, :func:`multicast`, or from a connected socket.

    Only datagrams from the other end are accepted. It may be absent: undeliverable frames are counted, and delivery
    begins when it appears.

    Attributes:
        features: none; the other end expects complete frames.
    """

    features: LinkFeatures

    def __init__(
        self, sock: socket.socket, *, local: Endpoint | None = None, remote: Endpoint | None = None
    ) -> None:
        """Take over a datagram socket.

        Args:
            sock: connected, or unconnected if ``remote`` is given.
            local: its path is removed at close.
            remote: connected to now, and again after a refusal.

        Raises:
            ConfigError: an argument of another type.
        """
        instance("sock", sock, socket.socket, "a socket")
        for what, endpoint in (("local", local), ("remote", remote)):
            if endpoint is not None:
                check_endpoint(what, endpoint)
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
        """Make a link between two addresses.

        Args:
            local: receiving address; for a unix socket a path, which is removed at close.
            remote: receiving address of the other end.

        Raises:
            ConfigError: not endpoints.
            LinkError: ``local`` is in use or not available, or the two are of different kinds.
        """
        check_endpoint("local", local)
        check_endpoint("remote", remote)
        if local.family != remote.family:
            raise LinkError(f"local {local} and remote {remote} are of different kinds; give two of one kind")
        return cls(local.bind(socket.SOCK_DGRAM), local=local, remote=remote)

    @classmethod
    def from_fd(cls, fd: int) -> DgramLink:
        """Make a link from an inherited datagram socket that is connected, and take it over.

        Raises:
            LinkError: the descriptor is not such a socket.
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
        """The receiving address, with the chosen port if 0 was requested; None for a descriptor."""
        if self._local is None or self._sock is None or self._local.local:
            return self._local
        return Endpoint(self._local.family, self._sock.getsockname())

    def _connect(self) -> bool:
        """Connect the socket, which then accepts datagrams from ``remote`` only, reports refusals and can wait for
        room.
        """
        if not self._connected and self._remote is not None:
            self._connected = not self._out.connect_ex(self._remote.address)
        return self._connected

    # ---------------------------------------------------------------------------- as a Link

    @never_raises
    def __repr__(self) -> str:
        place = "".join(
            f" {word} {end}" for word, end in (("at", self._local), ("to", self._remote)) if end is not None
        )
        state = state_of(started=self._sink is not None, closed=self._sock is None)
        return f"<{type(self).__name__}{place}: {state}>"

    def start(self, sink: LinkSink, poller: Poller) -> None:
        """Deliver the guest's frames.

        Raises:
            StateError: the link is started already, or closed.
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
        """Read a batch; the frames lie one behind the other, and the buffer is reused at the next poll."""
        sink, view, receive = self._sink, self._view, self._receive
        if sink is None:
            return
        put, start = sink.input, 0
        end = monotonic_ns() + TURN
        for _ in range(_BATCH):
            if _ROOM - start <= _LONGEST:
                return
            try:
                count = receive(view[start:])
            except OSError as error:
                if error.errno in _FULL or self._sock is None:
                    return
                sink.stats.drop_link_refused += 1  # an earlier datagram that we sent; reported once
                continue
            if count > _LONGEST:
                sink.stats.drop_link_oversized += 1
            elif count != _NOT_OURS:
                if put(view[start : start + count]) and monotonic_ns() >= end:
                    return  # the rest stays in the kernel's queue until the next poll
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
                # The unix socket was removed, and another may have replaced it.
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
        """Continue after a full buffer: there is room again."""
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

    def abandon(self) -> None:
        """Close the sockets, in a forked child."""
        DgramLink.close(self)


def is_multicast(endpoint: Endpoint) -> bool:
    """Report whether an address is a multicast group, not a single peer."""
    return not endpoint.local and ipaddress.ip_address(endpoint.address[0].partition("%")[0]).is_multicast


def multicast(group: Endpoint, interface: str = "") -> DgramLink:
    """Make a link to all members of an IPv4 multicast group, which behaves like a shared cable.

    Frames are sent from a separate socket, whose address distinguishes them from those of others: our own do not
    come back.

    Args:
        group: the group and the UDP port.
        interface: address of the interface to use; empty: the system's choice.

    Raises:
        ConfigError: ``group`` is not an Endpoint, or ``interface`` not an IPv4 address.
        LinkError: the address is not a multicast group, or the interface cannot be used.
    """
    check_endpoint("group", group)
    if as_text("interface", interface):
        ipv4("interface", interface)
    host, port = group.address[:2]
    if group.family != socket.AF_INET or not is_multicast(group):
        raise LinkError(f"{group} is not an IPv4 multicast group; write for example 239.0.0.1:1234")
    own = socket.inet_aton(interface or "0.0.0.0")
    with_group = group.open(socket.SOCK_DGRAM)
    sender = group.open(socket.SOCK_DGRAM)
    try:
        with_group.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with_group.bind(("" if sys.platform == "win32" else host, port))  # Windows binds to no group
        with_group.setsockopt(
            socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4s", socket.inet_aton(host), own)
        )
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
        # other members may run on this machine
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
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
    options.allow(*endpoint_keys("local"), *endpoint_keys("remote"))
    remote = options.endpoint("remote", socket.SOCK_DGRAM) if options.has("remote.") else None
    if isinstance(remote, int):
        raise options.error("remote cannot be a descriptor; give it as local, connected")
    if remote is not None and is_multicast(remote):
        # Of local only the address counts: it selects the interface.
        interface = options.take("local.host") or ""
        for key in endpoint_keys("local"):
            options.take(key)
        options.done()
        return partial(multicast, remote, interface)
    local = options.endpoint("local", socket.SOCK_DGRAM)
    options.done()
    if isinstance(local, int):
        if remote is not None:
            raise options.error("a descriptor is connected already; leave remote out")
        return partial(DgramLink.from_fd, local)
    if remote is None:
        raise options.error("remote.type=... is missing: the receiving address of the other end")
    return partial(DgramLink.open, local, remote)
