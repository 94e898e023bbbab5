"""Drives either host network from a test: the same words for real sockets and for the simulated world.

The host under test is on one side; on the other are *far* programs, which the test steers by hand. For the
simulation they are its own :class:`~slirpy.testing.world.programs.Remote`; for real sockets :class:`FarSocket` has
the same methods.
"""

from __future__ import annotations

import errno
import random
import selectors
import socket
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, TypeAlias

from slirpy.host.addresses import family_of, name_of, place_of
from slirpy.host.poller import SelectorPoller
from slirpy.host.sockets import SocketHost
from slirpy.interfaces import HostNetwork
from slirpy.testing import Remote, SimHost, SimServer
from tests.support.platforms import WINDOWS, require

Place: TypeAlias = tuple[bytes, int]

LOOPBACK = bytes([127, 0, 0, 1])
LOOPBACK6 = bytes(15) + b"\1"
LINGER_NOTHING = struct.pack("hh" if WINDOWS else "ii", 1, 0)
PATIENCE = 10.0  # seconds, or as many virtual ones


class Far(Protocol):
    """A program at the far end of a connection."""

    received: bytearray
    ended: bool
    error: int | None
    paused: bool

    def write(self, data: bytes) -> None: ...

    def finish(self) -> None: ...

    def reset(self) -> None: ...

    def close(self) -> None: ...


class Server(Protocol):
    """A TCP server of the outside world."""

    @property
    def place(self) -> Place: ...

    @property
    def connections(self) -> list[Far]: ...


class Driver(ABC):
    """One host network, and the world behind it.

    Args:
        family: the IP family that the test is about, 4 or 6.
    """

    host: HostNetwork
    sees_reset_unasked: bool
    """True if a reset is reported while the owner neither reads nor wants to write."""

    def __init__(self, family: int) -> None:
        self.family = family
        self.loopback = LOOPBACK if family == 4 else LOOPBACK6
        self.anywhere = bytes(len(self.loopback))
        self.foreign = LOOPBACK6 if family == 4 else LOOPBACK
        """An address of the other family."""
        self.payload_max = 65507 if family == 4 else 65527

    @abstractmethod
    def step(self) -> None:
        """Let something happen, or a little time pass."""

    def needs_resets(self) -> None:  # noqa: B027 - the simulation has everything
        """Skip the test if the system does not send them."""

    def needs_paths(self) -> None:  # noqa: B027 - the same
        """Skip the test if the system has no Unix sockets."""

    @abstractmethod
    def serve(self) -> Server: ...

    @abstractmethod
    def connect(self, place: Place) -> Far: ...

    @abstractmethod
    def connect_unix(self, path: str) -> Far:
        """Connect to a unix socket of the host's."""

    @abstractmethod
    def refusing_place(self) -> Place:
        """Return an address and port at which nobody listens."""

    @abstractmethod
    def udp_echo(self) -> Place: ...

    @abstractmethod
    def send_udp(self, payload: bytes, place: Place) -> Place:
        """Send a datagram from outside; returns where from."""

    @abstractmethod
    def elapsed(self) -> float:
        """Seconds since some moment."""

    @abstractmethod
    def close(self) -> None: ...

    def wait(self, condition: Callable[[], object], what: str = "") -> None:
        """Step until the condition holds."""
        end = self.elapsed() + PATIENCE
        while not condition():
            assert self.elapsed() < end, f"waited in vain: {what or condition}"
            self.step()


# ------------------------------------------------------------------------------------------- real sockets


class FarSocket:
    """A far program on a real socket; it moves when it is pumped."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.received = bytearray()
        self.ended = False
        self.error: int | None = None
        self.paused = False
        self._queue = bytearray()
        self._finishing = False

    def write(self, data: bytes) -> None:
        self._queue += data
        self.pump()

    def finish(self) -> None:
        self._finishing = True
        self.pump()

    def reset(self) -> None:
        require("resets")
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOTHING)
        self.sock.close()

    def close(self) -> None:
        self.sock.close()

    def pump(self) -> None:
        if self.sock.fileno() < 0 or self.error is not None:
            return
        try:
            self._receive()
            self._send()
        except BlockingIOError:
            pass
        except OSError as error:
            self.error = error.errno

    def _receive(self) -> None:
        try:
            while not self.paused and not self.ended:
                data = self.sock.recv(1 << 20)
                self.received += data
                self.ended = not data
        except BlockingIOError:
            pass

    def _send(self) -> None:
        while self._queue:
            del self._queue[: self.sock.send(self._queue)]
        if self._finishing:
            self._finishing = False
            self.sock.shutdown(socket.SHUT_WR)


class FarServer:
    """A real listening socket; it accepts when it is pumped."""

    def __init__(self, address: bytes) -> None:
        self.sock = socket.create_server(name_of(address, 0), family=family_of(address))
        self.sock.setblocking(False)
        self.place = place_of(self.sock.getsockname())
        self.connections: list[Far] = []
        self.sockets: list[FarSocket] = []

    def pump(self) -> None:
        try:
            while True:
                try:
                    far = FarSocket(self.sock.accept()[0])
                except OSError as error:
                    if error.errno != errno.ENOTCONN:
                        raise
                    continue  # Windows: it has ended in the queue
                self.connections.append(far)
                self.sockets.append(far)
        except BlockingIOError:
            pass


class SocketDriver(Driver):
    """Real sockets on the loopback interface."""

    def __init__(self, family: int, selector: selectors.BaseSelector | None = None) -> None:
        super().__init__(family)
        self.poller = SelectorPoller(selector)
        self.host: SocketHost = SocketHost(self.poller)
        self.sees_reset_unasked = selector is None
        self._servers: list[FarServer] = []
        self._callers: list[FarSocket] = []
        self._echoes: list[socket.socket] = []
        self._others: list[socket.socket] = []

    def step(self) -> None:
        self.poller.poll(0.002)
        for server in self._servers:
            server.pump()
        for far in self._fars():
            far.pump()
        for echo in self._echoes:
            try:
                payload, name = echo.recvfrom(65535)
                echo.sendto(payload, name)
            except BlockingIOError:
                pass

    def needs_resets(self) -> None:
        require("resets")

    def needs_paths(self) -> None:
        require("unix sockets")

    def serve(self) -> Server:
        server = FarServer(self.loopback)
        self._servers.append(server)
        return server

    def connect(self, place: Place) -> Far:
        # A blocking connect: the kernel completes it without the listener's program.
        far = FarSocket(socket.create_connection(name_of(*place), timeout=PATIENCE))
        self._callers.append(far)
        return far

    def connect_unix(self, path: str) -> Far:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(PATIENCE)
        sock.connect(path)
        far = FarSocket(sock)
        self._callers.append(far)
        return far

    def refusing_place(self) -> Place:
        # A bound socket that does not listen: nobody else can get the port meanwhile.
        sock = socket.socket(family_of(self.loopback))
        sock.bind(name_of(self.loopback, 0))
        self._others.append(sock)
        return place_of(sock.getsockname())

    def udp_echo(self) -> Place:
        sock = socket.socket(family_of(self.loopback), socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind(name_of(self.loopback, 0))
        self._echoes.append(sock)
        return place_of(sock.getsockname())

    def send_udp(self, payload: bytes, place: Place) -> Place:
        sock = socket.socket(family_of(place[0]), socket.SOCK_DGRAM)
        self._others.append(sock)
        sock.bind(name_of(self.loopback, 0))
        sock.sendto(payload, name_of(*place))
        return place_of(sock.getsockname())

    def elapsed(self) -> float:
        return time.monotonic()

    def close(self) -> None:
        self.host.close()
        self.poller.close()
        for far in self._fars():
            far.close()
        for sock in (*(server.sock for server in self._servers), *self._echoes, *self._others):
            sock.close()

    def _fars(self) -> list[FarSocket]:
        return [*self._callers, *(far for server in self._servers for far in server.sockets)]


# -------------------------------------------------------------------------------------------- simulation


class _SimServer:
    def __init__(self, place: Place, server: SimServer) -> None:
        self.place = place
        self._server = server

    @property
    def connections(self) -> list[Far]:
        return [*self._server.connections]


class SimDriver(Driver):
    """The simulated host; with ``faults`` many sends and receives are cut short."""

    def __init__(self, family: int, faults: float = 0.0) -> None:
        super().__init__(family)
        self.sim = SimHost(random.Random(7))
        self.sim.short_sends = self.sim.short_recvs = faults
        self.host: SimHost = self.sim
        self.sees_reset_unasked = True
        self._port = 1000

    def step(self) -> None:
        deadline = self.sim.deadline()
        self.sim.advance(self.sim.now + 10_000_000 if deadline is None else max(deadline, self.sim.now))

    def serve(self) -> Server:
        place = self._place()
        return _SimServer(place, self.sim.serve_tcp(*place, Remote))

    def connect(self, place: Place) -> Far:
        return self.sim.connect(*place)

    def connect_unix(self, path: str) -> Far:
        return self.sim.connect_unix(path)

    def refusing_place(self) -> Place:
        return self._place()

    def udp_echo(self) -> Place:
        place = self._place()
        self.sim.serve_udp(*place, lambda payload, source, port: payload)
        return place

    def send_udp(self, payload: bytes, place: Place) -> Place:
        source = self._place()
        self.sim.send_udp(payload, *place, source=source)
        return source

    def elapsed(self) -> float:
        return self.sim.now / 1e9

    def close(self) -> None:
        self.sim.close()

    def _place(self) -> Place:
        self._port += 1
        return self.loopback, self._port


MECHANISMS = [
    name for name in ("Select", "Poll", "Epoll", "Devpoll", "Kqueue") if hasattr(selectors, f"{name}Selector")
]
"""Selectors of :mod:`selectors` that this system has; the BSDs and macOS use the last."""


def _waiting_with(mechanism: str) -> Callable[[int], Driver]:
    return lambda family: SocketDriver(family, getattr(selectors, f"{mechanism}Selector")())


DRIVERS: dict[str, Callable[[int], Driver]] = {
    "sockets": SocketDriver,
    **{f"sockets-{name.lower()}": _waiting_with(name) for name in MECHANISMS},
    "sim": SimDriver,
    "sim-faults": lambda family: SimDriver(family, 0.5),
}


def has_ipv6() -> bool:
    """Report whether this machine has the IPv6 loopback address."""
    try:
        socket.create_server(name_of(LOOPBACK6, 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True
