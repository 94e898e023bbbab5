"""Datagram links, and the table of carriers by QEMU's words."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slirpy.errors import ConfigError, LinkError
from slirpy.host.poller import SelectorPoller
from slirpy.interfaces import Buffer, Frame, Link, Timer
from slirpy.links import DgramLink, StreamLink, inet, multicast, parse_netdev, unix
from slirpy.links.table import CARRIERS
from slirpy.stats import Stats
from tests.support.platforms import require
from tests.support.waiting import until

GROUP = "239.255.77.2"


class Sink:
    """Takes note. A frame is copied at the end of the step, until when the link must leave it alone."""

    now = 0

    def __init__(self) -> None:
        self.stats = Stats()
        self.poller = SelectorPoller()
        self.frames: list[bytes] = []
        self.dropped = 0
        self.rooms = 0
        self._held: list[Buffer] = []

    def input(self, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> None:
        self._held.append(frame)

    def writable(self) -> None:
        self.rooms += 1

    def lost(self, frames: int) -> None:
        self.dropped += frames

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        raise AssertionError("a datagram link needs no time")

    def start(self, link: Link) -> None:
        link.start(self, self.poller)

    def step(self, seconds: float = 0.0) -> None:
        self.poller.poll(seconds)
        self.frames += map(bytes, self._held)
        self._held.clear()

    def until(self, condition: Callable[[], object]) -> None:
        until(condition, lambda: self.step(0.002))


@pytest.fixture
def sink() -> Iterator[Sink]:
    sink = Sink()
    yield sink
    sink.poller.close()


@pytest.fixture
def far() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
        far.bind(("127.0.0.1", 0))
        far.settimeout(10)
        yield far


def udp_link(far: socket.socket) -> tuple[DgramLink, tuple[str, int]]:
    link = DgramLink.open(inet("127.0.0.1", 0), inet("127.0.0.1", far.getsockname()[1]))
    assert link.address is not None
    return link, link.address.address


def frame(number: int, length: int = 60) -> bytes:
    return bytes([number]) * length


# --------------------------------------------------------------------------------------------- UDP


def test_a_batch_is_one_poll_and_nothing_is_written_over(sink: Sink, far: socket.socket) -> None:
    link, address = udp_link(far)
    sink.start(link)
    for number in range(50):
        far.sendto(frame(number, 1000 + number), address)
    sink.step()
    assert sink.frames == [frame(number, 1000 + number) for number in range(50)]
    link.close()


def test_datagrams_of_strangers_are_ignored(sink: Sink, far: socket.socket) -> None:
    link, address = udp_link(far)
    sink.start(link)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(frame(1), address)
        far.sendto(frame(2), address)
        sink.until(lambda: sink.frames)
    assert sink.frames == [frame(2)]
    link.close()


def test_a_refusal_is_counted_and_not_fatal(sink: Sink) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        port = gone.getsockname()[1]
    link = DgramLink.open(inet("127.0.0.1", 0), inet("127.0.0.1", port))
    sink.start(link)
    for _ in range(4):
        assert link.send([Frame((frame(1),)), Frame((frame(2),))]) == 2
        sink.step()
    assert sink.stats.drop_link_refused >= 3
    assert sink.dropped == 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
        back.bind(("127.0.0.1", port))
        back.settimeout(10)
        sink.step()
        link.send([Frame((frame(3),))])
        assert back.recv(100) == frame(3)
    link.close()


def test_a_frame_that_no_datagram_holds_is_lost_alone(sink: Sink, far: socket.socket) -> None:
    link, _ = udp_link(far)
    sink.start(link)
    frames = [Frame((frame(1),)), Frame((frame(2, 65_508),)), Frame((frame(3)[:14], frame(3)[14:]))]
    assert link.send(frames) == 3
    assert [far.recv(70_000), far.recv(70_000)] == [frame(1), frame(3)]
    assert sink.dropped == 1
    link.close()


def test_an_address_in_use_is_an_error(far: socket.socket) -> None:
    with pytest.raises(LinkError, match=r"cannot listen on 127\.0\.0\.1:.*in use"):
        DgramLink.open(inet(*far.getsockname()), inet("127.0.0.1", 9))


@pytest.mark.needs("unix sockets")
def test_two_kinds_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="are of different kinds"):
        DgramLink.open(unix(str(tmp_path / "s")), inet("127.0.0.1", 9))


# -------------------------------------------------------------------------------------------- unix


@pytest.mark.needs("unix sockets")
def test_unix_waits_for_room_and_loses_nothing(sink: Sink, tmp_path: Path) -> None:
    far = unix(str(tmp_path / "far")).bind(socket.SOCK_DGRAM)
    link = DgramLink.open(unix(str(tmp_path / "near")), unix(str(tmp_path / "far")))
    sink.start(link)
    count = 5000  # beyond the most that the system may be set up to buffer
    frames = [Frame((frame(number & 255, 1514),)) for number in range(count)]
    taken = link.send(frames)
    assert 0 < taken < count
    assert link.send(frames[taken:]) == 0
    for _ in range(3):
        sink.step(0.005)
    assert sink.rooms == 0
    got: list[bytes] = []
    while len(got) < count:
        try:
            got.append(far.recv(2000))
        except BlockingIOError:
            rooms = sink.rooms
            sink.until(lambda n=rooms: sink.rooms > n)  # type: ignore[misc] # mypy infers no lambda with a default
            taken += link.send(frames[taken:])
    assert got == [frame(number & 255, 1514) for number in range(count)]
    link.close()
    far.close()
    assert not (tmp_path / "near").exists()


@pytest.mark.needs("unix sockets")
def test_unix_finds_a_peer_that_comes_late_and_comes_again(sink: Sink, tmp_path: Path) -> None:
    path = str(tmp_path / "far")
    link = DgramLink.open(unix(str(tmp_path / "near")), unix(path))
    sink.start(link)
    assert link.send([Frame((frame(1),))] * 3) == 3
    assert sink.stats.drop_link_refused == 3
    for number in (2, 3):
        far = unix(path).bind(socket.SOCK_DGRAM)  # what the one before left there is replaced
        far.settimeout(10)
        link.send([Frame((frame(number),))] * 2)
        assert far.recv(100) == frame(number)
        far.sendto(frame(number + 10), str(tmp_path / "near"))
        sink.until(lambda n=number: frame(n + 10) in sink.frames)  # type: ignore[misc] # mypy infers no lambda with a default
        far.close()
        sink.step()
    link.close()


@pytest.mark.needs("unix sockets")
def test_a_path_that_is_in_use_is_an_error(tmp_path: Path) -> None:
    near = unix(str(tmp_path / "near"))
    with near.bind(socket.SOCK_DGRAM), pytest.raises(LinkError, match="in use"):
        DgramLink.open(near, unix(str(tmp_path / "far")))
    DgramLink.open(near, unix(str(tmp_path / "far"))).close()
    with near.bind(socket.SOCK_STREAM), pytest.raises(LinkError, match="in use"):
        DgramLink.open(near, unix(str(tmp_path / "far")))


@pytest.mark.needs("unix sockets")
def test_an_oversized_datagram_is_dropped(sink: Sink) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    link = DgramLink.from_fd(ours.detach())
    sink.start(link)
    theirs.send(bytes(69_633))
    theirs.send(frame(1, 69_632))
    sink.step()
    assert sink.frames == [frame(1, 69_632)]
    assert sink.stats.drop_link_oversized == 1
    link.close()
    theirs.close()


@pytest.mark.needs("unix sockets")
def test_more_than_one_poll_has_room_for(sink: Sink) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    theirs.setblocking(False)
    link = DgramLink.from_fd(ours.detach())
    sink.start(link)
    for number in range(5):
        theirs.send(frame(number, 69_000))
    sink.step()
    assert len(sink.frames) < 5
    sink.until(lambda: len(sink.frames) == 5)
    assert sink.frames == [frame(number, 69_000) for number in range(5)]
    link.close()
    theirs.close()


@pytest.mark.needs("unix sockets")
def test_descriptors_that_are_none() -> None:
    with pytest.raises(LinkError, match="descriptor 9999 cannot be used: bad file descriptor; pass a datagram"):
        DgramLink.from_fd(9999)
    with socket.socket() as sock, pytest.raises(LinkError, match="is not a datagram socket"):
        DgramLink.from_fd(sock.fileno())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        with pytest.raises(LinkError, match="pass a connected datagram socket"):
            DgramLink.from_fd(sock.fileno())
        sock.getsockname()  # it is still open


# --------------------------------------------------------------------------------------- multicast


@pytest.mark.needs("posix", detail="a socket at the address of a group")
def test_a_multicast_group_is_a_shared_cable(far: socket.socket) -> None:
    """On the loopback interface. Each hears the others, and nobody himself."""
    group = inet(GROUP, far.getsockname()[1], socket.SOCK_DGRAM)
    sinks = [Sink() for _ in range(3)]
    links = [multicast(group, "127.0.0.1") for _ in sinks]
    for sink, link in zip(sinks, links, strict=True):
        sink.start(link)
    for number, link in enumerate(links):
        assert link.send([Frame((frame(number),))]) == 1
    for number, sink in enumerate(sinks):
        sink.until(lambda s=sink: len(s.frames) == 2)  # type: ignore[misc] # mypy infers no lambda with a default
        sink.step()
        assert sorted(sink.frames) == [frame(other) for other in range(3) if other != number]
    for sink, link in zip(sinks, links, strict=True):
        link.close()
        link.close()
        sink.poller.close()


def test_a_unicast_address_is_no_group() -> None:
    with pytest.raises(LinkError, match=r"127\.0\.0\.1:5 is not an IPv4 multicast group"):
        multicast(inet("127.0.0.1", 5))


def test_an_interface_that_is_not_here(far: socket.socket) -> None:
    with pytest.raises(LinkError, match="name an interface of this host"):
        multicast(inet(GROUP, far.getsockname()[1]), "192.0.2.77")


# ------------------------------------------------------------------------------------------- the table


@pytest.mark.parametrize(
    "text",
    [
        "stream,id=a,server=on,addr.type=unix,addr.path={tmp}/s",
        "stream,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port=0",
        "stream,addr.type=unix,addr.path={tmp}/s,reconnect=1",
        "stream,server=off,addr.type=unix,addr.path={tmp}/a,,b,reconnect-ms=500",
        "dgram,local.type=unix,local.path={tmp}/a,remote.type=unix,remote.path={tmp}/b",
        "dgram,local.type=inet,local.host=127.0.0.1,local.port=0,remote.type=inet,remote.host=127.0.0.1,remote.port=9",
        "dgram,remote.type=inet,remote.host=239.255.77.3,remote.port=45454,local.type=inet,local.host=127.0.0.1",
        "socket,listen=127.0.0.1:0",
        "socket,id=x,udp=127.0.0.1:9,localaddr=127.0.0.1:0",
        "socket,mcast=239.255.77.3:45454,localaddr=127.0.0.1",
    ],
)
def test_option_strings_of_qemu_open_links(text: str, tmp_path: Path) -> None:
    if "unix" in text:
        require("unix sockets")
    text = text.format(tmp=tmp_path)
    options = parse_netdev(text)
    assert (options.carrier, options.text) == (text.split(",", maxsplit=1)[0], text)
    assert list(tmp_path.iterdir()) == []  # nothing is opened yet
    link = options.open()
    assert link.features.mtu is None
    link.close()
    assert list(tmp_path.iterdir()) == []


def test_a_connection_by_the_table(sink: Sink) -> None:
    server = parse_netdev("socket,listen=127.0.0.1:0").open()
    assert isinstance(server, StreamLink)
    assert server.address is not None
    client = parse_netdev(f"socket,connect={server.address}").open()
    assert isinstance(client, StreamLink)
    other = Sink()
    sink.start(server)
    other.start(client)

    def both() -> bool:
        other.step()
        return server.connected and client.connected

    sink.until(both)
    client.send([Frame((frame(1),))])
    sink.until(lambda: sink.frames == [frame(1)])
    client.close()
    server.close()
    other.poller.close()


@pytest.mark.needs("unix sockets")
@pytest.mark.parametrize(
    "text", ["stream,addr.type=fd,addr.str={fd}", "socket,fd={fd}", "dgram,local.type=fd,local.str={fd}"]
)
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_descriptors_by_the_table(text: str, kind: int) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    fitting = "socket" in text or (kind == socket.SOCK_STREAM) == ("stream" in text)
    options = parse_netdev(text.format(fd=ours.fileno()))
    with theirs:
        if fitting:
            fd = ours.detach()
            link = options.open()
            assert isinstance(link, StreamLink if kind == socket.SOCK_STREAM else DgramLink)
            link.close()
            with pytest.raises(OSError, match="Bad file"):
                os.fstat(fd)
        else:
            with pytest.raises(LinkError, match="is not a"):
                options.open()
            ours.close()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", 'unknown carrier ""; known are stream, dgram, socket, tap'),
        ("sream,addr.type=unix", 'unknown carrier "sream"; did you mean stream?'),
        ("stream,adr.type=unix", 'unknown option "adr.type=unix"; did you mean addr.type?'),
        ("stream,colour=red", 'unknown option "colour=red"; known here are server,'),
        ("stream", "addr.type=... is missing"),
        ("stream,server", '"server" has no value; write KEY=VALUE'),
        ("stream,addr.type=tcp", "addr.type=tcp is not one of inet, unix, fd"),
        ("stream,addr.type=unix", "addr.path=... is missing"),
        ("stream,addr.type=inet,addr.port=http", "addr.port=http is not a number from 0 to 65535"),
        (
            "stream,addr.type=inet,addr.port=1,addr.path=/x",
            "addr.path=/x cannot be combined with the other options",
        ),
        ("stream,addr.type=inet,addr.port=1,addr.port=2", "addr.port is given twice"),
        ("stream,server=maybe,addr.type=unix,addr.path=/x", "server=maybe is not one of on, off"),
        (
            "stream,server=on,reconnect=1,addr.type=unix,addr.path=/x",
            "reconnect is only for links that connect",
        ),
        (
            "stream,reconnect=1,reconnect-ms=5,addr.type=unix,addr.path=/x",
            "reconnect and reconnect-ms are alternatives",
        ),
        ("dgram,local.type=unix,local.path=/x", "remote.type=... is missing"),
        ("dgram,remote.type=fd,remote.str=5", "remote cannot be a descriptor"),
        ("socket", "give one of listen=, connect=, mcast=, udp=, fd="),
        ("socket,listen=:1,connect=:2", "give one of listen="),
        ("socket,udp=127.0.0.1:1", "udp needs localaddr=HOST:PORT"),
        ("socket,listen=:1,localaddr=:2", "localaddr=:2 cannot be combined with"),
        ("socket,fd=x", "fd=x is not a descriptor number"),
        ("tap", "ifname=... is missing"),
        ("tap,ifname=tap0,script=/etc/up", "script is not supported"),
    ],
)
def test_mistakes(text: str, says: str) -> None:
    if "unix" in text:
        require("unix sockets")
    with pytest.raises(ConfigError) as caught:
        parse_netdev(text)
    assert says in str(caught.value)
    assert str(caught.value).startswith(f'netdev "{text}": ')


def test_an_address_that_cannot_be() -> None:
    with pytest.raises(LinkError, match="is not an address"):
        parse_netdev("socket,listen=nowhere")


def test_the_names_are_qemus() -> None:
    assert set(CARRIERS) == {"stream", "dgram", "socket", "tap"}
