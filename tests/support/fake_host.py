"""A host for the tests of services: it notes what is sent, and the test says what comes back."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

from slirpy.interfaces import (
    Acceptor,
    Buffer,
    DatagramOwner,
    Listener,
    NameAnswer,
    OneByOne,
    PingOwner,
    PingPeer,
    StreamOwner,
)


class FakeUdp(OneByOne):
    """A UDP socket."""

    def __init__(self, owner: DatagramOwner, family: int, error: int) -> None:
        self.owner = owner
        self.family = family
        self.error = error
        self.mtu = 0
        self.sent: list[tuple[bytes, bytes, int]] = []
        self.closed = False

    @property
    def address(self) -> tuple[bytes, int]:
        return bytes(4), 40000

    @property
    def answering(self) -> FakeUdp:
        return self

    def send(
        self, payload: Buffer, address: bytes, port: int, ttl: int = 0, dont_fragment: bool | None = None
    ) -> int:
        assert not self.closed
        self.sent.append((bytes(payload), address, port))
        return self.error

    def close(self) -> None:
        self.closed = True


class FakeTcp:
    """A TCP connection."""

    def __init__(self, address: bytes, port: int, owner: StreamOwner) -> None:
        self.address = address
        self.port = port
        self.owner = owner
        self.sent = bytearray()
        self.room = 1 << 20
        self.incoming: list[bytes] = []
        self.closed = False

    def send(self, buffers: Sequence[Buffer]) -> int:
        assert not self.closed
        data = b"".join(bytes(buffer) for buffer in buffers)[: self.room]
        self.sent += data
        self.room -= len(data)
        return len(data)

    def recv(self, limit: int) -> bytes | None:
        assert not self.closed
        assert limit >= 1
        if not self.incoming:
            return None
        data = self.incoming.pop(0)
        if len(data) > limit:
            self.incoming.insert(0, data[limit:])
        return data[:limit]

    def shutdown(self) -> None:
        raise AssertionError("some servers take it for a hang-up")

    def abort(self) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True

    def give(self, *data: bytes) -> None:
        """The far side sends; ``b""`` is its end."""
        self.incoming.extend(data)
        self.owner.readable()


class FakeHost:
    """A HostNetwork; ``udp_error`` and ``tcp_error`` make it refuse at once, ``sockets`` bounds it."""

    def __init__(self) -> None:
        self.udp: list[FakeUdp] = []
        self.tcp: list[FakeTcp] = []
        self.udp_error = 0
        self.tcp_error = 0
        self.connects = True
        self.sockets = 1 << 20
        self.lookups: list[tuple[str, Callable[[NameAnswer], None]]] = []
        self.lookups_refused = False

    def open_udp(self, owner: DatagramOwner, family: int = 4) -> FakeUdp | int:
        if len(self.udp) >= self.sockets:
            return errno.EMFILE
        self.udp.append(FakeUdp(owner, family, self.udp_error))
        return self.udp[-1]

    def connect_tcp(self, address: bytes, port: int, owner: StreamOwner, ttl: int = 0) -> FakeTcp:
        stream = FakeTcp(address, port, owner)
        self.tcp.append(stream)
        if self.tcp_error:
            owner.failed(self.tcp_error)
        elif self.connects:
            owner.connected()
        return stream

    def listen_tcp(self, address: bytes, port: int, accept: Acceptor) -> Listener:
        raise OSError(errno.EACCES, "a service does not listen")

    def listen_unix(self, path: str, accept: Acceptor) -> Listener:
        raise OSError(errno.EACCES, "a service does not listen")

    def bind_udp(self, address: bytes, port: int, owner: DatagramOwner) -> FakeUdp:
        raise OSError(errno.EACCES, "a service does not bind")

    def open_ping(self, owner: PingOwner, family: int = 4) -> PingPeer | int:
        return errno.EACCES  # a service does not ping

    def lookup(self, name: str, done: Callable[[NameAnswer], None]) -> bool:
        if self.lookups_refused:
            return False
        self.lookups.append((name, done))
        return True

    def open_sockets(self) -> int:
        """Number of those that are not closed."""
        return sum(not item.closed for item in self.udp) + sum(not item.closed for item in self.tcp)
