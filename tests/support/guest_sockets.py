"""Guests behind sockets, in the loop of the network that they are on: they are watched by it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from slirpy import Slirp
from slirpy.testing import Guest, GuestStream
from tests.support import waiting
from tests.support.framing import framed, take_frames

__all__ = ["SECONDS", "Bystander", "Far", "echo_server", "until"]

SECONDS = waiting.PATIENCE


def until(net: Slirp, guests: list[Far], done: Callable[[], object], what: str) -> None:
    """Carry a network and its guests on until ``done()``."""

    def step() -> None:
        net.poll(0.005)
        for guest in guests:
            guest.carry_on()

    waiting.until(done, step, lambda: f"{what}; {net.stats.nonzero()}", SECONDS)


class Far:
    """A guest in Python at the far end of a stream, with QEMU's framing."""

    def __init__(self, net: Slirp, path: str, number: int) -> None:
        self._net = net
        self._path = path
        self.mac = bytes((0x52, 0x54, 0, 0, 0, number))
        self.guest = Guest(self.send, random=Random(number), now=time.monotonic_ns(), mac=self.mac)
        self.reads = True
        self.ended = False
        self.plug()

    def plug(self) -> None:
        """Connect; again, after :meth:`pull`."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)
        self.sock.setblocking(False)
        self._in = bytearray()
        self._out = b""
        self._net.watch(self.sock.fileno(), lambda events: self._read())

    def pull(self) -> None:
        """Close the connection, wherever it is. Harmless when repeated."""
        if self.sock.fileno() < 0:
            return
        self._net.unwatch(self.sock.fileno())
        self.sock.close()

    def stall(self) -> None:
        """Read no more."""
        self._net.unwatch(self.sock.fileno())
        self.reads = False

    def send(self, frame: bytes) -> None:
        """A frame to the network, now or a little later."""
        self.write(framed(frame))

    def write(self, data: bytes) -> None:
        """Bytes to the network, a frame or not."""
        self._out += data
        self._flush()

    def _flush(self) -> None:
        if self._out and self.sock.fileno() >= 0:
            try:
                self._out = self._out[self.sock.send(self._out) :]
            except BlockingIOError:
                pass
            except OSError:
                self._out = b""

    def _read(self) -> None:
        try:
            data = self.sock.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        if not data:
            self.ended = True
            self.stall()
            return
        self._in += data
        for frame in take_frames(self._in):
            self.guest.input(frame, time.monotonic_ns())

    def carry_on(self) -> None:
        """Send what waits, and what is due."""
        self._flush()
        self.guest.advance(time.monotonic_ns())


class Bystander(Far):
    """One who minds its own business: it always sends to an echo server, and expects all of it back."""

    AT_ONCE = 1 << 18

    def __init__(self, net: Slirp, path: str, number: int, port: int, address: str) -> None:
        super().__init__(net, path, number)
        self.guest.configure(address, 24)
        self._random = Random(number)
        self._sent = bytearray()
        self._stream: GuestStream = self.guest.connect("10.0.2.2", port)

    @property
    def progress(self) -> int:
        """Bytes that have come back."""
        return len(self._stream.received)

    def carry_on(self) -> None:
        """Go on, and send more when all is back."""
        super().carry_on()
        if self.progress == len(self._sent):
            self._say()

    def _say(self) -> None:
        more = self._random.randbytes(self.AT_ONCE)
        self._sent += more
        self._stream.write(more)

    def unharmed(self) -> None:
        """Wait for the rest, and for more, which must be what it should be."""
        end = len(self._sent) + 1
        until(self._net, [self], lambda: self.progress >= end, "the bystander's transfer")
        assert self._stream.received == self._sent[: self.progress]
        assert not self.ended


@contextmanager
def echo_server() -> Iterator[int]:
    """Sends back what it gets, on many connections; the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threads: list[threading.Thread] = []

        def echo(connection: socket.socket) -> None:
            with connection:
                connection.settimeout(SECONDS)
                try:
                    while data := connection.recv(1 << 16):
                        connection.sendall(data)
                except OSError:
                    pass  # a reset, at the end of the network

        def serve() -> None:
            while True:
                connection, _ = server.accept()
                if over.is_set():
                    connection.close()
                    return
                threads.append(threading.Thread(target=echo, args=(connection,)))
                threads[-1].start()

        over = threading.Event()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            over.set()
            socket.create_connection(server.getsockname()).close()
            thread.join()
            for one in threads:
                one.join()
