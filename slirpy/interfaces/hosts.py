"""The seam of host networks: the world outside, as the operating system or a simulation has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from slirpy.interfaces.basics import Buffer

__all__ = [
    "AcceptedStream",
    "Acceptor",
    "BoundDatagramPeer",
    "DatagramOwner",
    "DatagramPeer",
    "HostNetwork",
    "IcmpReport",
    "Listener",
    "NameAnswer",
    "PingOwner",
    "PingPeer",
    "StreamOwner",
    "StreamPeer",
]


class StreamOwner(Protocol):
    """The user of a :class:`StreamPeer`. The calls only take note; the work is done at the next flush.

    Each of them may come while the call that created the stream is still running, or while any call of the stream
    is: from within ``recv``, ``send`` or ``shutdown`` too. What a call says about the future is not undone by the
    return of the call that it came from.
    """

    def connected(self) -> None:
        """An outward stream is established."""

    def readable(self) -> None:
        """``recv`` has something: data or the end.

        Called once is enough: the owner calls ``recv`` until it returns None or ``b""``, however short the pieces
        are. See :class:`StreamPeer` for peers that call it again by themselves.
        """

    def writable(self) -> None:
        """After a short ``send`` there is room again. Called once for each short ``send``."""

    def failed(self, error: int) -> None:
        """The stream is dead, with an ``errno`` value: not connected, or reset. Nothing follows.

        An owner that wants to know why a stream could not be connected has a method ``reported(report: IcmpReport)``.
        It is called just before ``failed`` if a router or the far host gave the reason by ICMP, and the host network
        knows it.
        """


class StreamPeer(Protocol):
    """The far end of a guest's TCP connection: a host socket, a handler, a service.

    The two directions are independent: after :meth:`shutdown` data may still be received, and after ``recv``
    gave ``b""`` data may still be sent.

    A peer may have an attribute ``level_triggered`` that is true. It then promises to call
    :meth:`StreamOwner.readable` again, after each ``recv`` that returned data, if there is more or the end: its
    owner may stop at a short piece, which saves a socket one system call. Without the attribute no such call is
    expected.
    """

    def send(self, buffers: Sequence[Buffer]) -> int:
        """Take bytes of the guest, as many as there is room for, and return the count.

        What is not taken is offered again after :meth:`StreamOwner.writable`. Buffers may be reused as soon
        as the call returns: copy what is kept.

        A peer that can mark urgent data has a method ``send_urgent(data: bytes) -> int`` besides, which is given one
        byte; for others urgent data are data. It may tell its owner of an urgent byte by ``owner.urgent(data)``, if
        the owner has that, in place of handing the byte out by :meth:`recv`.
        """
        ...

    def recv(self, limit: int) -> bytes | None:
        """Up to ``limit`` (at least 1) bytes for the guest; ``b""`` at the end, None if nothing is there.

        A short piece does not mean that it was all. After None, :meth:`StreamOwner.readable` is called when there is
        something again.
        """
        ...

    def shutdown(self) -> None:
        """The guest has sent its FIN: no :meth:`send` follows."""
        ...

    def abort(self) -> None:
        """The guest has reset the connection: reset the far side too, and release everything."""
        ...

    def close(self) -> None:
        """Both directions are done: release everything. Harmless when repeated."""
        ...


class IcmpReport(NamedTuple):
    """What a router or the far host said by ICMP about a packet that went out (RFC 792)."""

    error: int
    """The ``errno`` value that the system makes of it."""
    kind: int
    """Type of the message: 3 destination unreachable, 11 time exceeded, 12 parameter problem, ..."""
    code: int
    info: int
    """The second word of its header: the next hop's MTU with type 3, code 4 (RFC 1191); often 0."""
    offender: bytes
    """Who said it."""
    address: bytes
    """Where the packet was to go."""
    port: int
    """Its destination port; 0 for ICMP."""
    quoted: bytes
    """Its payload behind the UDP or ICMP header, as far as it was quoted, 548 bytes at most."""
    ttl: int = 0
    """Time to live that was left to the report; 0: not known."""


class DatagramOwner(Protocol):
    """Who uses a :class:`DatagramPeer`."""

    def datagram(self, payload: bytes, address: bytes, port: int) -> None:
        """A datagram came from ``address``:``port``. ``payload`` is the owner's to keep."""

    def datagram_error(self, error: int, report: IcmpReport | None = None) -> None:
        """The system reported an ``errno`` value for an earlier datagram, such as ECONNREFUSED.

        ``report`` tells about which, and who said so, where the system tells that.
        """


class DatagramPeer(Protocol):
    """A UDP socket of the host."""

    @property
    def address(self) -> tuple[bytes, int]:
        """The local address and port that it is bound to."""
        ...

    @property
    def mtu(self) -> int:
        """After a ``send`` that was refused with EMSGSIZE: the MTU that it would have had to fit; 0: not known."""
        ...

    def send(self, payload: Buffer, address: bytes, port: int, ttl: int = 0, whole: bool | None = None) -> int:
        """Send one datagram. Returns 0 or the ``errno`` value of the refusal; a full buffer is EAGAIN.

        Args:
            ttl: time to live, 1 to 255; 0 is what was last used, or the system's.
            whole: True forbids to fragment it, here and on the way (DF); False allows it; None is what was last
                used, or what the system likes.
        """
        ...

    def send_many(
        self, payloads: Sequence[Buffer], address: bytes, port: int, ttl: int = 0, whole: bool | None = None
    ) -> tuple[int, int]:
        """Send datagrams in order, as :meth:`send` does, until one is refused.

        Returns how many were sent, and the ``errno`` value of the refusal, or 0.
        """
        ...

    def close(self) -> None:
        """Release the socket. Harmless when repeated."""
        ...


class BoundDatagramPeer(DatagramPeer, Protocol):
    """A UDP socket bound by :meth:`HostNetwork.bind_udp`, to which others send first."""

    @property
    def answering(self) -> DatagramPeer:
        """The peer with which to answer the datagram that the owner was handed last.

        It sends from the destination address of that datagram (RFC 1122, section 4.1.3.5). A socket bound to all
        addresses has many, and clients drop answers from the wrong one. It stays the same object while that address
        is the same, and ends with the socket. It is the socket itself if there is only one address, or if the system
        does not report it.
        """
        ...


class PingOwner(Protocol):
    """Who uses a :class:`PingPeer`."""

    def echo_reply(self, sequence: int, payload: bytes, address: bytes, ttl: int) -> None:
        """``address`` has answered; ``ttl`` is the time to live that was left to the answer, 0 if not known."""

    def echo_error(self, sequence: int, report: IcmpReport) -> None:
        """Somebody reported what became of the echo request with this sequence number."""


class PingPeer(Protocol):
    """A socket of the host for ICMP echo."""

    @property
    def mtu(self) -> int:
        """As :attr:`DatagramPeer.mtu`."""
        ...

    def send(
        self, sequence: int, payload: Buffer, address: bytes, ttl: int = 0, whole: bool | None = None
    ) -> int:
        """Send one echo request, as :meth:`DatagramPeer.send` does. The identifier is the socket's own."""
        ...

    def close(self) -> None:
        """Release the socket. Harmless when repeated."""
        ...


Acceptor: TypeAlias = Callable[["AcceptedStream"], StreamOwner]
"""Called with each new connection of a listener; returns who owns it."""


class AcceptedStream(NamedTuple):
    """A connection that came in through a :class:`Listener`."""

    peer: StreamPeer
    address: bytes
    """Address of who connected."""
    port: int


class Listener(Protocol):
    """A listening TCP socket of the host."""

    @property
    def address(self) -> tuple[bytes, int]:
        """Where it listens; the port is the chosen one when 0 was asked for."""
        ...

    def close(self) -> None:
        """Stop listening; connections that were accepted stay. Harmless when repeated."""
        ...


class NameAnswer(NamedTuple):
    """What the host's own resolver library says about a name."""

    addresses: tuple[bytes, ...]
    """IPv4 and IPv6 addresses, four or sixteen bytes each, in its order."""
    exists: bool | None
    """Whether there is such a name; None: that cannot be told now."""


class HostNetwork(Protocol):
    """The world outside: the operating system's sockets, or a simulated one.

    Outward calls never raise: failure is reported to the owner, possibly before the call returns.
    ``listen_tcp`` and ``bind_udp`` are called on behalf of the configuration, not of a guest, and
    raise :class:`OSError`.
    """

    def connect_tcp(self, address: bytes, port: int, owner: StreamOwner, ttl: int = 0) -> StreamPeer:
        """Start to connect; :meth:`StreamOwner.connected` or :meth:`StreamOwner.failed` tells the outcome.

        Args:
            ttl: time to live of the connection's packets, 1 to 255; 0: the system's.
        """
        ...

    def listen_tcp(self, address: bytes, port: int, accept: Acceptor) -> Listener:
        """Listen at an address of the host; port 0 takes a free one.

        Raises:
            OSError: the address cannot be bound.
        """
        ...

    def listen_unix(self, path: str, accept: Acceptor) -> Listener:
        """Listen at the path of a unix socket; who connects counts as the loopback's port 0.

        A socket there that nobody uses any more is replaced. The path is removed at the end.

        Raises:
            OSError: the path cannot be used; :class:`FileExistsError` if it is no socket.
        """
        ...

    def open_udp(self, owner: DatagramOwner, family: int = 4) -> DatagramPeer | None:
        """A socket for outward datagrams at a random port, for addresses of ``family`` 4 or 6.

        Returns None when the system has none left (counted by the caller).
        """
        ...

    def bind_udp(self, address: bytes, port: int, owner: DatagramOwner) -> BoundDatagramPeer:
        """A socket bound to an address of the host; port 0 takes a free one.

        Raises:
            OSError: the address cannot be bound.
        """
        ...

    def open_ping(self, owner: PingOwner) -> PingPeer | int:
        """A socket for ICMP echo requests to IPv4 addresses, or the ``errno`` value of the refusal.

        EACCES: not allowed to this user; EPROTONOSUPPORT: not on this system.
        """
        ...

    def lookup(self, name: str, done: Callable[[NameAnswer], None]) -> bool:
        """Ask the host's own resolver library for the addresses of a name.

        The name has ASCII letters, digits, ``-``, ``_`` and dots. Returns False if too many lookups are under way.
        Else ``done`` is called once, later, in the thread that drives the network; or never, if the host network is
        closed before.
        """
        ...
