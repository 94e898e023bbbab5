"""Guests that do what they should not, each beside one that has business of its own: that one must notice nothing."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slirpy import ConfigError, LinkError, Slirp
from slirpy.links import DgramLink, StreamLink, StreamListener, unix
from slirpy.wire import arp, ethernet
from tests.support.guest_sockets import Bystander, Far, echo_server, until

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs unix sockets")

GATEWAY = bytes((10, 0, 2, 2))
GATEWAY_MAC = ethernet.virtual_mac(GATEWAY)
EVIL, EVIL_ADDRESS = 2, bytes((10, 0, 2, 66))


class Scene:
    """A network that serves guests at a path, with a transfer of somebody's under way."""

    def __init__(self, net: Slirp, path: str, port: int) -> None:
        self.net, self.path, self.port = net, path, port
        net.serve(f"unix:{path}")
        self.bystander = Bystander(net, path, 1, port, "10.0.2.50")
        self.guests: list[Far] = [self.bystander]
        self.until(lambda: self.bystander.progress > 10_000, "the bystander's beginning")

    def guest(self, number: int = EVIL) -> Far:
        self.guests.append(Far(self.net, self.path, number))
        return self.guests[-1]

    def until(self, done: Callable[[], object], what: str, *others: Far) -> None:
        assert self.net.stats.drop_link_framing <= 1
        until(self.net, [self.bystander, *others], done, what)

    def settle(self) -> None:
        """Wait until the network knows of no guest but one."""
        self.until(
            lambda: self.net.stats.link_connections - self.net.stats.link_disconnects == 1, "one guest left"
        )


@pytest.fixture
def scene(net: Slirp, folder: Path) -> Iterator[Scene]:
    with echo_server() as port:
        made = Scene(net, f"{folder}/net.sock", port)
        try:
            yield made
            made.bystander.unharmed()
            newcomer = made.guest(3)  # who is served as ever
            newcomer.guest.configure("10.0.2.51", 24)
            ping = newcomer.guest.ping("10.0.2.2")
            until(net, [newcomer], lambda: ping.reply, "a newcomer's ping")
        finally:
            for guest in made.guests:
                guest.pull()
            net.close()  # ends the connections to the server, which waits for that


def who_has(source: bytes, claimed: bytes = EVIL_ADDRESS) -> bytes:
    """Ask for the gateway's address in the name of ``source``."""
    question = arp.build(arp.ArpPacket(arp.REQUEST, source, claimed, bytes(6), GATEWAY))
    return ethernet.BROADCAST + source + b"\x08\x06" + question


@pytest.mark.parametrize("length", [0, 3, 13, 69_633, 70_000, 2**32 - 1])
def test_a_length_that_lies(scene: Scene, length: int) -> None:
    evil = scene.guest()
    evil.write(length.to_bytes(4, "big") + b"?" * 100)
    scene.until(lambda: evil.ended, "the end of the liar's connection", evil)
    assert scene.net.stats.drop_link_framing == 1
    scene.settle()


@pytest.mark.parametrize("sent", [b"\0", b"\0\0\0\x40", b"\0\0\0\x40" + bytes(63)])
def test_an_end_in_the_middle_of_a_frame(scene: Scene, sent: bytes) -> None:
    evil = scene.guest()
    evil.write(sent)
    scene.until(lambda: scene.net.stats.link_connections == 2, "its connection", evil)
    evil.pull()
    scene.settle()
    assert scene.net.stats.drop_link_truncated == 1


def test_a_guest_that_does_not_read(scene: Scene) -> None:
    """The guest's buffers are full: outside data waits outside, and frames from neighbours are dropped."""
    evil = scene.guest()
    evil.guest.configure("10.0.2.66", 24)
    stream = evil.guest.connect("10.0.2.2", scene.port)
    scene.until(lambda: stream.state.name == "ESTABLISHED", "its connection", evil)
    stream.write(bytes(1 << 20))  # which comes back
    evil.stall()
    stats = scene.net.stats
    frame = evil.mac + scene.bystander.mac + b"\x88\xb5" + bytes(1400)
    sent = 0

    def send() -> int:
        nonlocal sent
        for _ in range(50):
            scene.bystander.send(frame)
        sent += 50 * len(frame)
        return stats.drop_link_queue_full

    scene.until(send, "a full queue", evil)
    assert sent < 20 << 20  # what is kept for it is bounded
    evil.pull()
    scene.settle()


def test_one_byte_at_a_time(scene: Scene) -> None:
    evil = scene.guest()
    question = who_has(evil.mac)
    for byte in len(question).to_bytes(4, "big") + question:
        evil.write(bytes((byte,)))
        scene.net.poll(0.001)
        scene.bystander.carry_on()
    scene.until(lambda: evil.guest.counters.frames_in, "the answer", evil)
    assert scene.net.stats.drop_link_framing == 0
    evil.pull()
    scene.settle()


@pytest.mark.parametrize("at_once", [True, False])
def test_a_hundred_that_connect_and_vanish(scene: Scene, at_once: bool) -> None:
    for _ in range(100):
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        end = 200
        while sock.connect_ex(scene.path) and end:  # the queue of those that wait is short
            scene.net.poll(0.001)
            end -= 1
        sock.close()
        if not at_once:
            scene.net.poll(0)
            scene.bystander.carry_on()
    stats = scene.net.stats
    scene.until(lambda: stats.link_connections == 101, "all of them")
    scene.settle()
    assert stats.link_disconnects == 100


def test_a_path_that_exists(scene: Scene, tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.write_text("something else")
    for path, says in ((scene.path, "address already in use"), (str(taken), "is not a socket")):
        for attempt in (
            lambda path=path: scene.net.serve(f"unix:{path}"),
            lambda path=path: StreamLink.listen(unix(path)),
            lambda path=path: DgramLink.open(unix(path), unix(path + "-peer")),
        ):
            with pytest.raises(LinkError, match=says):
                attempt()
    assert taken.read_text() == "something else"


def test_descriptors_that_are_none(scene: Scene) -> None:
    reading, writing = os.pipe()
    with open(__file__) as file, socket.socket() as idle, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        bad = [-1, 99_999, reading, file.fileno(), idle.fileno(), datagrams.fileno()]
        for fd in bad:
            with pytest.raises(LinkError, match="descriptor"):
                StreamLink.from_fd(fd)
            with pytest.raises(LinkError, match="descriptor"):
                DgramLink.from_fd(fd)
            if fd != idle.fileno():
                with pytest.raises(LinkError, match="descriptor"):
                    scene.net.serve(fd)
                with pytest.raises(LinkError, match="descriptor"):
                    StreamListener(fd, lambda link: None)
        for fd in (-1, 99_999, file.fileno()):
            with pytest.raises(ConfigError, match=r"is not a descriptor|cannot be watched"):
                scene.net.watch(fd, lambda events: None)
    os.close(reading)
    os.close(writing)


def test_the_mac_addresses_of_others(scene: Scene) -> None:
    """A neighbour's, and the gateway's: its frames go nowhere, and nobody's frames go to it."""
    evil = scene.guest()
    stats = scene.net.stats
    heard = evil.guest.counters
    for number in range(1, 51):
        evil.send(who_has(scene.bystander.mac, bytes((10, 0, 2, 50))))
        evil.send(ethernet.BROADCAST + GATEWAY_MAC + b"\x88\xb5" + bytes(46))
        scene.until(
            lambda number=number: (  # type: ignore[misc] # a lambda with a default
                stats.drop_switch_spoofed == stats.drop_ethernet_source == number
            ),
            "the drops",
            evil,
        )
    assert heard.frames_in <= 1  # the bystander's own question, if that was not before
    evil.pull()
    scene.settle()


def test_datagrams_that_are_no_frames(scene: Scene, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="slirpy-") as folder:
        near, far = f"{folder}/near", f"{folder}/far"
        link = scene.net.attach_link(DgramLink.open(unix(near), unix(far)))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as evil:
            evil.bind(far)
            for length in (0, 1, 13, 70_000):
                evil.sendto(bytes(length), near)
            stats = scene.net.stats
            scene.until(lambda: stats.drop_link_oversized == 1, "the long one")
            assert stats.drop_ethernet_short == 3
        link.close()
