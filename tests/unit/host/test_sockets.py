"""Mistakes that only real sockets can make: spinning, descriptors, memory. The rest is in the conformance suite."""

from __future__ import annotations

import errno
import gc
import os
import socket
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from slirpy.host import socketstream
from slirpy.host.ipoptions import hear_errors
from slirpy.host.poller import SelectorPoller
from slirpy.host.sockets import SocketHost
from slirpy.interfaces import AcceptedStream, IcmpReport, StreamPeer
from tests.support.owners import Notes
from tests.support.waiting import until

LOOPBACK = bytes([127, 0, 0, 1])


def wait(poller: SelectorPoller, condition: Callable[[], object]) -> None:
    until(condition, lambda: poller.poll(0.01))


def pair(host: SocketHost, poller: SelectorPoller) -> tuple[StreamPeer, Notes, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        owner = Notes()
        stream = host.connect_tcp(LOOPBACK, server.getsockname()[1], owner)
        far = server.accept()[0]
    wait(poller, lambda: owner.calls)
    return stream, owner, far


def quiet(poller: SelectorPoller) -> bool:
    """Report whether polling comes to rest."""
    return any(poller.poll(0) == 0 and poller.poll(0.02) == 0 for _ in range(5))


def test_poller_rests_while_the_owner_does_not_read(host: SocketHost, poller: SelectorPoller) -> None:
    stream, owner, far = pair(host, poller)
    far.send(b"unread")
    far.close()
    wait(poller, lambda: "readable" in owner.calls)
    assert quiet(poller)
    assert stream.recv(100) == b"unread"
    wait(poller, lambda: owner.calls.count("readable") == 2)
    assert stream.recv(100) == b""
    assert quiet(poller)


def test_poller_rests_after_both_ends(host: SocketHost, poller: SelectorPoller) -> None:
    stream, owner, far = pair(host, poller)
    stream.shutdown()
    far.shutdown(socket.SHUT_WR)
    wait(poller, lambda: "readable" in owner.calls)
    assert quiet(poller), "a hang-up is reported by epoll whether asked for or not"
    assert stream.recv(100) == b""
    assert quiet(poller)
    assert owner.errors == []
    far.close()


@pytest.mark.needs("interpreted", detail="patches a method")
def test_busy_stream_costs_no_change_of_interest(
    host: SocketHost, poller: SelectorPoller, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, owner, far = pair(host, poller)
    changes: list[int] = []
    modify = SelectorPoller.modify

    def counted(self: SelectorPoller, fd: int, events: int, ready: Callable[[int], None]) -> None:
        changes.append(events)
        modify(self, fd, events, ready)

    monkeypatch.setattr(SelectorPoller, "modify", counted)
    for count in range(1, 50):
        far.send(b"x" * 100)
        wait(poller, lambda count=count: owner.calls.count("readable") == count)  # type: ignore[misc] # mypy infers no lambda with a default
        assert stream.recv(65536) == b"x" * 100
        assert stream.send([b"y" * 100]) == 100
    assert changes == []
    far.close()


def open_descriptors(limit: int) -> list[int]:
    """Use up the descriptors below a limit."""
    taken: list[int] = []
    try:
        while len(taken) < limit:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass
    return taken


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.dup(0)
    os.close(probe)  # the first that is free; others above it may be open
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe + 150, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_descriptors")
def test_out_of_descriptors(host: SocketHost, poller: SelectorPoller) -> None:
    accepted: list[Notes] = []

    def accept(stream: AcceptedStream) -> Notes:
        accepted.append(Notes())
        return accepted[-1]

    listener = host.listen_tcp(LOOPBACK, 0, accept)
    stream, _, far = pair(host, poller)
    caller = socket.socket()
    taken = open_descriptors(1000)
    try:
        caller.connect(("127.0.0.1", listener.address[1]))
        owner = Notes()
        assert host.connect_tcp(LOOPBACK, listener.address[1], owner).recv(1) is None
        assert owner.errors == [errno.EMFILE]
        assert host.open_udp(Notes()) == errno.EMFILE
        with pytest.raises(OSError, match="Too many open files"):
            host.bind_udp(LOOPBACK, 0, Notes())
        poller.poll(1)
        assert quiet(poller), "a connection that cannot be accepted must not keep us busy"
        assert accepted == []
        stream.close()  # gives a descriptor back
        wait(poller, lambda: accepted)
    finally:
        for fd in taken:
            os.close(fd)
        caller.close()
        far.close()


def test_many_idle_streams_take_little_memory(host: SocketHost, poller: SelectorPoller) -> None:
    count = 400
    accepted: list[Notes] = []
    owner = Notes()

    def accept(stream: AcceptedStream) -> Notes:
        accepted.append(owner)
        return owner

    listener = host.listen_tcp(LOOPBACK, 0, accept)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(count // 2):
        host.connect_tcp(*listener.address, owner)
    wait(poller, lambda: len(accepted) == count // 2 and owner.calls.count("connected") == count // 2)
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert used / count < 1500, "bytes for each idle stream"


def test_release_leaves_no_garbage(host: SocketHost, poller: SelectorPoller) -> None:
    gc.collect()
    gc.disable()
    try:
        stream, owner, far = pair(host, poller)
        stream.close()
        far.close()
        kind = type(stream)
        del stream, owner
        assert not [item for item in gc.get_objects() if isinstance(item, kind)]
    finally:
        gc.enable()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not queue errors of unconnected sockets")
def test_a_refusal_is_reported_once_and_spares_the_next_datagram() -> None:
    poller = SelectorPoller()
    host = SocketHost(poller)
    errors: list[int] = []

    class Owner:
        def datagram(self, payload: bytes, address: bytes, port: int) -> None:
            raise AssertionError("nobody answers")

        def datagram_error(self, error: int, report: IcmpReport | None = None) -> None:
            errors.append(error)

    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as alive,
    ):
        for sock in (closed, alive):
            sock.bind(("127.0.0.1", 0))
        dead, port = closed.getsockname()[1], alive.getsockname()[1]
        closed.close()
        peer = host.open_udp(Owner())
        assert not isinstance(peer, int)
        for _ in range(2):
            assert peer.send(b"to nobody", b"\x7f\0\0\1", dead) == 0
            assert peer.send(b"to somebody", b"\x7f\0\0\1", port) == 0
            assert alive.recvfrom(100)[0] == b"to somebody"
    while len(errors) < 2 and poller.poll(5):
        pass
    assert errors == [errno.ECONNREFUSED] * 2
    assert poller.poll(0) == 0, "the error must not be reported again and again"
    host.close()


class SamePort:
    """A source port equal to the one that sockets connect to, as the system may choose it by chance."""

    def __init__(self, port: int) -> None:
        self.place = "127.0.0.1", port

    def bind(self, sock: socket.socket, destination: bytes) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(self.place)


def test_a_socket_that_meets_itself_is_refused(poller: SelectorPoller) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    source: Any = SamePort(port)
    host = SocketHost(poller, source)
    for _ in range(3):  # nothing is left of it either
        owner = Notes()
        host.connect_tcp(LOOPBACK, port, owner)
        while not (owner.errors or owner.calls):
            poller.poll(1)
        assert (owner.errors, owner.calls) == ([errno.ECONNREFUSED], ["failed"])
    host.close()


class AtOnce(Notes):
    connects_at_once = True


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, the outcome may be known only later")
@pytest.mark.parametrize(("make", "calls"), [(AtOnce, ["connected"]), (Notes, [])], ids=["wants", "waits"])
def test_an_owner_that_wants_it_is_connected_at_once(
    host: SocketHost, poller: SelectorPoller, make: type[Notes], calls: list[str]
) -> None:
    owner = make()
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = host.connect_tcp(LOOPBACK, server.getsockname()[1], owner)
        assert owner.calls == calls
        wait(poller, lambda: owner.calls)
        assert stream.send([b"x"]) == 1
        assert quiet(poller)
        assert owner.calls == ["connected"]


@pytest.mark.skipif(sys.platform != "linux", reason="what is asked for is Linux's")
@pytest.mark.parametrize(("ttl", "hears"), [(0, False), (63, False), (62, True), (3, True)])
def test_the_time_to_live_of_a_connection(
    host: SocketHost, poller: SelectorPoller, ttl: int, hears: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ICMP errors are queued for a short one only, and while connecting only: then they must not end it."""
    heard: list[bool] = []

    def hear(sock: socket.socket) -> None:
        heard.append(True)
        hear_errors(sock)

    monkeypatch.setattr(socketstream, "hear_errors", hear)
    with socket.socket() as fresh:
        default = fresh.getsockopt(socket.IPPROTO_IP, socket.IP_TTL)
    with socket.create_server(("127.0.0.1", 0)) as server:
        owner = Notes()
        stream = host.connect_tcp(LOOPBACK, server.getsockname()[1], owner, ttl)
        with server.accept()[0]:
            wait(poller, lambda: owner.calls)
            sock = stream._sock
            assert sock is not None
            assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == (ttl or default)
            assert sock.getsockopt(socket.IPPROTO_IP, 11) == 0  # IP_RECVERR
    assert heard == [True] * hears
