"""A guest in this process, for networks with real sockets and a real clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random

from slirpy import Slirp
from slirpy.testing import Guest
from slirpy.testing.guest.tcp import GuestStream, StreamListener

__all__ = ["LiveGuest"]


class LiveGuest:
    """A guest with an address, and servers on TCP ports.

    Its servers do what they do when a frame arrives, so it needs no thread. Nothing is lost between it and the
    network, so it needs no timers either, once it has its address.
    """

    def __init__(
        self, net: Slirp, *, mac: str = "52:54:00:12:34:56", hostname: str = "guest", seed: int = 1
    ) -> None:
        self._net = net
        self._servers: list[tuple[StreamListener, Callable[[GuestStream], object]]] = []
        self._streams: list[tuple[GuestStream, Callable[[GuestStream], object]]] = []
        self.guest = Guest(
            lambda frame: self.nic.send(frame),  # noqa: PLW0108 - later
            random=Random(seed),
            now=time.monotonic_ns(),
            mac=mac,
            hostname=hostname,
        )
        self.nic = net.attach(self._input)
        lease = self.guest.dhcp()
        end = time.monotonic() + 10
        while not lease.bound:
            assert time.monotonic() < end, "no lease"
            self.turn(0.05)
        assert self.guest.address is not None
        self.address = str(self.guest.address)

    def turn(self, timeout: float) -> None:
        """Poll the network once, and let the guest's timers run."""
        self._net.poll(timeout)
        self.guest.advance(time.monotonic_ns())

    def _input(self, frame: bytes) -> None:
        self.guest.input(frame, time.monotonic_ns())
        for listener, serve in self._servers:
            while listener.accepted:
                self._streams.append((listener.accepted.pop(0), serve))
        for stream, serve in list(self._streams):
            serve(stream)
            if stream.closed:
                self._streams.remove((stream, serve))

    def serve(self, port: int, serve: Callable[[GuestStream], object]) -> None:
        """Call ``serve`` with each connection to a port, whenever a frame has arrived."""
        self._servers.append((self.guest.listen(port), serve))

    def serve_echo(self, port: int) -> None:
        """Return all data, and the end, to the clients of a port."""
        self.serve(port, echo)


def echo(stream: GuestStream) -> None:
    """Return what a stream has received."""
    data = stream.read()
    if data:
        stream.write(data)
    if stream.eof and not stream.unsent:
        stream.shutdown()
