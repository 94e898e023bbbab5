"""The seam of host networks: the outside world, real (the operating system) or simulated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from slirpy.interfaces.basics import Buffer
from slirpy.records import NamedTuple, Protocol

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

    Any of them may be made during the call that creates the stream, or during any call of the stream, including
    ``recv``, ``send`` and ``shutdown``. An announcement stays valid after the call that it was made from has
    returned.
    """

    def connected(self) -> None:
        """The outward stream is established."""

    def readable(self) -> None:
        """``recv`` has something to return: data or the end.

        One call is enough: the owner calls ``recv`` until it returns None or ``b""``, however short the pieces are.
        See :class:`StreamPeer` for peers that repeat the call themselves.
        """

    def writable(self) -> None:
        """Room is available again after a short ``send``. Called once for each short ``send``."""

    def failed(self, error: int) -> None:
        """The stream is dead, with an ``errno`` value: it could not connect, or was reset. No other call follows.

        An owner that needs the reason why a stream could not connect has a method ``reported(report: IcmpReport)``.
        It is called just before ``failed`` if a router or the far host gave the reason by ICMP and the host network
        knows it.
        """


class StreamPeer(Protocol):
    """The far end of a guest's TCP connection: a host socket, a handler, a service.

    The two directions are independent: data may arrive after :meth:`shutdown`, and may be sent after ``recv``
    returned ``b""``.

    A peer may have an attribute ``level_triggered`` that is true. It then promises to call
    :meth:`StreamOwner.readable` again after each ``recv`` that returned data, if there is more data or the end. Its
    owner may then stop at a short piece, which saves a socket one system call. Without the attribute no such call is
    expected.

    A peer whose data wait in the system's buffers may have a method ``kernel_memory() -> int``, which returns the
    bytes of memory that these take. They count for ``Config.memory``.
    """

    def send(self, buffers: Sequence[Buffer]) -> int:
        """Accept as many of the guest's bytes as there is room for, and return the count.

        The rest is offered again after :meth:`StreamOwner.writable`. Buffers may be reused as soon as the call
        returns, so copy anything that is kept.

        A peer that can mark urgent data also has a method ``send_urgent(data: bytes) -> int``, which takes one byte.
        Other peers get urgent data as ordinary data. A peer may deliver an urgent byte by ``owner.urgent(data)``, if
        the owner has that method, instead of by :meth:`recv`.
        """

    def recv(self, limit: int) -> bytes | None:
        """Return up to ``limit`` (at least 1) bytes for the guest; ``b""`` at the end, None if nothing is available.

        A short piece does not mean that there is no more. After None, :meth:`StreamOwner.readable` announces the
        next data.
        """

    def shutdown(self) -> None:
        """The guest has sent its FIN: no :meth:`send` follows."""

    def abort(self) -> None:
        """The guest has reset the connection: reset the far side too, and release everything."""

    def close(self) -> None:
        """Release everything: both directions are finished. Harmless when repeated."""


class IcmpReport(NamedTuple):
    """An ICMP error (RFC 792, RFC 4443) from a router or the far host about a packet that was sent.

    Type and code are those of the family of ``address``: :func:`slirpy.wire.icmp.cause_of` and
    :func:`slirpy.wire.icmpv6.cause_of` say what they mean.
    """

    error: int
    """The ``errno`` value to which the system maps it."""
    kind: int
    """ICMP type: 3 destination unreachable, 11 time exceeded, ...; ICMPv6: 1, 3, 2 packet too big, ..."""
    code: int
    info: int
    """Second word of the header: the next hop's MTU for a packet that was too big (RFC 1191, RFC 8201); often 0."""
    reporter: bytes
    """Address of the sender of the report."""
    address: bytes
    """Destination address of the packet."""
    port: int
    """Destination port of the packet; 0 for ICMP."""
    quoted: bytes
    """Quoted payload of the packet after its UDP or ICMP header, at most 548 bytes."""
    ttl: int = 0
    """Time to live of the report on arrival; 0: unknown."""


class DatagramOwner(Protocol):
    """The user of a :class:`DatagramPeer`."""

    def datagram(self, payload: bytes, address: bytes, port: int) -> None:
        """A datagram arrived from ``address``:``port``. ``payload`` belongs to the owner."""

    def datagram_error(self, error: int, report: IcmpReport | None = None) -> None:
        """The system reported an ``errno`` value for an earlier datagram, such as ECONNREFUSED.

        ``report`` identifies the datagram and the sender of the error, if the system provides them.
        """


class DatagramPeer(Protocol):
    """A UDP socket of the host."""

    @property
    def address(self) -> tuple[bytes, int]:
        """Return the local address and port to which the socket is bound."""

    @property
    def mtu(self) -> int:
        """The MTU that the last ``send`` refused with EMSGSIZE exceeded; 0: unknown."""

    def send(
        self, payload: Buffer, address: bytes, port: int, ttl: int = 0, dont_fragment: bool | None = None
    ) -> int:
        """Send one datagram. Returns 0, or the ``errno`` value of the refusal; EAGAIN means a full buffer.

        Args:
            ttl: time to live, 1 to 255; 0 keeps the last one used, or the system's default.
            dont_fragment: True forbids fragmentation, here and on the path (DF); False allows it; None keeps the last
                setting, or the system's default.
        """

    def send_many(
        self,
        payloads: Sequence[Buffer],
        address: bytes,
        port: int,
        ttl: int = 0,
        dont_fragment: bool | None = None,
    ) -> tuple[int, int]:
        """Send datagrams in order, as :meth:`send` does, until one is refused.

        Returns the number sent, and the ``errno`` value of the refusal, or 0.
        """

    def close(self) -> None:
        """Release the socket. Harmless when repeated."""


class BoundDatagramPeer(DatagramPeer, Protocol):
    """A UDP socket bound by :meth:`HostNetwork.bind_udp`, for clients that send first."""

    @property
    def answering(self) -> DatagramPeer:
        """Return the peer with which to answer the most recent datagram.

        It sends from the destination address of that datagram (RFC 1122, section 4.1.3.5): a socket bound to all
        addresses has many, and clients drop answers from the wrong one. The object stays the same while that address
        does, and ends with the socket. It is the socket itself if there is only one address, or if the system does
        not report it.
        """


class PingOwner(Protocol):
    """The user of a :class:`PingPeer`."""

    def echo_reply(self, sequence: int, payload: bytes, address: bytes, ttl: int) -> None:
        """``address`` answered; ``ttl`` is the time to live of the answer on arrival, 0 if unknown."""

    def echo_error(self, sequence: int, report: IcmpReport) -> None:
        """An ICMP error arrived about the echo request with this sequence number."""


class PingPeer(Protocol):
    """A host socket for ICMP echo."""

    @property
    def mtu(self) -> int:
        """See :attr:`DatagramPeer.mtu`."""

    def send(
        self, sequence: int, payload: Buffer, address: bytes, ttl: int = 0, dont_fragment: bool | None = None
    ) -> int:
        """Send one echo request, as :meth:`DatagramPeer.send` does. The identifier is the socket's own."""

    def close(self) -> None:
        """Release the socket. Harmless when repeated."""


Acceptor: TypeAlias = Callable[["AcceptedStream"], StreamOwner]
"""Called with each new connection of a listener; returns its owner."""


class AcceptedStream(NamedTuple):
    """A connection accepted by a :class:`Listener`."""

    peer: StreamPeer
    address: bytes
    """Address of the client."""
    port: int


class Listener(Protocol):
    """A listening TCP socket of the host."""

    @property
    def address(self) -> tuple[bytes, int]:
        """Return the local address and port; the port is the chosen one if 0 was requested."""

    def close(self) -> None:
        """Stop listening; accepted connections stay open. Harmless when repeated."""


class NameAnswer(NamedTuple):
    """The answer of the host's resolver library about a name."""

    addresses: tuple[bytes, ...]
    """IPv4 and IPv6 addresses, four or sixteen bytes each, in the library's order."""
    exists: bool | None
    """True if the name exists; None: unknown for now."""


class HostNetwork(Protocol):
    """The outside world: the operating system's sockets, or a simulation.

    A host network that knows its own addresses also has a method ``is_own(address: bytes) -> bool``. Policies and
    rules by name rely on it to keep guests from the host.

    Outward calls never raise: failures are reported to the owner, possibly before the call returns. ``listen_tcp``
    and ``bind_udp`` are called on behalf of the configuration, not of a guest, and raise :class:`OSError`.
    """

    def connect_tcp(self, address: bytes, port: int, owner: StreamOwner, ttl: int = 0) -> StreamPeer:
        """Start to connect; :meth:`StreamOwner.connected` or :meth:`StreamOwner.failed` reports the outcome.

        A failure may be reported before this returns, a success only afterwards, unless the owner has an attribute
        ``connects_at_once`` that is true. It then needs no stream to take note of the success, and a host that knows
        the outcome by now saves a turn of the loop.

        Args:
            ttl: time to live of the connection's packets, 1 to 255; 0: the system's default.
        """

    def listen_tcp(self, address: bytes, port: int, accept: Acceptor) -> Listener:
        """Listen at an address of the host; port 0 chooses a free one.

        Raises:
            OSError: the address cannot be bound.
        """

    def listen_unix(self, path: str, accept: Acceptor) -> Listener:
        """Listen at the path of a unix socket; clients count as port 0 of the loopback address.

        An unused socket at that path is replaced. The path is removed at the end.

        Raises:
            OSError: the path cannot be used; :class:`FileExistsError` if it is not a socket.
        """

    def open_udp(self, owner: DatagramOwner, family: int = 4) -> DatagramPeer | int:
        """Open a socket for outward datagrams at a random port, for addresses of ``family`` 4 or 6.

        Returns the ``errno`` value of a refusal, such as EMFILE: the system has none left, or EAFNOSUPPORT: it does
        not support the family.
        """

    def bind_udp(self, address: bytes, port: int, owner: DatagramOwner) -> BoundDatagramPeer:
        """Open a UDP socket bound to an address of the host; port 0 chooses a free one.

        Raises:
            OSError: the address cannot be bound.
        """

    def open_ping(self, owner: PingOwner, family: int = 4) -> PingPeer | int:
        """Open a socket for ICMP echo requests to addresses of ``family`` 4 or 6.

        Returns the ``errno`` value of a refusal.

        EACCES: not allowed for this user; EPROTONOSUPPORT or EAFNOSUPPORT: not supported by this system.
        """

    def lookup(self, name: str, done: Callable[[NameAnswer], None]) -> bool:
        """Ask the host's resolver library for the addresses of a name.

        The name consists of ASCII letters, digits, ``-``, ``_`` and dots. Returns False if too many lookups are in
        progress. Otherwise ``done`` is called once, later, in the thread that drives the network; or never, if the
        host network is closed first.
        """
