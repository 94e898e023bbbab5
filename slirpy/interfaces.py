"""The five seams of slirpy, as structural types.

======================  =====================================================================
:class:`Link`           carries Ethernet frames between a guest and the stack
:class:`HostNetwork`    opens flows to the outside world and listens there
:class:`StreamPeer`     the far end of a guest's TCP connection
:class:`Service`        answers datagrams sent to an address of the virtual network
:class:`Policy`         decides about each new flow
======================  =====================================================================

Conventions that hold for all of them:

* Addresses are ``bytes`` in network order: four of them for IPv4, sixteen for IPv6. MAC addresses are six.
* Time is an ``int``: nanoseconds of a monotonic clock that the runtime samples once a batch.
* Nothing here blocks, and nothing here raises because of what a guest or a remote host sent.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, Protocol, TypeAlias

from slirpy.stats import Stats

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Anything bytes-like that is contiguous."""


# ---------------------------------------------------------------------------------------------- Link


class Frame(NamedTuple):
    """One outgoing Ethernet frame, towards a guest.

    ``parts`` are the pieces that make up the frame, without padding and without a frame check sequence. They
    are immutable or stay unchanged until the frame is sent; a link that keeps the frame longer joins them.
    """

    parts: Sequence[Buffer]
    gso_size: int = 0
    """With a link that does segmentation offload: payload bytes to a segment, or 0 for a frame that fits."""
    csum_start: int = 0
    """With a link that does checksum offload: where the checksummed part starts, or 0 for a complete frame.

    The checksum field then holds the folded sum of the pseudo-header alone.
    """
    csum_offset: int = 0
    """Offset of the checksum field from ``csum_start``: 16 for TCP, 6 for UDP."""


@dataclass(frozen=True, slots=True)
class LinkFeatures:
    """What a link can do. Read once, when it is attached."""

    mtu: int | None = None
    """Largest IP packet in bytes; None: the network's own ``Config.mtu``."""
    checksum_offload: bool = False
    """The link accepts frames with partial checksums (see :class:`Frame`)."""
    segmentation_offload: bool = False
    """The link accepts TCP frames, IPv4 and IPv6, up to 65535 bytes of IP packet with ``gso_size`` set."""
    udp_segmentation_offload: bool = False
    """The same for UDP: many datagrams of ``gso_size`` bytes, the last perhaps shorter, under one header."""


class Link(Protocol):
    """Carries frames to a guest; what it receives goes to the :class:`LinkSink` that it got at start."""

    @property
    def features(self) -> LinkFeatures: ...

    def start(self, sink: LinkSink, poller: Poller) -> None:
        """Begin to deliver frames to ``sink``; a link with a descriptor registers it with ``poller``."""
        ...

    def send(self, frames: Sequence[Frame]) -> int:
        """Send frames in order and return how many were taken.

        Never blocks. After a short count the link calls :meth:`LinkSink.writable` once there is room again.
        A frame that can never be sent (a dead link, too long) counts as taken and is counted as dropped.
        """
        ...

    def close(self) -> None:
        """Release what the link holds. Harmless when repeated."""
        ...


READ = 1
"""Readiness to read, as :data:`selectors.EVENT_READ`."""
WRITE = 2
"""Readiness to write, as :data:`selectors.EVENT_WRITE`."""


class Poller(Protocol):
    """Tells links and sockets that a descriptor is ready. Level-triggered."""

    def register(self, fd: int, events: int, ready: Callable[[int], None]) -> None:
        """Call ``ready(mask)`` at each poll at which ``fd`` is ready for some of ``events``."""
        ...

    def modify(self, fd: int, events: int, ready: Callable[[int], None]) -> None:
        """Change what is waited for; 0 waits for nothing."""
        ...

    def unregister(self, fd: int) -> None:
        """Forget a descriptor, before it is closed."""
        ...


class LinkSink(Protocol):
    """The stack's side of a link."""

    def input(self, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> None:
        """Take one frame from the guest; it must stay unchanged until the next flush has returned.

        ``checksummed`` says that the transport checksum needs no check, because the frame never left this
        machine's memory or because the link checked it. ``gso_size`` says that the frame stands for TCP segments
        with so many bytes of payload each, as the guest would have cut it; 0: it stands for itself.
        """
        ...

    def writable(self) -> None:
        """The link has room again after a short :meth:`Link.send`."""
        ...

    def lost(self, frames: int) -> None:
        """So many frames counted as taken by :meth:`Link.send` can never be sent."""
        ...

    @property
    def now(self) -> int:
        """Monotonic nanoseconds of the present batch."""
        ...

    @property
    def stats(self) -> Stats:
        """Where a link counts what went wrong on its carrier."""
        ...

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` at the first flush at or after ``when``: for links that hold frames back.

        It may call :meth:`input`, whose consequences are sent by the same flush. A link cancels at its close.
        """
        ...


# --------------------------------------------------------------------------------- HostNetwork, streams


class StreamOwner(Protocol):
    """Who uses a :class:`StreamPeer`. The calls only take note; the work is done at the next flush.

    Each of them may come while the call that created the stream is still running.
    """

    def connected(self) -> None:
        """An outward stream is established."""

    def readable(self) -> None:
        """``recv`` has something: data or the end. Said again while that is so, until ``recv`` says None."""

    def writable(self) -> None:
        """After a short ``send`` there is room again."""

    def failed(self, error: int) -> None:
        """The stream is dead, with an ``errno`` value: not connected, or reset. Nothing follows."""


class StreamPeer(Protocol):
    """The far end of a guest's TCP connection: a host socket, a handler, a service.

    The two directions are independent: after :meth:`shutdown` data may still be received, and after ``recv``
    gave ``b""`` data may still be sent.
    """

    def send(self, buffers: Sequence[Buffer]) -> int:
        """Take bytes of the guest, as many as there is room for, and return the count.

        What is not taken is offered again after :meth:`StreamOwner.writable`. Buffers may be reused as soon
        as the call returns: copy what is kept.
        """
        ...

    def recv(self, limit: int) -> bytes | None:
        """Up to ``limit`` (at least 1) bytes for the guest; ``b""`` at the end, None if nothing is there."""
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

    def connect_tcp(self, address: bytes, port: int, owner: StreamOwner) -> StreamPeer:
        """Start to connect; :meth:`StreamOwner.connected` or :meth:`StreamOwner.failed` tells the outcome."""
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

    def bind_udp(self, address: bytes, port: int, owner: DatagramOwner) -> DatagramPeer:
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


# --------------------------------------------------------------------------------------------- Service


class Datagram(NamedTuple):
    """A UDP datagram from a guest to an address of the virtual network."""

    source: bytes
    source_port: int
    destination: bytes
    destination_port: int
    payload: memoryview
    """Valid during the call only."""
    mac: bytes
    """Link address that it came from."""
    sink: LinkSink
    """The link that it came through; hand it back to ``send_datagram`` with ``mac``."""


class Service(Protocol):
    """Answers datagrams that guests send to a (address, port) of the virtual network."""

    def datagram(self, datagram: Datagram) -> None:
        """Take one datagram; answers go through :meth:`ServiceNetwork.send_datagram`, now or later."""
        ...


class Timer(Protocol):
    """A call in the future."""

    def cancel(self) -> None:
        """It will not be made. Harmless when repeated or too late."""
        ...


class ServiceNetwork(Protocol):
    """What the virtual network offers to services."""

    @property
    def now(self) -> int:
        """Monotonic nanoseconds of the present batch."""
        ...

    @property
    def random(self) -> Random:
        """The one source of randomness."""
        ...

    @property
    def stats(self) -> Stats: ...

    def send_datagram(
        self,
        source: bytes,
        source_port: int,
        destination: bytes,
        destination_port: int,
        payload: Buffer,
        *,
        mac: bytes | None = None,
        sink: LinkSink | None = None,
    ) -> None:
        """Send a UDP datagram to a guest, fragmented if need be.

        With ``mac`` (broadcast is six 0xFF) and ``sink`` the neighbour table is not asked.
        """
        ...

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` at the first flush at or after ``when``."""
        ...

    def send_datagrams(
        self,
        source: bytes,
        source_port: int,
        destination: bytes,
        destination_port: int,
        payloads: Sequence[Buffer],
    ) -> None:
        """Send several UDP datagrams to a guest, which a link may take as one large frame.

        The payloads stay unchanged until the network's next flush has returned.
        """
        ...

    def open_port(self, address: bytes, guest: bytes, guest_port: int, service: Service) -> int:
        """Take a port, 49152 to 65535, of a virtual address for a conversation with one port of one guest.

        What others send to it goes where it would go without: most ports of the gateway lead to the host.
        """
        ...

    def close_port(self, address: bytes, port: int, guest: bytes, guest_port: int) -> None:
        """Give back what :meth:`open_port` has taken."""
        ...


# ---------------------------------------------------------------------------------------------- Policy


class IPProtocol(enum.IntEnum):
    """IP protocol numbers of flows."""

    ICMP = 1
    TCP = 6
    UDP = 17


class FlowRequest(NamedTuple):
    """A flow that a guest wants to start."""

    protocol: int
    """IP protocol number: 6 for TCP, 17 for UDP, 1 for ICMP echo."""
    source: bytes
    source_port: int
    """For ICMP the identifier of the echo requests; their destination port is 0."""
    destination: bytes
    """As the guest names it: the gateway's address stands for the host's loopback, also where the guest has said
    broadcast, which leads there too."""
    destination_port: int
    host: bool = False
    """It leads to the host's loopback."""


class Action(enum.Enum):
    """What a policy may say about a flow."""

    ALLOW = "allow"
    REJECT = "reject"
    """Refuse it audibly: RST for TCP, ICMP administratively prohibited for UDP."""
    DROP = "drop"
    """Say nothing."""


class Verdict(NamedTuple):
    """A policy's decision."""

    action: Action
    redirect: tuple[bytes, int] | None = None
    """With ALLOW: the host address and port to use in place of the destination."""
    reason: str = ""
    """Why it is refused, in a few words, for who reads about it."""


Policy: TypeAlias = Callable[[FlowRequest], Verdict]
"""Asked once for each new flow to the host or beyond it."""

Refused: TypeAlias = Callable[[FlowRequest, Verdict], object]
"""Told of each flow that was not to be: by a policy, ``restrict`` or ``host_loopback``; of UDP, of each datagram."""

# ------------------------------------------------------------------------------- streams of the virtual network

StreamService: TypeAlias = Callable[[StreamOwner, FlowRequest], StreamPeer]
"""Makes the far end of a guest's TCP connection to an address and port of the virtual network.

It tells the owner that the far end is connected or has failed, now or later; until then the guest's SYN waits.
"""
