"""Every implementation of the StreamPeer seam, each with something behind it that answers.

A place opens streams and lets things happen. What is sent is a request of the place's kind; what comes back is known,
and so is that the far end ends once we have. Streams are opened inside a real network of this process, but for those
of the simulation.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dnslib import DNSRecord

from slirpy import Config, Slirp
from slirpy.config.guestfwd import GuestForward
from slirpy.interfaces import AcceptedStream, FlowRequest, IPProtocol, NameAnswer, StreamOwner, StreamPeer
from slirpy.services.namedstream import NamedStream
from slirpy.targets.web import asgi, wsgi
from slirpy.testing import Echo, VirtualNetwork
from tests.support.waiting import until

LOOPBACK = bytes([127, 0, 0, 1])
FLOW = FlowRequest(IPProtocol.TCP, bytes([10, 0, 2, 15]), 40000, bytes([10, 0, 2, 100]), 7)
PATIENCE = 15.0


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


class Place(ABC):
    """Somewhere to open streams."""

    def request(self, size: int) -> bytes:
        """About so many bytes to send."""
        return bytes(range(256)) * (size // 256) + bytes(size % 256)

    def answer(self, request: bytes) -> bytes:
        """Return everything that comes back for it, up to the end."""
        return request

    def comparable(self, received: bytes) -> bytes:
        """Return the received bytes without those that differ from run to run."""
        return received

    @abstractmethod
    def open(self, owner: StreamOwner) -> StreamPeer: ...

    @abstractmethod
    def step(self) -> None:
        """Let something happen."""

    @abstractmethod
    def close(self) -> None: ...

    def until(self, condition: Callable[[], object], what: str) -> None:
        until(condition, self.step, what, PATIENCE)


class _Real(Place):
    """In a real network."""

    def __init__(self, **config: Any) -> None:
        self.exit = ExitStack()
        self.net = self.exit.enter_context(Slirp(Config(**config)))
        self.stack: Any = self.net._stack
        self.host = self.net._host

    def step(self) -> None:
        self.net.poll(0.002)

    def close(self) -> None:
        self.exit.close()


class Target(_Real):
    """A target of guestfwd."""

    def __init__(self, target: object) -> None:
        super().__init__()
        self.net.add_guestfwd(GuestForward("10.0.2.100", 7, target))  # type: ignore[arg-type] # of any kind
        self._service = self.stack.stream_services[FLOW.destination.packed, 7]

    def open(self, owner: StreamOwner) -> StreamPeer:
        stream: StreamPeer = self._service(owner, FLOW)
        return stream


class Waiting(Target):
    """A target all of whose places are taken, until something has to happen."""

    def __init__(self, target: object) -> None:
        super().__init__(target)
        self._limit = 0

    def open(self, owner: StreamOwner) -> StreamPeer:
        pool = next(iter(self.net._local._pools.values()))
        self._limit, pool._limit = pool._limit, 0
        return super().open(owner)

    def step(self) -> None:
        next(iter(self.net._local._pools.values()))._limit = self._limit
        super().step()


class EchoServer:
    """Echoes on a listening socket, in threads, until it is closed."""

    def __init__(self, family: int = socket.AF_INET, where: Any = ("127.0.0.1", 0)) -> None:
        self.sock = socket.socket(family)
        self.sock.bind(where)
        self.sock.listen()
        self.name = self.sock.getsockname()
        self.connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.sock.accept()
            except OSError:
                return  # closed
            self.connections.append(connection)
            threading.Thread(target=echo, args=(connection, None), daemon=True).start()

    def close(self) -> None:
        try:
            self.sock.shutdown(socket.SHUT_RDWR)  # wakes accept()
        except OSError:
            pass
        self.sock.close()
        for connection in self.connections:
            connection.close()


def echo(connection: socket.socket, flow: FlowRequest | None) -> None:
    with connection:
        try:
            while data := connection.recv(65536):
                connection.sendall(data)
        except OSError:
            pass  # the other end was closed first


async def echo_task(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


class Outward(_Real):
    """A TCP connection of the host outward."""

    def __init__(self) -> None:
        super().__init__()
        self._server = EchoServer()
        self.exit.callback(self._server.close)

    def open(self, owner: StreamOwner) -> StreamPeer:
        return self.host.connect_tcp(LOOPBACK, self._server.name[1], owner)


class Named(Outward):
    """A connection to a name, which is looked up first. The first of its addresses refuses."""

    def lookup(self, name: str, done: Callable[[NameAnswer], None]) -> bool:
        self.stack.call_at(self.stack.now, lambda: done(NameAnswer((bytes([127, 0, 0, 9]), LOOPBACK), True)))
        return True

    def connect_tcp(self, address: bytes, port: int, owner: StreamOwner) -> StreamPeer:
        return self.host.connect_tcp(address, port, owner)

    def open(self, owner: StreamOwner) -> StreamPeer:
        host: Any = self
        return NamedStream(host, "echo.test", self._server.name[1], owner)


class Inward(_Real):
    """A TCP connection that came in through a listener, as those of hostfwd do."""

    def __init__(self) -> None:
        super().__init__()
        self._owners: list[StreamOwner] = []
        self._peers: list[StreamPeer] = []
        self._listener = self.host.listen_tcp(LOOPBACK, 0, self._accept)

    def _accept(self, accepted: AcceptedStream) -> StreamOwner:
        self._peers.append(accepted.peer)
        owner = self._owners.pop()
        owner.connected()  # nobody says it of one that came in
        return owner

    def open(self, owner: StreamOwner) -> StreamPeer:
        self._owners.append(owner)
        sock = socket.create_connection(("127.0.0.1", self._listener.address[1]), timeout=PATIENCE)
        sock.settimeout(None)
        self.exit.callback(sock.close)
        threading.Thread(target=echo, args=(sock, None), daemon=True).start()
        self.until(lambda: self._peers, "accept")
        return self._peers.pop()


def unix(tmp_path: Path) -> Place:
    server = EchoServer(socket.AF_UNIX, str(tmp_path / "echo"))
    place = Target(f"unix:{tmp_path / 'echo'}")
    place.exit.callback(server.close)
    return place


def tcp_target() -> Place:
    server = EchoServer()
    place = Target(f"tcp:127.0.0.1:{server.name[1]}")
    place.exit.callback(server.close)
    return place


class Web(Target):
    """A web application that sends back the body of a request."""

    def request(self, size: int) -> bytes:
        body = super().request(size)
        return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % size + body

    def answer(self, request: bytes) -> bytes:
        return request.partition(b"\r\n\r\n")[2]

    def comparable(self, received: bytes) -> bytes:
        head, _, body = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n"), head
        return body


def wsgi_echo(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def asgi_echo(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise RuntimeError("no lifespan")
    body = b""
    while (message := await receive())["more_body"]:
        body += message["body"]
    head = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})


class Dns(_Real):
    """The DNS server over TCP, asked for names of its own."""

    def __init__(self) -> None:
        super().__init__(resolvers=[], dns_records=["web.own=192.0.2.7"])
        self._service = self.stack.stream_services[bytes([10, 0, 2, 3]), 53]

    def open(self, owner: StreamOwner) -> StreamPeer:
        stream: StreamPeer = self._service(owner, FLOW)
        return stream

    def request(self, size: int) -> bytes:
        query = DNSRecord.question("web.own")
        queries = []
        for number in range(max(size // 27, 1)):
            query.header.id = number
            queries.append(framed(query.pack()))
        return b"".join(queries)

    def answer(self, request: bytes) -> bytes:
        return b"".join(message[:2] for message in messages(request))

    def comparable(self, received: bytes) -> bytes:
        answers = list(messages(received))
        assert all(message.endswith(bytes([192, 0, 2, 7])) for message in answers)
        return b"".join(message[:2] for message in answers)


def messages(stream: bytes) -> Iterator[bytes]:
    while stream:
        end = 2 + int.from_bytes(stream[:2], "big")
        yield stream[2:end]
        stream = stream[end:]


class Simulated(Place):
    """A connection of the simulated host, with ``faults`` in short pieces."""

    def __init__(self, faults: float = 0.0) -> None:
        self._net = VirtualNetwork(Config())
        self._net.host.serve_tcp(bytes([192, 0, 2, 7]), 7, Echo)
        self._net.host.short_sends = self._net.host.short_recvs = faults

    def open(self, owner: StreamOwner) -> StreamPeer:
        return self._net.host.connect_tcp(bytes([192, 0, 2, 7]), 7, owner)

    def step(self) -> None:
        self._net.run(1_000_000)

    def close(self) -> None:
        self._net.stack.close()


PLACES: dict[str, Callable[[Path], Place]] = {
    "outward": lambda path: Outward(),
    "inward": lambda path: Inward(),
    "tcp target": lambda path: tcp_target(),
    "named target": lambda path: Named(),
    "thread": lambda path: Target(echo),
    "thread that waits": lambda path: Waiting(echo),
    "task": lambda path: Target(echo_task),
    "wsgi": lambda path: Web(wsgi(wsgi_echo)),
    "asgi": lambda path: Web(asgi(asgi_echo)),
    "dns": lambda path: Dns(),
    "sim": lambda path: Simulated(),
    "sim with faults": lambda path: Simulated(0.5),
}
if sys.platform != "win32":
    PLACES["unix"] = unix
    PLACES["command"] = lambda path: Target("cmd:cat")
