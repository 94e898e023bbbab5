"""Owners of a guest's streams: what they are notified of, and when no more."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from slirpy import Config
from slirpy.testing import Echo, GuestStream, Resetter, Sink, VirtualNetwork

SERVER = "192.0.2.7"
MS = 1_000_000


class Owner:
    """An owner that notes what it is notified of."""

    def __init__(self, stream: GuestStream, act: Callable[[str], None] = lambda event: None) -> None:
        self.heard: list[str] = []
        self.act = act
        stream.owner = self

    def _event(self, event: str) -> None:
        self.heard.append(event)
        self.act(event)

    def connected(self) -> None:
        self._event("connected")

    def readable(self) -> None:
        self._event("readable")

    def writable(self) -> None:
        self._event("writable")

    def failed(self, error: int) -> None:
        self._event(errno.errorcode[error])


@pytest.fixture
def net() -> VirtualNetwork:
    made = VirtualNetwork(Config(hostfwd=["tcp:127.0.0.1:8080-:80"]), seed=1)
    made.boot()
    return made


def test_an_exchange(net: VirtualNetwork) -> None:
    net.host.serve_tcp(SERVER, 7, Echo)
    stream = net.guest.connect(SERVER, 7)

    def act(event: str) -> None:
        if event == "connected":
            stream.write(b"hello")

    owner = Owner(stream, act)
    net.run_until(lambda: stream.received)
    assert owner.heard == ["connected", "readable", "writable"]
    stream.shutdown()
    net.run_until(lambda: stream.eof)
    net.run(1000 * MS)
    assert owner.heard == ["connected", "readable", "writable", "readable"]
    assert stream.read() == b"hello"


def test_room_is_reported_once_all_is_acknowledged(net: VirtualNetwork) -> None:
    net.host.serve_tcp(SERVER, 9, Sink)
    stream = net.guest.connect(SERVER, 9)
    stream.write(bytes(100_000))
    pending: list[int] = []
    owner = Owner(stream, lambda event: pending.append(stream.unsent))
    net.run_until(lambda: "writable" in owner.heard)
    net.run(1000 * MS)
    assert owner.heard == ["connected", "writable"]
    assert pending == [100_000, 0]


@pytest.mark.parametrize(("port", "error"), [(7, "ECONNREFUSED"), (8, "EHOSTUNREACH"), (10, "ECONNRESET")])
def test_failures(net: VirtualNetwork, port: int, error: str) -> None:
    """Each is reported once."""
    net.host.serve_tcp(SERVER, 10, lambda: Resetter(3))
    if port == 8:
        net.host.unreachable("192.0.2.8", error=errno.EHOSTUNREACH)
    stream = net.guest.connect("192.0.2.8" if port == 8 else SERVER, port)
    stream.write(b"abc")
    owner = Owner(stream)
    net.run_until(lambda: stream.closed)
    net.run(1000 * MS)
    assert owner.heard[-1] == error
    assert owner.heard.count(error) == 1
    assert ("connected" in owner.heard) == (port == 10)


@pytest.mark.parametrize("moment", ["connected", "readable"])
def test_an_owner_that_aborts_is_not_called_again(net: VirtualNetwork, moment: str) -> None:
    net.host.serve_tcp(SERVER, 7, Echo)
    stream = net.guest.connect(SERVER, 7)
    stream.write(b"hello")
    owner = Owner(stream, lambda event: stream.abort() if event == moment else None)
    net.run(1000 * MS)
    assert owner.heard == ["connected", "readable"][: 1 + (moment == "readable")]
    assert stream.error == errno.ECONNABORTED


def test_an_accepted_stream(net: VirtualNetwork) -> None:
    """The listener hands it over before any data."""
    owners: list[Owner] = []
    listener = net.guest.listen(80)
    listener.on_accept = lambda stream: owners.append(Owner(stream))
    visitor = net.host.connect("127.0.0.1", 8080)
    visitor.write(b"hello")
    net.run_until(lambda: listener.accepted and listener.accepted[0].received)
    assert [owner.heard for owner in owners] == [["readable"]]
    listener.accepted[0].write(b"welcome")
    net.run_until(lambda: visitor.received == b"welcome")
    net.run(1000 * MS)
    assert owners[0].heard == ["readable", "writable"]
