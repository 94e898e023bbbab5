"""Sockets of a guest's namespace, which come when they come; here they are ordinary ones."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest
from click.testing import CliRunner

from slirpy import Config, ConfigError, Slirp
from slirpy.cli import session
from slirpy.cli.app import app
from slirpy.cli.channel import Channel
from slirpy.cli.sandbox import ASKED_MAX, Sandbox
from slirpy.host.inside import InsideSockets
from slirpy.host.poller import SelectorPoller
from slirpy.host.sockets import SocketHost
from tests.support.driven import Driven
from tests.support.owners import Notes
from tests.support.waiting import until

Done = Callable[[socket.socket | None], None]


class Opener:
    """Opener of sockets, immediately or on request."""

    def __init__(self, family: int = socket.AF_INET) -> None:
        self._family = family
        self.later = False
        self.none = False
        self.waiting: list[tuple[socket.SocketKind, Done]] = []

    def __call__(self, kind: socket.SocketKind, done: Done) -> None:
        self.waiting.append((kind, done))
        if not self.later:
            self.give()

    def give(self) -> None:
        waiting, self.waiting = self.waiting, []
        for kind, done in waiting:
            done(None if self.none else socket.socket(self._family, kind))


LOOPBACK = b"\x7f\0\0\1"


class World:
    def __init__(self) -> None:
        self.poller = SelectorPoller()
        self.host = SocketHost(self.poller)
        self.opener = Opener()
        self.inside = InsideSockets(self.host.sockets, b"\x0a\0\2\x0f", self.opener)
        self.notes = Notes()

    def until(self, condition: Callable[[], object]) -> None:
        until(condition, lambda: self.poller.poll(0.005), lambda: vars(self.notes))


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.host.close()
    world.poller.close()


@pytest.mark.parametrize("later", [False, True])
def test_a_connection(world: World, later: bool) -> None:
    world.opener.later = later
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = world.inside.connect_tcp(server.getsockname()[1], world.notes)
        assert stream.recv(10) is None
        if later:
            assert stream.send((b"early",)) == 0
            world.opener.give()
        with server.accept()[0] as far:
            world.until(lambda: "connected" in world.notes.calls)
            assert stream.send((b"x",)) == 1
            assert far.recv(10) == b"x"
            stream.abort()
            with pytest.raises(ConnectionResetError):
                far.recv(10)


@pytest.mark.parametrize("later", [False, True])
def test_no_socket_for_a_connection(world: World, later: bool) -> None:
    world.opener.none, world.opener.later = True, later
    stream = world.inside.connect_tcp(80, world.notes)
    world.opener.give()
    assert (world.notes.calls, world.notes.errors) == (["failed"], [errno.EMFILE])
    stream.close()


@pytest.mark.parametrize("how", ["close", "abort"])
def test_a_socket_that_comes_too_late_is_closed(world: World, how: str) -> None:
    world.opener.later = True
    stream = world.inside.connect_tcp(80, world.notes)
    datagrams = world.inside.open_udp(world.notes)
    datagrams.send(b"x", LOOPBACK, 9)
    getattr(stream, how)()
    datagrams.close()
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    world.opener.give()
    if before:
        assert len(os.listdir("/proc/self/fd")) == before
    assert (world.notes.calls, world.notes.received, world.notes.errors) == ([], [], [])
    assert datagrams.send(b"x", LOOPBACK, 9) == errno.EBADF


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_the_loopback_is_of_the_guests_family(world: World) -> None:
    inside = InsideSockets(
        world.host.sockets, bytes.fromhex("fec0" + 13 * "00" + "15"), Opener(socket.AF_INET6)
    )
    loopback = bytes(15) + b"\1"
    with (
        socket.create_server(("::1", 0), family=socket.AF_INET6) as listener,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server,
    ):
        server.bind(("::1", 0))
        server.settimeout(5)
        stream = inside.connect_tcp(listener.getsockname()[1], world.notes)
        peer = inside.open_udp(world.notes)
        assert peer.send(b"question", loopback, server.getsockname()[1]) == 0
        data, name = server.recvfrom(100)
        assert (data, name[0]) == (b"question", "::1")
        world.until(lambda: "connected" in world.notes.calls)
    stream.abort()
    peer.close()


def test_datagrams_wait_for_their_socket(world: World) -> None:
    world.opener.later = True
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        peer = world.inside.open_udp(world.notes)
        port = server.getsockname()[1]
        outcomes = [peer.send(b"%d" % number, LOOPBACK, port) for number in range(20)]
        assert outcomes == [0] * 16 + [errno.EAGAIN] * 4
        assert peer.address == (bytes(4), 0)
        world.opener.give()
        assert [server.recv(10) for _ in range(16)] == [b"%d" % number for number in range(16)]
        assert peer.send_many([b"a", b"b"], LOOPBACK, port) == (2, 0)
        _, name = server.recvfrom(10)
        server.sendto(b"answer", name)
        world.until(lambda: b"answer" in dict(world.notes.received))
        assert peer.address[1] == name[1]


@pytest.mark.parametrize("later", [False, True])
def test_no_socket_for_datagrams(world: World, later: bool) -> None:
    world.opener.none, world.opener.later = True, later
    peer = world.inside.open_udp(world.notes)
    assert peer.send(b"x", LOOPBACK, 9) == (0 if later else errno.EBADF)
    world.opener.give()
    assert world.notes.errors == [errno.EMFILE] * later
    assert peer.send(b"x", LOOPBACK, 9) == errno.EBADF


@pytest.mark.parametrize("guest", ["10.0.2", "", None, "::1::", "guest"])
def test_a_guest_is_an_address(guest: Any) -> None:
    with Slirp() as net, pytest.raises(ConfigError, match=r"guest .* is not an IP address"):
        net.reach_guest_loopback(guest, Opener())


def test_an_opener_is_a_function() -> None:
    with Slirp() as net, pytest.raises(ConfigError, match="open_socket"):
        net.reach_guest_loopback("10.0.2.15", None)  # type: ignore[arg-type] # the mistake


def test_through_a_network() -> None:
    """The guest has nobody at its address; the loopback inside is this machine's."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        Slirp(Config(hostfwd=[f"tcp::0-:{server.getsockname()[1]}"], resolvers=[])) as net,
    ):
        net.reach_guest_loopback(IPv4Address("10.0.2.15"), Opener())
        driven = Driven(net)
        server.setblocking(False)
        with socket.create_connection(("127.0.0.1", net.hostfwds()[0].host_port)) as client:
            client.sendall(b"question")
            client.setblocking(False)
            accepted: list[socket.socket] = []

            def come() -> bool:
                try:
                    accepted.append(server.accept()[0])
                except BlockingIOError:
                    pass
                return bool(accepted)

            driven.until(come)
            with accepted[0] as far:
                far.setblocking(False)
                got = bytearray()

                def read() -> bool:
                    try:
                        got.extend(far.recv(100))
                    except BlockingIOError:
                        pass
                    return bytes(got) == b"question"

                driven.until(read)
                (flow,) = net.flows()
                assert str(flow.guest[0]) == "127.0.0.1"


# ------------------------------------------------------------------------------------------------ slirpy run


class FakeSandbox(Sandbox):
    """The outside, with nobody inside but the test."""

    def __init__(self) -> None:
        self._channel, self.inner = Channel.pair()
        self._child = 1
        from collections import deque

        self._asking = deque()
        self._asked = deque()

    def end(self) -> None:
        self._child = None
        self._channel.close()
        self.inner.close()


def test_sockets_are_requested_a_few_at_a_time() -> None:
    sandbox = FakeSandbox()
    got: list[socket.socket | None] = []
    for _ in range(ASKED_MAX + 3):
        sandbox.open_socket(socket.SOCK_STREAM, got.append)
    for number in range(ASKED_MAX + 3):
        received = sandbox.inner.receive()
        assert received is not None
        assert received[0] == {"socket": int(socket.SOCK_STREAM), "family": int(socket.AF_INET)}
        if number % 2:
            sandbox.inner.send({"socket": errno.EMFILE})
        else:
            with socket.socket() as sock:
                sandbox.inner.send({"socket": 0}, sock.fileno())
        assert sandbox.read() is None
    assert [sock is None for sock in got] == [bool(number % 2) for number in range(ASKED_MAX + 3)]
    for each in got:
        if each is not None:
            each.close()
    sandbox.inner.send({"exit": 7})
    assert sandbox.read() == 7
    sandbox.end()
    sandbox.open_socket(socket.SOCK_STREAM, got.append)
    assert got[-1] is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], True),
        (["--no-hostfwd-loopback"], False),
        (["--restrict"], False),
        (["--allow", "any:443"], False),
        (["--deny", "any:25"], False),
        (["--deny-private"], False),
        (["--restrict", "--hostfwd-loopback"], True),
        (["--allow", "any:443", "--hostfwd-loopback"], True),
        (["--no-host-loopback"], True),
    ],
)
def test_the_switch(monkeypatch: pytest.MonkeyPatch, options: list[str], expected: bool) -> None:
    made: list[bool] = []

    class Session:
        def __init__(self, config: Config, command: object, reporting: object, *, loopback: bool) -> None:
            made.append(loopback)

        def run(self) -> tuple[int, int]:
            return 0, 0

    monkeypatch.setattr(session, "Session", Session)
    monkeypatch.setattr("sys.platform", "linux")
    result = CliRunner().invoke(app, ["run", *options, "--", "true"])
    assert result.exit_code == 0, result.output
    assert made == [expected]


def test_the_switch_is_in_the_help() -> None:
    said = CliRunner().invoke(app, ["run", "--help"]).output
    assert "--hostfwd-loopback" in said
