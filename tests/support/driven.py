"""A guest on a real network of this process, driven together, for tests of what lies behind real sockets."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from random import Random

from slirpy import Slirp
from slirpy.testing import Guest, GuestStream
from tests.support.waiting import PATIENCE, until

__all__ = ["Driven"]


class Driven:
    """Polls the network and its guest in turn until something is so."""

    def __init__(self, net: Slirp) -> None:
        self.net = net
        self._frames: deque[bytes] = deque()
        self.guest = Guest(net.attach(self._frames.append).send, random=Random(1), now=time.monotonic_ns())
        self.guest.configure("10.0.2.15", 24, "10.0.2.2")
        self.guest.configure("fec0::15", 64, "fec0::2")

    def until(self, condition: Callable[[], object], what: str = "", seconds: float = PATIENCE) -> None:
        """Go on until ``condition()``; fail if that takes too long."""
        until(condition, self._step, what, seconds)

    def _step(self) -> None:
        while self._frames:
            self.guest.input(self._frames.popleft(), time.monotonic_ns())
        self.net.poll(0.005)
        self.guest.advance(time.monotonic_ns())

    def connect(self, address: str, port: int) -> GuestStream:
        """A connection that is there, or has failed."""
        stream = self.guest.connect(address, port)
        self.until(lambda: stream.established or stream.error, f"{address}:{port} answers")
        return stream

    def exchange(self, address: str, port: int, data: bytes = b"", *, end: bool = True) -> GuestStream:
        """Send all, then our end, and receive to the other's end."""
        stream = self.connect(address, port)
        if not stream.error:
            stream.write(data)
            if end:
                stream.shutdown()
            self.until(lambda: stream.eof or stream.error, f"the end of {address}:{port}")
        return stream
