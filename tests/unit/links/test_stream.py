"""Stream links: framing that lies, guests that come, stall and go, addresses that are in use."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from slirpy import Config
from slirpy.core.port import LinkPort
from slirpy.errors import LinkError
from slirpy.host.poller import SelectorPoller
from slirpy.host.sockets import SocketHost
from slirpy.interfaces import Buffer, Frame
from slirpy.links import Endpoint, StreamLink, StreamListener, inet, parse_endpoint, unix
from slirpy.paths import PATH_MAX
from slirpy.stack import Stack
from tests.support.framing import framed, take_frames
from tests.support.waiting import until

GUEST = bytes.fromhex("525400123456")


def ask(number: int) -> bytes:
    """Ask for 10.0.2.2, as a guest with a MAC and an IP address of its own."""
    sender = GUEST[:5] + bytes([number]), bytes([10, 0, 2, 15 + number])
    header = b"\xff" * 6 + sender[0] + bytes.fromhex("0806 0001 0800 06 04 0001")
    return header + b"".join(sender) + bytes(6) + bytes([10, 0, 2, 2])


ASK = ask(0)


class World:
    """A stack with real sockets, whose clock is the real one unless it is pushed on."""

    def __init__(self) -> None:
        self.poller = SelectorPoller()
        self.host = SocketHost(self.poller)
        self.stack = Stack(Config(), self.host, random=Random(1), now=time.monotonic_ns())
        self.ahead = 0
        self.listeners: list[StreamListener] = []
        self.guests: list[Guest] = []

    def now(self) -> int:
        return time.monotonic_ns() + self.ahead

    def attach(self, link: StreamLink) -> LinkPort:
        return self.stack.attach(link, self.poller)

    def step(self) -> None:
        self.poller.poll(0.001, before=lambda: self.stack.tick(self.now()))
        self.stack.flush(self.now())

    def until(self, condition: Callable[[], object]) -> None:
        until(condition, self.step)

    def close(self) -> None:
        self.stack.close()
        for port in list(self.stack.ports):
            self.stack.detach(port)
        for listener in self.listeners:
            listener.close()
        for guest in self.guests:
            guest.sock.close()
        self.host.close()
        self.poller.close()


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


class Guest:
    """The far end of a stream."""

    def __init__(self, world: World, sock: socket.socket) -> None:
        self.world = world
        self.sock = sock
        self.ask = ask(len(world.guests) % 200)
        world.guests.append(self)
        sock.setblocking(False)
        self.data = b""

    def send(self, data: bytes) -> None:
        view = memoryview(data)
        end = time.monotonic() + 10
        while view:
            try:
                view = view[self.sock.send(view) :]
            except BlockingIOError:
                self.world.step()
                assert time.monotonic() < end
            except (BrokenPipeError, ConnectionResetError):
                return  # the link has had enough

    def read(self) -> bool:
        """Read what is there; whether the connection has ended."""
        try:
            while True:
                data = self.sock.recv(1 << 20)
                if not data:
                    return True
                self.data += data
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def answered(self) -> bool:
        """Ask for the gateway's MAC address; whether the answer comes."""
        self.data = b""
        self.send(framed(self.ask))
        mac = self.ask[6:12]
        self.world.until(lambda: self.read() or self._answers(mac))
        return self._answers(mac)

    def _answers(self, mac: bytes) -> bool:
        """Report whether the gateway's answer to ``mac`` has arrived, perhaps among other guests' requests."""
        return any(
            frame[:6] == mac and frame[20:22] == b"\0\2" and frame[28:32] == bytes([10, 0, 2, 2])
            for frame in take_frames(bytearray(self.data))
        )


def pair(world: World) -> tuple[StreamLink, Guest, LinkPort]:
    ours, theirs = socket.socketpair()
    link = StreamLink(ours)
    return link, Guest(world, theirs), world.attach(link)


@pytest.fixture
def guest(world: World) -> Iterator[Guest]:
    _, guest, _ = pair(world)
    yield guest
    guest.sock.close()


# ------------------------------------------------------------------------------------------ framing


def test_a_guest_gets_an_answer(guest: Guest) -> None:
    assert guest.answered()
    assert guest.world.stack.stats.link_connections == 1


@pytest.mark.parametrize("length", [0, 3, 13, 69_633, 70_000, 2**31, 2**32 - 1])
def test_a_length_that_lies_closes(guest: Guest, length: int) -> None:
    stats = guest.world.stack.stats
    assert guest.answered()
    guest.send(framed(ASK) + struct.pack("!I", length) + b"x" * 100)
    guest.world.until(lambda: stats.link_disconnects)
    assert (stats.drop_link_framing, stats.drop_link_truncated, stats.frames_in) == (1, 0, 3 - 1)
    assert guest.read()


def test_the_lengths_at_the_bounds_pass(guest: Guest) -> None:
    stats = guest.world.stack.stats
    guest.send(framed(b"x" * 14, b"y" * 69_632))
    guest.world.until(lambda: stats.frames_in == 2)
    assert guest.answered()
    assert (stats.drop_link_framing, stats.link_disconnects, stats.bytes_in) == (0, 0, 14 + 69_632 + len(ASK))


def test_one_byte_at_a_time(guest: Guest) -> None:
    for byte in framed(ASK):
        guest.send(bytes([byte]))
        guest.world.step()
    guest.world.until(lambda: guest.read() or len(guest.data) >= 64)


def test_frames_that_lie_across_reads_stay_whole(world: World) -> None:
    """Lengths that end anywhere in the buffer, and that make it wrap many times."""
    random = Random(2)
    frames = [random.randbytes(random.choice((14, 60, 1514, 9014, 69_632))) for _ in range(120)]
    seen: list[bytes] = []
    held: list[memoryview] = []

    class Sink:
        now = 0
        stats = world.stack.stats
        call_at = world.stack.call_at

        def input(self, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> None:
            held.append(memoryview(frame))

        def writable(self) -> None:
            raise AssertionError

        def lost(self, frames: int) -> None:
            raise AssertionError

    ours, theirs = socket.socketpair()
    link = StreamLink(ours)
    link.start(Sink(), world.poller)
    theirs.setblocking(False)
    rest = memoryview(framed(*frames))
    while len(seen) < len(frames):
        try:
            rest = rest[theirs.send(rest[: random.randrange(1, 200_000)]) :] if rest else rest
        except BlockingIOError:
            pass
        world.poller.poll(1)
        seen += map(bytes, held)  # the flush
        held.clear()
    assert seen == frames
    link.close()
    theirs.close()


def test_garbage_of_one_guest_does_not_disturb_others(world: World) -> None:
    random = Random(3)
    _, other, _ = pair(world)
    for number in range(100):
        _, guest, port = pair(world)
        for _ in range(random.randrange(1, 5)):
            length = random.choice((0, 13, 14, 60, 1514, 69_632, 69_633, 2**32 - 1, random.getrandbits(32)))
            guest.send(struct.pack("!I", length) + random.randbytes(random.choice((0, 1, length % 70_000))))
            world.step()
            if guest.read():
                break
        guest.sock.close()
        world.until(lambda n=number: world.stack.stats.link_disconnects == n + 1)  # type: ignore[misc] # mypy infers no lambda with a default
        world.stack.detach(port)
    stats = world.stack.stats
    assert stats.drop_link_framing > 20
    assert stats.drop_link_truncated > 20
    assert other.answered()


@pytest.mark.parametrize("cut", [1, 4, 20])
def test_a_guest_that_vanishes_in_mid_frame(guest: Guest, cut: int) -> None:
    stats = guest.world.stack.stats
    guest.send(framed(ASK)[:cut])
    guest.sock.close()
    guest.world.until(lambda: stats.link_disconnects)
    assert (stats.drop_link_truncated, stats.drop_link_framing, stats.frames_in) == (1, 0, 0)


def test_a_guest_that_leaves_between_frames_has_cut_nothing(guest: Guest) -> None:
    assert guest.answered()
    guest.sock.close()
    guest.world.until(lambda: guest.world.stack.stats.link_disconnects)
    assert guest.world.stack.stats.drop_link_truncated == 0


# ------------------------------------------------------------------------------------ back-pressure


def test_a_stalled_guest_is_bounded_and_does_not_block_others(world: World) -> None:
    _, guest, port = pair(world)
    _, other, _ = pair(world)
    for _ in range(40):
        for _ in range(100):
            port.push(Frame((b"h" * 14, b"p" * 1500)), 1514)
        world.step()
    assert port.blocked
    assert world.stack.stats.drop_link_queue_full > 0
    assert other.answered()
    world.until(lambda: guest.read() or not port.blocked)
    world.until(lambda: guest.read() or (len(guest.data) % 1518 == 0 and not port.blocked))
    assert guest.data == framed(b"h" * 14 + b"p" * 1500) * (len(guest.data) // 1518)
    guest.sock.close()
    other.sock.close()


@pytest.mark.parametrize("lies", [False, True])
def test_a_stalled_guest_that_goes_lets_the_stack_go_on(world: World, lies: bool) -> None:
    _, guest, port = pair(world)
    while not port.blocked:
        for _ in range(100):
            port.push(Frame((b"p" * 1514,)), 1514)
        world.step()
    if lies:
        guest.send(b"\xff" * 4)
    else:
        guest.sock.close()
    world.until(lambda: not port.blocked)
    world.step()
    assert world.stack.stats.link_disconnects == 1
    assert world.stack.stats.drop_link_dead > 0
    assert world.stack.stats.drop_link_truncated <= 1


def test_frames_longer_than_the_buffer_of_the_socket(world: World) -> None:
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    port = world.attach(StreamLink(ours))
    guest = Guest(world, theirs)
    frames = [Random(length).randbytes(length) for length in (60_000, 14, 69_632, 1514)]
    for frame in frames:
        port.push(Frame((frame,)), len(frame))
    world.until(lambda: guest.read() or len(guest.data) >= sum(map(len, frames)) + 16)
    assert guest.data == framed(*frames)


def test_nothing_overtakes_the_rest_of_a_cut_frame(world: World) -> None:
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 17)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)  # where it is TCP, it would take them all
    link, guest = StreamLink(ours), Guest(world, theirs)
    world.attach(link)
    frames = [Random(number).randbytes(40_000) for number in range(40)]
    taken = link.send([Frame((frame,)) for frame in frames])
    assert 0 < taken < 40
    guest.read()  # now there is room, which the link has not noticed yet
    assert link.send([Frame((b"overtaker",))]) == 0
    world.until(lambda: guest.read() or len(guest.data) >= taken * 40_004)
    assert guest.data == framed(*frames[:taken])


@pytest.mark.needs("unix sockets", detail="TCP does not tell the other side")
def test_a_guest_that_will_not_read_any_more(guest: Guest) -> None:
    """The guest has closed one direction, and a network cannot work in the other alone."""
    assert guest.answered()
    guest.sock.shutdown(socket.SHUT_RD)
    guest.world.stack.ports[0].push(Frame((b"x" * 60,)), 60)
    guest.world.until(lambda: guest.world.stack.stats.link_disconnects)
    assert guest.world.stack.stats.drop_link_dead == 1


def test_frames_of_very_many_parts(guest: Guest) -> None:
    port = guest.world.stack.ports[0]
    port.push(Frame([b"ab"] * 3000), 6000)
    port.push(Frame([b"cd"] * 800), 1600)
    port.push(Frame([b"ef"] * 800), 1600)
    guest.world.until(lambda: guest.read() or len(guest.data) >= 9212)
    assert guest.data == framed(b"ab" * 3000, b"cd" * 800, b"ef" * 800)


def test_a_frame_that_is_too_long_is_lost_alone(guest: Guest) -> None:
    port = guest.world.stack.ports[0]
    for length in (100, 69_633, 200):
        port.push(Frame((b"x" * length,)), length)
    guest.world.until(lambda: guest.read() or len(guest.data) >= 308)
    assert guest.data == framed(b"x" * 100, b"x" * 200)
    assert guest.world.stack.stats.drop_link_dead == 1


def test_the_rest_of_a_partly_sent_frame_is_copied() -> None:
    ours, theirs = socket.socketpair()
    world = World()
    link = StreamLink(ours)
    port = world.attach(link)
    part = bytearray(b"A" * 60_000)
    total = 0
    while not port.blocked:
        port.push(Frame((part,)), len(part))
        total += 1
        port.flush()
    waiting = len(port.out)
    part[:] = b"B" * 60_000
    guest = Guest(world, theirs)
    world.until(lambda: guest.read() or len(guest.data) == total * 60_004)
    assert guest.data.count(b"B") == waiting * 60_000
    theirs.close()
    world.close()


# ------------------------------------------------------------------------------- listening, one guest


@pytest.fixture(params=["tcp", pytest.param("unix", marks=pytest.mark.needs("unix sockets"))])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Endpoint:
    return inet("127.0.0.1", 0) if request.param == "tcp" else unix(str(tmp_path / "s"))


def dial(world: World, link: StreamLink | StreamListener) -> Guest:
    place = link.address
    assert place is not None
    sock = socket.socket(place.family)
    sock.settimeout(10)
    sock.connect(place.address)
    return Guest(world, sock)


def test_guests_one_after_the_other(world: World, place: Endpoint) -> None:
    link = StreamLink.listen(place)
    states: list[bool] = []
    link.on_state = states.append
    world.attach(link)
    first, second = dial(world, link), dial(world, link)
    assert first.answered()
    assert link.connected
    for _ in range(5):
        world.step()
    assert states == [True]  # the second waits
    first.sock.close()
    assert second.answered()
    assert states == [True, False, True]
    second.sock.close()
    world.until(lambda: not link.connected)


def test_frames_without_a_connection_are_dropped(world: World, place: Endpoint) -> None:
    port = world.attach(StreamLink.listen(place))
    port.push(Frame((b"x" * 60,)), 60)
    world.step()
    assert world.stack.stats.drop_link_dead == 1


@pytest.mark.needs("linux", detail="counts descriptors in /proc")
def test_connecting_and_vanishing_leaves_nothing(world: World, place: Endpoint) -> None:
    link = StreamLink.listen(place)
    world.attach(link)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(100):
        guest = dial(world, link)
        if number % 3:
            guest.send(framed(ASK)[: number % 9])
        guest.sock.close()
        if number % 10 == 9:
            world.until(lambda n=number: world.stack.stats.link_disconnects == n + 1)  # type: ignore[misc] # mypy infers no lambda with a default
    assert len(os.listdir("/proc/self/fd")) == before
    last = dial(world, link)
    assert last.answered()
    last.sock.close()


# ----------------------------------------------------------------------------------------- connecting


def test_reconnecting(world: World, place: Endpoint) -> None:
    listener = place.bind(socket.SOCK_STREAM)
    place = Endpoint(place.family, listener.getsockname())
    link = StreamLink.connect(place, reconnect=5)
    states: list[bool] = []
    link.on_state = states.append
    world.attach(link)
    listener.settimeout(10)
    first = Guest(world, listener.accept()[0])
    assert first.answered()
    first.sock.close()
    world.until(lambda: not link.connected)
    for _ in range(5):
        world.step()
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.accept()
    world.ahead += 5_000_000_000
    world.step()
    listener.settimeout(10)
    second = Guest(world, listener.accept()[0])
    assert second.answered()
    assert states == [True, False, True]
    # Now nobody listens for a while.
    listener.close()
    if place.path is not None:
        os.unlink(place.path)
    second.sock.close()
    world.until(lambda: not link.connected)
    for failures in (1, 2):
        world.ahead += 5_000_000_000
        world.until(lambda n=failures: world.stack.stats.link_connect_failures == n)  # type: ignore[misc] # mypy infers no lambda with a default
    listener = place.bind(socket.SOCK_STREAM)
    listener.settimeout(10)
    world.ahead += 5_000_000_000
    world.step()
    third = Guest(world, listener.accept()[0])
    assert third.answered()
    third.sock.close()
    listener.close()


@pytest.mark.needs("unix sockets")
def test_connecting_waits_for_a_later_listener(world: World, tmp_path: Path) -> None:
    place = unix(str(tmp_path / "later"))
    link = StreamLink.connect(place, reconnect=0.01)
    world.attach(link)
    world.until(lambda: world.stack.stats.link_connect_failures >= 2)
    listener = place.bind(socket.SOCK_STREAM)
    listener.settimeout(10)
    world.until(lambda: link.connected)
    guest = Guest(world, listener.accept()[0])
    assert guest.answered()
    guest.sock.close()
    listener.close()


@pytest.mark.needs("unix sockets")
def test_a_single_attempt_that_fails_at_once_is_an_error(tmp_path: Path) -> None:
    place = unix(str(tmp_path / "nobody"))
    with pytest.raises(LinkError, match=r"cannot connect to unix:.*no such file.*; start the listener"):
        StreamLink.connect(place)


def test_a_single_attempt_that_fails_later_is_counted(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    link = StreamLink.connect(inet("127.0.0.1", port))
    states: list[bool] = []
    link.on_state = states.append
    world.attach(link)
    world.until(lambda: world.stack.stats.link_connect_failures)
    assert states == [False]
    assert not link.connected


@pytest.mark.needs("unix sockets")
def test_a_listener_that_has_no_room_is_an_attempt_that_failed(tmp_path: Path) -> None:
    place = unix(str(tmp_path / "s"))
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(tmp_path / "s"))
        listener.listen(0)
        first.connect(str(tmp_path / "s"))
        with pytest.raises(LinkError, match="temporarily unavailable"):
            StreamLink.connect(place)


@pytest.mark.needs("unix sockets")
def test_closing_a_link_that_waits_to_try_again(world: World, tmp_path: Path) -> None:
    link = StreamLink.connect(unix(str(tmp_path / "nobody")), reconnect=5)
    port = world.attach(link)
    world.stack.detach(port)
    world.ahead += 10_000_000_000
    world.step()
    assert world.stack.stats.link_connect_failures == 0


def test_reconnect_is_not_negative() -> None:
    with pytest.raises(LinkError, match=r"reconnect -1(\.0)? is negative"):
        StreamLink.connect(inet("127.0.0.1", 1), reconnect=-1)


# ------------------------------------------------------------------------------------------ many guests


def listen_for_many(world: World, place: Endpoint | int, **more: int) -> tuple[StreamListener, list[LinkPort]]:
    ports: list[LinkPort] = []

    def accept(link: StreamLink) -> None:
        port = world.attach(link)
        ports.append(port)

        def state(there: bool) -> None:
            if not there:
                world.stack.detach(port)
                ports.remove(port)

        link.on_state = state

    listener = StreamListener(place, accept, **more)
    listener.start(world.poller, world.stack.stats)
    world.listeners.append(listener)
    return listener, ports


def test_many_guests_at_once(world: World, place: Endpoint) -> None:
    listener, ports = listen_for_many(world, place)
    guests = [dial(world, listener) for _ in range(10)]
    assert all(guest.answered() for guest in guests)
    assert len(ports) == len(world.stack.ports) == 10
    guests[3].send(b"\xff" * 8)
    world.until(lambda: len(ports) == 9)
    assert all(guest.answered() for guest in guests if guest is not guests[3])
    for guest in guests:
        guest.sock.close()
    world.until(lambda: not ports)
    assert world.stack.ports == []


@pytest.mark.needs("linux", detail="counts descriptors in /proc")
def test_a_hundred_that_vanish(world: World, place: Endpoint) -> None:
    listener, ports = listen_for_many(world, place)
    stays = dial(world, listener)
    assert stays.answered()
    before = len(os.listdir("/proc/self/fd"))
    for start in range(10):
        crowd = [dial(world, listener) for _ in range(10)]
        for number, guest in enumerate(crowd):
            guest.send(framed(ASK)[: start * number % 47])
            guest.sock.close()
        world.until(lambda n=10 * start + 10: world.stack.stats.link_disconnects == n)  # type: ignore[misc] # mypy infers no lambda with a default
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(world.stack.ports) == len(ports) == 1
    assert stays.answered()
    stays.sock.close()


def test_more_guests_than_the_limit_wait(world: World, place: Endpoint) -> None:
    listener, ports = listen_for_many(world, place, limit=2)
    guests = [dial(world, listener) for _ in range(3)]
    world.until(lambda: len(ports) == 2)
    for _ in range(5):
        world.step()
    assert len(ports) == 2
    guests[0].sock.close()
    assert guests[2].answered()
    for guest in guests[1:]:
        guest.sock.close()


@pytest.mark.needs("linux")
def test_no_descriptor_left_for_a_guest(world: World, place: Endpoint) -> None:
    import resource

    listener, ports = listen_for_many(world, place)
    refused = dial(world, listener)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), hard))
    filler = []
    try:
        while True:
            filler.append(os.dup(0))
    except OSError:
        pass  # now there is none left
    try:
        world.until(lambda: world.stack.stats.link_connect_failures)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in filler:
            os.close(fd)
    assert refused.read()
    assert ports == []
    guest = dial(world, listener)
    assert guest.answered()
    guest.sock.close()
    refused.sock.close()


# --------------------------------------------------------------------------------- paths and descriptors


@pytest.mark.needs("unix sockets")
def test_a_path_is_removed_at_close(tmp_path: Path) -> None:
    path = tmp_path / "s"
    link = StreamLink.listen(unix(str(path)))
    assert path.is_socket()
    link.close()
    assert not path.exists()


@pytest.mark.needs("unix sockets")
def test_an_unused_socket_path_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
        old.listen()
    assert path.is_socket()
    StreamLink.listen(unix(str(path))).close()
    assert not path.exists()


@pytest.mark.needs("unix sockets")
def test_a_path_that_is_in_use_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "s"
    first = StreamLink.listen(unix(str(path)))
    with pytest.raises(LinkError, match=r"cannot listen on unix:.*in use; end the program that uses it"):
        StreamLink.listen(unix(str(path)))
    assert path.is_socket()
    first.close()


@pytest.mark.needs("unix sockets")
def test_a_path_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(LinkError, match="it exists and is not a socket"):
        StreamLink.listen(unix(str(path)))
    assert path.read_text() == "precious"


@pytest.mark.needs("unix sockets")
def test_a_path_that_another_took_over_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    link = StreamLink.listen(unix(str(path)))
    path.unlink()
    other = StreamLink.listen(unix(str(path)))
    link.close()
    assert path.is_socket()
    other.close()


def test_a_port_that_is_in_use_is_an_error() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(LinkError, match=r"cannot listen on 127\.0\.0\.1:\d+: address already in use; end"),
    ):
        StreamLink.listen(inet("127.0.0.1", server.getsockname()[1]))


@pytest.mark.needs("unix sockets")
def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="the directory does not exist"):
        StreamLink.listen(unix(str(tmp_path / "no" / "s")))


@pytest.mark.needs("posix", detail="sockets are no file descriptors elsewhere")
def test_descriptors_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match=r"descriptor 9999 cannot be used: bad file descriptor; pass a stream"):
        StreamLink.from_fd(9999)
    with pytest.raises(LinkError, match=r"descriptor -1 cannot be used"):
        StreamLink.from_fd(-1)
    with (tmp_path / "f").open("w") as file, pytest.raises(LinkError, match="socket operation on non-socket"):
        StreamLink.from_fd(file.fileno())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        with pytest.raises(LinkError, match="is not a stream socket"):
            StreamLink.from_fd(sock.fileno())
        sock.getsockname()  # it is still open
    with socket.socket() as sock:
        with pytest.raises(LinkError, match="pass a connected or listening socket"):
            StreamLink.from_fd(sock.fileno())
        sock.getsockname()


def test_a_listening_descriptor(world: World) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    link = StreamLink.from_fd(server.detach())
    world.attach(link)
    guest = dial(world, link)
    assert guest.answered()
    guest.sock.close()


def test_many_guests_by_a_listening_descriptor(world: World) -> None:
    listener, _ = listen_for_many(world, socket.create_server(("127.0.0.1", 0)).detach())
    guests = [dial(world, listener) for _ in range(2)]
    assert all(guest.answered() for guest in guests)
    for guest in guests:
        guest.sock.close()


@pytest.mark.parametrize(
    ("text", "shown", "qemu"),
    [
        pytest.param(
            *("unix:/tmp/a,b", "unix:/tmp/a,b", "addr.type=unix,addr.path=/tmp/a,,b"),
            marks=pytest.mark.needs("unix sockets"),
        ),
        ("tcp:127.0.0.1:80", "127.0.0.1:80", "addr.type=inet,addr.host=127.0.0.1,addr.port=80"),
        (":80", "127.0.0.1:80", "addr.type=inet,addr.host=127.0.0.1,addr.port=80"),
        ("[::1]:80", "[::1]:80", "addr.type=inet,addr.host=::1,addr.port=80"),
    ],
)
def test_addresses(text: str, shown: str, qemu: str) -> None:
    place = parse_endpoint(text)
    assert str(place) == shown
    assert place.qemu() == qemu


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unix:",
        "unix:" + "x" * (PATH_MAX + 1),
        "tcp:127.0.0.1",
        "1.2.3.4:x",
        "::1:80",
        "127.0.0.1:65536",
        "300.1.1.1.1:5",
    ],
)
def test_invalid_addresses_are_refused(text: str) -> None:
    with pytest.raises(LinkError):
        parse_endpoint(text)
