"""A virtual network for the tests of services: time is a number, what is sent is a list."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from slirpy.interfaces import Buffer, Datagram, LinkSink, Service, Timer
from slirpy.stats import Stats
from tests.support.clock import Clock

SECOND = 1_000_000_000


class Sent(NamedTuple):
    """One datagram to a guest."""

    source: bytes
    source_port: int
    destination: bytes
    destination_port: int
    payload: bytes
    mac: bytes | None
    link: LinkSink | None


class FakeSink:
    """A link that is only compared."""

    def input(self, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> None:
        raise AssertionError("a service puts no frames in")

    def writable(self) -> None:
        raise AssertionError("a service does not know of room")

    def lost(self, frames: int) -> None:
        raise AssertionError("a service loses no frames")

    @property
    def now(self) -> int:
        raise AssertionError("a service asks its network for the time")

    @property
    def stats(self) -> Stats:
        raise AssertionError("a service has its counters from its network")

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        raise AssertionError("a service has its timers from its network")


class FakeNetwork(Clock):
    """A ServiceNetwork in virtual time; :meth:`run` is its flush."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__()
        self.random = Random(seed)
        self.stats = Stats()
        self.sent: list[Sent] = []
        self.conversations: dict[tuple[bytes, int, bytes, int], Service] = {}
        self._ports = itertools.count(49152)

    def send_datagram(
        self,
        source: bytes,
        source_port: int,
        destination: bytes,
        destination_port: int,
        payload: Buffer,
        *,
        mac: bytes | None = None,
        link: LinkSink | None = None,
    ) -> None:
        self.sent.append(Sent(source, source_port, destination, destination_port, bytes(payload), mac, link))

    def send_datagrams(
        self,
        source: bytes,
        source_port: int,
        destination: bytes,
        destination_port: int,
        payloads: Sequence[Buffer],
    ) -> None:
        for payload in payloads:
            self.send_datagram(source, source_port, destination, destination_port, payload)

    def open_port(self, address: bytes, guest: bytes, guest_port: int, service: Service) -> int:
        port = next(self._ports)
        self.conversations[address, port, guest, guest_port] = service
        return port

    def close_port(self, address: bytes, port: int, guest: bytes, guest_port: int) -> None:
        del self.conversations[address, port, guest, guest_port]

    def run(self, seconds: float = 0) -> None:
        """Let time pass, and make the calls that fall due."""
        self.advance(int(seconds * SECOND))

    def take(self) -> list[Sent]:
        """Return the datagrams that were sent since the last call."""
        sent, self.sent = self.sent, []
        return sent


def datagram(
    payload: bytes,
    *,
    source: bytes = bytes(4),
    source_port: int = 68,
    destination: bytes = b"\xff" * 4,
    destination_port: int = 67,
    mac: bytes = b"\x02\0\0\0\0\x01",
    link: LinkSink | None = None,
) -> Datagram:
    """A datagram as a guest sends it, by default one of DHCP."""
    return Datagram(
        source, source_port, destination, destination_port, memoryview(payload), mac, link or FakeSink()
    )
