"""The sockets of a host in virtual time: the seam of host networks, for transports and for routers."""

from __future__ import annotations

import errno
from collections.abc import Callable

from slirpy.errors import StateError
from slirpy.interfaces import Acceptor, DatagramOwner, Listener, NameAnswer, PingOwner, PingPeer, StreamOwner
from slirpy.records import NamedTuple
from slirpy.testing.sim.datagrams import HostDatagram
from slirpy.testing.sim.pings import HostPing
from slirpy.testing.sim.ports import free_port, in_use, overlap
from slirpy.testing.sim.stack import HostStack
from slirpy.testing.sim.streams import HostListener, HostStream

__all__ = ["HostSockets"]

_ANY = {4: bytes(4), 6: bytes(16)}


class _Refused:
    """A stream that could not be opened, as its owner has learned."""

    def send(self, buffers: object) -> int:
        return 0

    def recv(self, limit: int) -> bytes | None:
        return None

    def shutdown(self) -> None: ...

    def abort(self) -> None: ...

    def close(self) -> None: ...


class _Reservation(NamedTuple):
    """A TCP port that a socket is bound to."""

    owner: object
    address: bytes
    dual: bool
    reuse: Callable[[], bool]

    def overlaps(self, address: bytes, dual: bool) -> bool:
        """Report whether another socket at ``address`` would receive the same connections."""
        return overlap(self.address, self.dual, address, dual)


class HostSockets:
    """A :class:`~slirpy.interfaces.HostNetwork` on the stack of a host.

    The calls beyond that seam, :meth:`connect`, :meth:`listen` and :meth:`bind`, take what a program's socket can
    choose, and raise :class:`OSError` as its calls do.

    Args:
        stack: the protocols of the host.
        lookup: finds the addresses of a name, and calls a function with them later.
    """

    def __init__(
        self, stack: HostStack, lookup: Callable[[str, Callable[[list[bytes] | None], None]], None]
    ) -> None:
        self._stack = stack
        self._lookup = lookup
        self._reserved: dict[int, list[_Reservation]] = {}

    # ------------------------------------------------------------------------------- for programs

    def connect(
        self,
        address: bytes,
        port: int,
        owner: StreamOwner,
        local: tuple[bytes | None, int] = (None, 0),
        rcv_buffer: int = 0,
    ) -> HostStream:
        """Start to connect.

        Args:
            address: address of the far end.
            port: port of the far end.
            owner: owner of the stream.
            local: own address and port; None and 0: any.
            rcv_buffer: bytes that the receive buffer holds; 0: as the host's settings say.

        Raises:
            OSError: ENETUNREACH: the host has no address of the family. EADDRINUSE: there is such a connection.
        """
        tcp = self._stack.tcp
        own, own_port = local
        try:
            key = tcp.free_key(address, port, own if own is not None and any(own) else None, own_port)
        except StateError:
            raise OSError(errno.ENETUNREACH, "Network is unreachable") from None
        stream = tcp.open(key, rcv_buffer)
        stream.owner = owner
        self._stack.flush()
        return stream

    def listen(self, address: bytes, port: int, accept: Acceptor, *, dual: bool = False) -> HostListener:
        """Listen at an address of the host, zeros: at all; port 0 chooses a free one.

        Args:
            dual: whether ``::`` means IPv4 as well.

        Raises:
            OSError: EADDRINUSE, or EADDRNOTAVAIL: the address is not the host's.
        """
        self._check_own(address)
        return self._stack.tcp.listen(address, port, accept, dual=dual)

    def bind(
        self, address: bytes, port: int, owner: DatagramOwner, *, dual: bool = False, shared: bool = False
    ) -> HostDatagram:
        """Open a UDP socket at an address of the host, zeros: at all; port 0 chooses a free one.

        Args:
            dual: whether ``::`` means IPv4 as well.
            shared: whether others may have the same port.

        Raises:
            OSError: EADDRINUSE, or EADDRNOTAVAIL: the address is not the host's.
        """
        self._check_own(address)
        return self._stack.udp_sockets.bind(address, port, owner, dual=dual, shared=shared)

    def reserve(
        self, owner: object, address: bytes, port: int, *, dual: bool, reuse: Callable[[], bool]
    ) -> int:
        """Bind a TCP socket that does not listen yet, and return its port; 0 chooses a free one.

        Args:
            owner: whatever gives the port back by :meth:`unreserve`.
            address: an address of the host; zeros: all of the family.
            port: its port.
            dual: whether ``::`` means IPv4 as well.
            reuse: function that reports whether it has SO_REUSEADDR now: connections of an earlier socket may remain
                on the port.

        Raises:
            OSError: EADDRINUSE, or EADDRNOTAVAIL: the address is not the host's.
        """
        self._check_own(address)
        tcp = self._stack.tcp
        taken = {stream.local_port for stream in tcp.streams.values()}
        port = port or free_port(
            tcp.guest.random, lambda port: port in taken or port in self._reserved or port in tcp.listeners
        )
        others = self._reserved.setdefault(port, [])
        if (
            (not reuse() and port in taken)
            or any(each.overlaps(address, dual) and not (reuse() and each.reuse()) for each in others)
            or any(overlap(*each.covers, address, dual) for each in tcp.listeners.get(port, ()))
        ):
            raise in_use(address, port)
        others.append(_Reservation(owner, address, dual, reuse))
        return port

    def unreserve(self, owner: object) -> None:
        """Give back what :meth:`reserve` has given to ``owner``. Harmless without it."""
        for port, found in list(self._reserved.items()):
            found[:] = [each for each in found if each.owner is not owner]
            if not found:
                del self._reserved[port]

    def _check_own(self, address: bytes) -> None:
        if any(address) and not self._stack.is_own(address):
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

    # ---------------------------------------------------------------------------- the seam of stacks

    def connect_tcp(self, address: bytes, port: int, owner: StreamOwner, ttl: int = 0) -> HostStream | _Refused:
        """See :meth:`slirpy.interfaces.HostNetwork.connect_tcp`."""
        try:
            return self.connect(address, port, owner)
        except OSError as error:
            owner.failed(error.errno or errno.EIO)
            return _Refused()

    def listen_tcp(self, address: bytes, port: int, accept: Acceptor) -> Listener:
        """See :meth:`slirpy.interfaces.HostNetwork.listen_tcp`."""
        return self.listen(address, port, accept)

    def listen_unix(self, path: str, accept: Acceptor) -> Listener:
        """See :meth:`slirpy.interfaces.HostNetwork.listen_unix`; simulated hosts have none."""
        raise OSError(errno.EOPNOTSUPP, "simulated hosts have no unix sockets")

    def open_udp(self, owner: DatagramOwner, family: int = 4) -> HostDatagram | int:
        """See :meth:`slirpy.interfaces.HostNetwork.open_udp`."""
        return self.bind(_ANY[family], 0, owner)

    def bind_udp(self, address: bytes, port: int, owner: DatagramOwner) -> HostDatagram:
        """See :meth:`slirpy.interfaces.HostNetwork.bind_udp`."""
        return self.bind(address, port, owner)

    def open_ping(self, owner: PingOwner, family: int = 4) -> PingPeer | int:
        """See :meth:`slirpy.interfaces.HostNetwork.open_ping`."""
        return HostPing(self._stack, owner)

    def is_own(self, address: bytes) -> bool:
        """Report whether an address is one of this host's."""
        return self._stack.is_own(address)

    def lookup(self, name: str, done: Callable[[NameAnswer], None]) -> bool:
        """See :meth:`slirpy.interfaces.HostNetwork.lookup`."""

        def found(addresses: list[bytes] | None) -> None:
            known = None if addresses is None else bool(addresses)
            done(NameAnswer(tuple(addresses or ()), known))

        self._lookup(name, found)
        return True
