"""Descriptors of the program's own in a network's loop, and guests that connect to it, by every way to drive it."""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slirpy import Config, ConfigError, GuestListener, LinkError, Slirp, StateError
from slirpy.interfaces import Link
from slirpy.links import CaptureLink, Middleware, StreamLink
from tests.support.guest_sockets import SECONDS, Bystander, Far, echo_server, until

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs unix sockets")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def path(folder: Path) -> str:
    return f"{folder}/net.sock"


# ------------------------------------------------------------------------------------------------- watch

Pair = tuple[socket.socket, socket.socket]


def test_a_watched_descriptor_wakes_poll_until_it_is_read(net: Slirp, pair: Pair) -> None:
    ours, theirs = pair
    told: list[int] = []
    net.watch(ours.fileno(), told.append)
    net.poll(0)
    assert told == []
    theirs.send(b"x")
    net.poll(SECONDS)
    net.poll(SECONDS)
    assert told == [selectors.EVENT_READ] * 2
    ours.recv(1)
    net.poll(0)
    assert len(told) == 2


def test_events(net: Slirp, pair: Pair) -> None:
    ours, theirs = pair
    told: list[int] = []
    net.watch(ours.fileno(), told.append, selectors.EVENT_WRITE)
    net.poll(SECONDS)
    assert told == [selectors.EVENT_WRITE]
    net.unwatch(ours.fileno())
    net.watch(ours.fileno(), told.append, selectors.EVENT_READ | selectors.EVENT_WRITE)
    theirs.send(b"x")
    net.poll(SECONDS)
    assert told[1:] == [selectors.EVENT_READ | selectors.EVENT_WRITE]


def test_unwatch(net: Slirp, pair: Pair) -> None:
    ours, theirs = pair
    told: list[int] = []

    def once(events: int) -> None:
        told.append(events)
        net.unwatch(ours.fileno())

    net.watch(ours.fileno(), once)
    theirs.send(b"x")
    net.poll(SECONDS)
    net.poll(0)
    assert len(told) == 1
    net.unwatch(ours.fileno())
    net.unwatch(99_999)
    net.watch(ours.fileno(), once)
    net.poll(SECONDS)
    assert len(told) == 2


def test_exceptions_of_the_callable_leave_poll_and_do_no_harm(net: Slirp, pair: Pair) -> None:
    ours, theirs = pair

    def fail(events: int) -> None:
        ours.recv(1)
        raise KeyError("mine")

    net.watch(ours.fileno(), fail)
    theirs.send(b"x")
    with pytest.raises(KeyError, match="mine"):
        net.poll(SECONDS)
    net.poll(0)


def test_the_callable_may_close_the_network(net: Slirp, pair: Pair) -> None:
    ours, theirs = pair
    net.attach(lambda frame: None)
    net.watch(ours.fileno(), lambda events: net.close())
    theirs.send(b"x")
    net.poll(SECONDS)
    with pytest.raises(StateError, match="closed"):
        net.poll(0)
    with pytest.raises(StateError, match="closed"):
        net.watch(ours.fileno(), print)
    net.unwatch(ours.fileno())
    ours.recv(1)  # it is still ours


def test_mistakes(net: Slirp, pair: Pair, tmp_path: Path) -> None:
    ours, theirs = pair
    net.watch(ours.fileno(), print)
    with pytest.raises(StateError, match=r"is watched already; call unwatch\(\d+\) first"):
        net.watch(ours.fileno(), print)
    for bad in (-1, 99_999):
        with pytest.raises(ConfigError, match=r"cannot be watched|is not a descriptor"):
            net.watch(bad, print)
    for events in (0, 4, -1):
        with pytest.raises(ConfigError, match="EVENT_READ"):
            net.watch(theirs.fileno(), print, events)
    if hasattr(os, "fork"):  # Windows finds out at the next poll
        with open(tmp_path / "file", "w") as file, pytest.raises(ConfigError, match="cannot be watched"):
            net.watch(file.fileno(), print)
    net.unwatch(ours.fileno())
    fd = theirs.detach()
    net.attach_link(StreamLink.from_fd(fd))
    with pytest.raises(StateError, match="is watched already"):
        net.watch(fd, print)
    net.unwatch(fd)  # not one of the caller's: the link keeps it
    ours.send((60).to_bytes(4, "big") + bytes(60))
    net.poll(SECONDS)
    assert net.stats.frames_in == 1


@pytest.mark.needs("interpreted", detail="a compiled function checks types itself")
@pytest.mark.parametrize("given", ["3", None])
def test_a_descriptor_is_a_number(net: Slirp, given: Any) -> None:
    with pytest.raises(ConfigError, match="is not a descriptor"):
        net.watch(given, print)


def test_by_a_thread(net: Slirp, pair: Pair) -> None:
    ours, theirs = pair
    told = threading.Event()
    threads: list[str] = []

    def ready(events: int) -> None:
        threads.append(threading.current_thread().name)
        net.unwatch(ours.fileno())
        told.set()

    net.start()
    net.watch(ours.fileno(), ready)
    theirs.send(b"x")
    assert told.wait(SECONDS)
    net.unwatch(ours.fileno())
    net.stop()
    assert threads == ["slirpy"]


def test_by_asyncio(pair: Pair) -> None:
    ours, theirs = pair

    async def main() -> bytes:
        got: asyncio.Queue[bytes] = asyncio.Queue()
        async with Slirp(Config(resolvers=[])) as net:
            net.watch(ours.fileno(), lambda events: got.put_nowait(ours.recv(10)))
            theirs.send(b"hello")
            return await asyncio.wait_for(got.get(), SECONDS)

    assert asyncio.run(main()) == b"hello"


# ------------------------------------------------------------------------------------------------- serve


def test_guests_come_and_go_and_reach_each_other(net: Slirp, path: str) -> None:
    door = net.serve(f"unix:{path}")
    assert isinstance(door, GuestListener)
    assert str(door.address) == f"unix:{path}"
    guests = [Far(net, path, number) for number in (1, 2)]
    clients = [far.guest.dhcp() for far in guests]
    until(net, guests, lambda: all(client.bound for client in clients), "leases")
    assert door.guests == 2
    one, two = (far.guest for far in guests)
    assert two.address is not None
    ping = one.ping(two.address)
    until(net, guests, lambda: ping.reply, "a ping to the neighbour")
    guests[1].pull()
    until(net, guests, lambda: door.guests == 1, "the end of one")
    door.close()
    door.close()
    assert not os.path.exists(path)
    again = one.ping("10.0.2.2")
    until(net, guests, lambda: again.reply, "a ping of who is still there")
    guests[0].pull()


def test_a_port_that_is_free(net: Slirp) -> None:
    door = net.serve("tcp:127.0.0.1:0")
    host, port = door.address.address[:2]
    assert host == "127.0.0.1"
    with socket.create_connection((host, port)) as sock:
        until(net, [], lambda: door.guests == 1, "the guest")
        net.close()
        assert sock.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port))


def test_serve_by_a_thread(net: Slirp, path: str) -> None:
    net.start()
    door = net.serve(f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(SECONDS)
        sock.connect(path)
        door.close()  # after the guest was accepted or not: this is done between two polls of the thread
    net.stop()
    assert not os.path.exists(path)


def test_each_guest_is_wrapped(net: Slirp, path: str) -> None:
    made: list[Link] = []

    def wrap(link: Link) -> Link:
        made.append(CaptureLink(Middleware(link)))
        return made[-1]

    net.serve(f"unix:{path}", wrap=wrap)
    guests = [Far(net, path, number) for number in (1, 2)]
    clients = [far.guest.dhcp() for far in guests]
    until(net, guests, lambda: all(client.bound for client in clients), "leases")
    assert len(made) == 2
    for far in guests:
        far.pull()


@pytest.mark.parametrize("text", [True, False])
def test_serve_at_a_descriptor(net: Slirp, path: str, text: bool) -> None:
    """A service manager passes the socket like this."""
    with socket.socket(socket.AF_UNIX) as outer:
        outer.bind(path)
        outer.listen()
        fd = outer.detach()
    door = net.serve(f"fd:{fd}" if text else fd)
    assert door.address.address == path
    with pytest.raises(LinkError, match=f"descriptor {fd} is listened at already"):
        net.serve(f"fd:{fd}")
    far = Far(net, path, 1)
    client = far.guest.dhcp()
    until(net, [far], lambda: client.bound, "a lease")
    far.pull()
    door.close()
    assert os.path.exists(path)  # it belongs to who made it


def test_descriptors_that_cannot_be_served(net: Slirp) -> None:
    for text in ("fd:", "fd:x", "fd:-1", "fd:99999999999", "fd: 3"):
        with pytest.raises(LinkError, match="is not a descriptor; write fd:N"):
            net.serve(text)
    with socket.socket() as idle:
        with pytest.raises(LinkError, match="is not a listening socket"):
            net.serve(f"fd:{idle.fileno()}")
        idle.getsockname()  # it is still open, and its owner's


def test_mistakes_of_serve(net: Slirp, path: str) -> None:
    for text in ("udp:127.0.0.1:1", "", "/tmp/x"):
        with pytest.raises(LinkError, match="is not an address"):
            net.serve(text)
    net.serve(f"unix:{path}")
    with pytest.raises(LinkError, match="address already in use"):
        net.serve(f"unix:{path}")


def test_a_guest_that_comes_again_keeps_its_connections(net: Slirp, path: str) -> None:
    """In the midst of a transfer, several times, and the guest says nothing of its own accord when it is back."""
    net.serve(f"unix:{path}")
    with echo_server() as port:
        far = Bystander(net, path, 1, port, "10.0.2.50")
        for number in range(3):
            goal = far.progress + 100_000
            until(net, [far], lambda goal=goal: far.progress > goal, "progress")  # type: ignore[misc] # a default
            far.pull()
            until(net, [], lambda n=number: net.stats.link_disconnects > n, "the end")  # type: ignore[misc] # mypy infers no lambda with a default
            far.plug()
        far.unharmed()
        assert len([flow for flow in net.flows() if flow.protocol == "tcp"]) == 1
        assert net.closed_flows() == []
        far.pull()
        net.close()  # which ends the connection to the server


def test_a_guest_that_comes_again_keeps_its_lease(net: Slirp, path: str) -> None:
    net.serve(f"unix:{path}")
    addresses = []
    for number in (1, 2, 1):
        far = Far(net, path, number)
        lease = far.guest.dhcp()
        until(net, [far], lambda lease=lease: lease.bound, "a lease")  # type: ignore[misc] # a default
        addresses.append(str(far.guest.address))
        far.pull()
        until(net, [], lambda: net.stats.link_disconnects == len(addresses), "the end")
    assert addresses == ["10.0.2.15", "10.0.2.16", "10.0.2.15"]


@pytest.mark.long
def test_a_guest_that_only_listens_is_found_again(net: Slirp, path: str) -> None:
    """A guest that downloads has nothing to acknowledge when nothing arrives, and waits. So we must look for it."""
    net.serve(f"unix:{path}")
    size = 20 << 20
    with socket.create_server(("127.0.0.1", 0)) as server:

        def send() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(bytes(size))

        thread = threading.Thread(target=send)
        thread.start()
        far = Far(net, path, 1)
        far.guest.configure("10.0.2.15", 24)
        stream = far.guest.connect("10.0.2.2", server.getsockname()[1])
        until(net, [far], lambda: len(stream.received) > 1 << 20, "some of it")
        far.pull()
        until(net, [], lambda: net.stats.drop_neighbor_unresolved, "something that was sent in vain")
        far.plug()
        until(net, [far], lambda: len(stream.received) == size, "all of it")
        thread.join()
        far.pull()


@pytest.mark.parametrize("hub", [False, True])
def test_a_hub_sends_answers_of_the_gateway_to_all_guests(path: str, hub: bool) -> None:
    with Slirp(Config(resolvers=[], hub=hub)) as net:
        net.serve(f"unix:{path}")
        guests = [Far(net, path, number) for number in (1, 2)]
        one, two = (far.guest for far in guests)
        for number, guest in enumerate((one, two)):
            guest.configure(f"10.0.2.{20 + number}", 24)
            ping = guest.ping("10.0.2.2")
            until(net, guests, lambda ping=ping: ping.reply, "a ping")  # type: ignore[misc] # a default
        before = two.counters.frames_in
        for _ in range(10):
            ping = one.ping("10.0.2.2")
            until(net, guests, lambda ping=ping: ping.reply, "a ping")  # type: ignore[misc] # a default
        ping = two.ping("10.0.2.2")
        until(net, guests, lambda: ping.reply, "a ping of its own, which is the last that it hears")
        assert two.counters.frames_in - before == (21 if hub else 1)
        for far in guests:
            far.pull()


def test_a_hub_is_one_or_not() -> None:
    with pytest.raises(ConfigError, match="hub is True or False"):
        Config(hub="yes")  # type: ignore[arg-type] # the mistake
