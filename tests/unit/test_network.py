"""Slirp as callers use it: buffers, re-entrancy, waiting, closing, callers' mistakes. Real sockets, on loopback."""

from __future__ import annotations

import gc
import socket
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from slirpy import ConfigError, LinkFeatures, Slirp, StateError
from slirpy.errors import ForwardError, SlirpyError
from slirpy.interfaces import Frame
from tests.support.effort import record_waits
from tests.support.harness import (
    ACK,
    GATEWAY,
    GUEST,
    GUEST_MAC,
    MS,
    PSH,
    RST,
    SYN,
    Net,
    Peer,
    arp,
    check,
    config,
    echo,
    eth,
    icmp_echo,
    ip,
    ipv4,
    options,
    udp,
)

OTHER = ip("10.0.2.16")
OTHER_MAC = bytes.fromhex("525400000016")


class Guest:
    """Frames that came, and ways to wait for some."""

    def __init__(self, net: Slirp, **more: Any) -> None:
        self.net = net
        self.frames: list[bytes] = []
        self.nic = net.attach(self.frames.append, **more)

    def wait(self, wanted: Callable[[Any], bool] = lambda frame: True, seconds: float = 20.0) -> Any:
        """The first frame that is wanted; those before it are gone."""
        end = time.monotonic() + seconds
        while True:
            while self.frames:
                frame = check(self.frames.pop(0))
                if wanted(frame):
                    return frame
            assert time.monotonic() < end, "nothing came"
            self.net.poll(0.05)


@pytest.fixture
def guest(net: Slirp) -> Guest:
    return Guest(net)


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(5)
        yield listening


class FrameMaker(Peer):
    """A :class:`Peer` that only makes frames."""

    def __init__(self, port: int, **more: Any) -> None:
        super().__init__(Net(), port, address=GATEWAY, **more)


def is_tcp(frame: Any) -> bool:
    return bool(frame.type == 0x800 and frame.data.p == 6)


def connect(guest: Guest, server: socket.socket, **more: Any) -> tuple[FrameMaker, socket.socket]:
    """A connection of the guest's to the server, established."""
    peer = FrameMaker(server.getsockname()[1], **more)
    guest.nic.send(peer.frame(SYN, opts=options()))
    peer.seq += 1
    answer = guest.wait(is_tcp).data.data
    assert answer.flags == SYN | ACK
    peer.ack = answer.seq + 1
    guest.nic.send(peer.frame(ACK))
    accepted, _ = server.accept()
    accepted.settimeout(5)
    return peer, accepted


# ------------------------------------------------------------------------------------------------------- buffers


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda b: memoryview(b).cast("B", (1, len(b)))])
def test_any_buffer(guest: Guest, kind: Callable[[bytes], Any]) -> None:
    guest.nic.send(kind(echo(b"payload")))
    assert bytes(guest.wait().data.data.data.data) == b"payload"


def test_wide_memoryview(guest: Guest) -> None:
    frame = echo(b"payload!")
    guest.nic.send(memoryview(frame).cast("H") if len(frame) % 2 == 0 else memoryview(frame))
    assert bytes(guest.wait().data.data.data.data) == b"payload!"


def test_not_contiguous_is_the_caller_s_mistake(guest: Guest) -> None:
    with pytest.raises(ConfigError, match=r"^frame is bytes"):
        guest.nic.send(memoryview(bytes(200))[::2])


def test_buffer_may_be_used_again_at_once(guest: Guest, server: socket.socket) -> None:
    """Also when the host's socket takes nothing: what is kept was copied."""
    peer, accepted = connect(guest, server)
    with closing(accepted):
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sent = bytearray()
        buffer = bytearray(1514)
        window = 65535
        for number in range(700):
            data = number.to_bytes(4, "big") * 350
            frame = peer.frame(ACK | PSH, data)
            buffer[: len(frame)] = frame
            guest.nic.send(memoryview(buffer)[: len(frame)])
            buffer[:] = b"\xee" * len(buffer)
            peer.seq += len(data)
            sent += data
            for raw in guest.frames:
                tcp = check(raw).data.data
                assert not tcp.flags & RST
                window = (tcp.ack + (tcp.win << 5)) - peer.seq
            guest.frames.clear()
            if window < 1400:
                break
        (flow,) = guest.net.flows()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        received = bytearray()
        while len(received) < len(sent):
            guest.net.poll(0)
            received += accepted.recv(1 << 20)
        assert received == sent
        assert flow.bytes_in == len(sent)


def test_frames_for_the_guest_are_bytes(net: Slirp) -> None:
    seen: list[object] = []
    net.attach(seen.append).send(echo())
    assert [type(frame) for frame in seen] == [bytes]


@pytest.mark.parametrize("size", [0, 1, 13, 14, 60])
def test_rubbish_is_counted(guest: Guest, size: int) -> None:
    guest.nic.send(bytes(size))
    assert guest.frames == []
    assert guest.net.stats.dropped() == 1


# ---------------------------------------------------------------------------------------------------- re-entrancy


def test_send_from_within_on_frame(net: Slirp) -> None:
    seen: list[bytes] = []
    depth = 0

    def on_frame(frame: bytes) -> None:
        nonlocal depth
        assert depth == 0, "called from within itself"
        depth += 1
        seen.append(frame)
        if len(seen) < 10:
            buffer = bytearray(echo(seq=len(seen)))
            nic.send(buffer)
            buffer[:] = bytes(len(buffer))
        depth -= 1

    nic = net.attach(on_frame)
    nic.send(echo(seq=0))
    assert [check(frame).data.data.data.seq for frame in seen] == list(range(10))


def test_a_guest_that_always_answers_does_not_hang(net: Slirp) -> None:
    waits = record_waits(net)
    count = 0

    def on_frame(frame: bytes) -> None:
        nonlocal count
        count += 1
        nic.send(echo())

    nic = net.attach(on_frame)
    nic.send(echo())
    assert 1 <= count <= 1000
    for _ in range(3):
        before = count
        assert net.timeout() == 0.0
        net.poll(10)
        assert count > before
    assert waits == [0.0] * 3


def test_poll_from_within_on_frame(net: Slirp) -> None:
    errors: list[StateError] = []

    def on_frame(frame: bytes) -> None:
        with pytest.raises(StateError, match="from within on_frame") as caught:
            net.poll()
        errors.append(caught.value)

    net.attach(on_frame).send(echo())
    assert len(errors) == 1


def test_on_frame_that_raises(net: Slirp) -> None:
    seen: list[bytes] = []
    fail = True

    def on_frame(frame: bytes) -> None:
        if fail:
            raise ZeroDivisionError
        seen.append(frame)

    nic = net.attach(on_frame)
    with pytest.raises(ZeroDivisionError):
        nic.send(echo(b"1"))
    fail = False
    net.poll(0)
    nic.send(echo(b"2"))
    assert [bytes(check(frame).data.data.data.data) for frame in seen] == [b"2"]


def test_on_frame_that_raises_loses_nothing_in_silence(net: Slirp) -> None:
    """Of a batch in which one frame makes the guest fail, the others arrive."""
    seen: list[bytes] = []

    def on_frame(frame: bytes) -> None:
        seen.append(frame)
        if len(seen) == 1:
            nic.send(echo(b"a"))
            nic.send(echo(b"b"))
            nic.send(echo(b"c"))
        elif len(seen) == 2:
            raise ZeroDivisionError

    nic = net.attach(on_frame)
    with pytest.raises(ZeroDivisionError):
        nic.send(echo())
    net.poll(0)
    assert len(seen) + net.stats.drop_link_dead == 4
    assert net.stats.frames_out == 4


# -------------------------------------------------------------------------------------------------------- waiting


@pytest.mark.parametrize("timeout", [0.0, 0.05, 0.2])
def test_poll_returns_in_time_and_sleeps(guest: Guest, timeout: float) -> None:
    waits = record_waits(guest.net)
    start = time.monotonic()
    guest.net.poll(timeout)
    assert time.monotonic() - start >= timeout * 0.9
    assert waits == [timeout]


def test_poll_does_not_spin_on_an_idle_connection(guest: Guest, server: socket.socket) -> None:
    peer, accepted = connect(guest, server)
    with closing(accepted):
        accepted.send(b"unacknowledged")
        guest.wait(is_tcp)
        guest.nic.send(peer.frame(ACK, ack=peer.ack + 14, wnd=0))
        accepted.send(b"there is no window for this")
        for _ in range(3):
            guest.net.poll(0.01)
        rounds, end = 0, time.monotonic() + 0.3
        while time.monotonic() < end:
            guest.net.poll(0.1)
            rounds += 1
        assert rounds < 15


def test_poll_wakes_for_a_timer(guest: Guest) -> None:
    guest.nic.send(arp(2))
    server = socket.create_server(("127.0.0.1", 0))
    with server:
        peer = FrameMaker(server.getsockname()[1])
        guest.nic.send(peer.frame(SYN, opts=options()))
        first = guest.wait(is_tcp)
        assert first.data.data.flags == SYN | ACK
        timeout = guest.net.timeout()
        assert timeout is not None
        assert 0 < timeout <= 1
        start = time.monotonic()
        guest.wait(is_tcp)  # sent again
        assert time.monotonic() - start > 0.5


def test_poll_waits_no_longer_than_its_timeout_for_a_timer(guest: Guest) -> None:
    guest.nic.send(udp(b"x", destination=GATEWAY))  # its idle timeout is in four minutes
    waits = record_waits(guest.net)
    guest.net.poll(0.05)
    guest.net.poll(0.05)
    assert waits == [0.05, 0.05]


def test_poll_wakes_for_a_socket(guest: Guest, server: socket.socket) -> None:
    _, accepted = connect(guest, server)
    with closing(accepted):
        accepted.send(b"x")
        guest.net.poll(3600)
        assert guest.frames


def test_timeout_of_an_idle_network(net: Slirp) -> None:
    assert net.timeout() is None


# -------------------------------------------------------------------------------------------------------- closing


def test_closed(guest: Guest) -> None:
    net = guest.net
    net.close()
    net.close()
    for call in (net.poll, lambda: net.attach(print), lambda: guest.nic.send(echo())):
        with pytest.raises(StateError, match="closed"):
            call()


def test_a_card_that_was_taken_out(guest: Guest) -> None:
    guest.nic.close()
    guest.nic.close()
    with pytest.raises(StateError, match="card was removed"):
        guest.nic.send(echo())
    assert issubclass(StateError, SlirpyError)
    other = Guest(guest.net)
    other.nic.send(echo())
    assert other.wait().data.data.type == 0
    assert guest.frames == []


def test_taken_out_from_within_on_frame(net: Slirp) -> None:
    seen: list[bytes] = []

    def on_frame(frame: bytes) -> None:
        seen.append(frame)
        nic.send(echo())
        nic.close()

    nic = net.attach(on_frame)
    nic.send(echo())
    net.poll(0)
    assert len(seen) == 1


def test_close_resets_both_sides(guest: Guest, server: socket.socket) -> None:
    peer, accepted = connect(guest, server)
    with closing(accepted):
        guest.net.close()
        reset = check(guest.frames[-1]).data.data
        assert reset.flags & RST
        assert reset.seq == peer.ack
        with pytest.raises(ConnectionResetError):
            accepted.recv(1)
    assert guest.net.flows() == []


def test_a_guest_may_answer_the_last_frames(server: socket.socket) -> None:
    net = Slirp(config())
    guest = Guest(net)
    _, accepted = connect(guest, server)
    other = net.attach(lambda frame: other.send(echo()))
    guest.nic.close()
    other.send(connect_frame(server))
    net.close()
    with closing(accepted), pytest.raises(ConnectionResetError):
        accepted.recv(1)


def connect_frame(server: socket.socket) -> bytes:
    return FrameMaker(server.getsockname()[1], sport=41000).frame(SYN, opts=options())


def test_a_guest_that_fails_does_not_keep_the_network_open(server: socket.socket) -> None:
    net = Slirp(config())
    fail = False

    def on_frame(frame: bytes) -> None:
        frames.append(frame)
        if fail:
            raise ZeroDivisionError

    guest = Guest(net)
    frames = guest.frames
    guest.nic = net.attach(on_frame)
    _, accepted = connect(guest, server)
    fail = True
    with pytest.raises(ZeroDivisionError):
        net.close()
    with closing(accepted), pytest.raises(ConnectionResetError):
        accepted.recv(1)
    with pytest.raises(StateError, match="closed"):
        net.poll()


@pytest.mark.parametrize("polling", [True, False])
def test_close_from_within_on_frame(server: socket.socket, polling: bool) -> None:
    net = Slirp(config())
    guest = Guest(net)
    _, accepted = connect(guest, server)
    second = net.attach(lambda frame: net.close())
    guest.nic.close()  # two cards with one address would be one too many
    with closing(accepted):
        if polling:
            peer = FrameMaker(server.getsockname()[1], sport=42000)
            second.send(peer.frame(SYN, opts=options()))
            end = time.monotonic() + 20
            while time.monotonic() < end:
                try:
                    net.poll(0.05)
                except StateError:
                    break
        else:
            second.send(echo())
        with pytest.raises(StateError, match="closed"):
            net.poll()
        with pytest.raises(ConnectionResetError):
            accepted.recv(1)


def test_close_while_connecting(guest: Guest, server: socket.socket) -> None:
    peer = FrameMaker(server.getsockname()[1])
    guest.nic.send(peer.frame(SYN, opts=options()))
    guest.net.close()
    assert guest.net.flows() == []


def open_sockets() -> list[socket.socket]:
    return [o for o in gc.get_objects() if isinstance(o, socket.socket) and o.fileno() >= 0]


def test_close_frees_everything(server: socket.socket) -> None:
    gc.collect()
    before = open_sockets()
    net = Slirp(config(hostfwd=["tcp::0-:80", "udp::0-:80"]))
    guest = Guest(net)
    _, accepted = connect(guest, server)
    guest.nic.send(udp(b"x", destination=GATEWAY, dport=server.getsockname()[1]))
    stack, ports = weakref.ref(net._stack), [rule.host_port for rule in net.hostfwds()]
    assert len(open_sockets()) > len(before) + 1
    net.close()
    accepted.close()
    del guest, net
    gc.collect()
    assert stack() is None
    assert open_sockets() == before
    with socket.create_server(("127.0.0.1", ports[0])), socket.socket(type=socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", ports[1]))


def test_a_bad_forward_leaves_nothing(server: socket.socket) -> None:
    gc.collect()
    before = len([o for o in gc.get_objects() if isinstance(o, socket.socket) and o.fileno() >= 0])
    port = server.getsockname()[1]
    with pytest.raises(ForwardError, match="address already in use"):
        Slirp(config(hostfwd=["tcp::0-:80", f"tcp::{port}-:80"]))
    gc.collect()
    assert len([o for o in gc.get_objects() if isinstance(o, socket.socket) and o.fileno() >= 0]) == before


# ----------------------------------------------------------------------------------------------- several of them


def test_two_networks(server: socket.socket) -> None:
    with Slirp(config()) as one, Slirp(config()) as two:
        first, second = Guest(one), Guest(two)
        (_, a), (_, b) = connect(first, server), connect(second, server)
        with closing(a), closing(b):
            assert len(one.flows()) == len(two.flows()) == 1
            one.close()
            assert len(two.flows()) == 1
            b.send(b"alive")
            assert bytes(second.wait(lambda f: is_tcp(f) and f.data.data.data).data.data.data) == b"alive"


def test_a_network_within_a_network(server: socket.socket) -> None:
    """From within one network's on_frame another one may be used."""
    with Slirp(config()) as outer, Slirp(config()) as inner:
        other = Guest(inner)
        nic = outer.attach(lambda frame: other.nic.send(echo(b"inner")))
        nic.send(echo(b"outer"))
        assert bytes(other.wait().data.data.data.data) == b"inner"


def test_two_guests(net: Slirp) -> None:
    a, b = Guest(net), Guest(net)
    a.nic.send(echo(b"a"))
    assert b.frames == []
    b.nic.send(eth(ipv4(1, icmp_echo(b"b"), source=OTHER, destination=GATEWAY), source=OTHER_MAC))
    assert len(a.frames) == len(b.frames) == 1
    assert check(b.frames[0]).dst == OTHER_MAC


def test_forward_at_run_time(guest: Guest) -> None:
    rule = guest.net.add_hostfwd("tcp:127.0.0.1:0-10.0.2.15:80")
    assert rule.host_port
    guest.nic.send(arp(2))
    with socket.create_connection(("127.0.0.1", rule.host_port), 5) as client:
        syn = guest.wait(is_tcp)
        assert syn.data.data.flags == SYN
        assert (syn.data.src, syn.data.data.sport) == (GATEWAY, client.getsockname()[1])
        assert syn.data.dst == GUEST
    guest.net.remove_hostfwd(rule)
    assert guest.net.hostfwds() == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", rule.host_port), 5)


def test_features_of_the_card(net: Slirp, server: socket.socket) -> None:
    guest = Guest(net, features=LinkFeatures(mtu=600))
    _, accepted = connect(guest, server)
    with closing(accepted):
        accepted.send(bytes(5000))
        frame = guest.wait(lambda f: is_tcp(f) and len(f.data.data.data) > 0)
        assert frame.data.len == 600


def test_clock_is_given() -> None:
    now = 5 * 10**9
    with Slirp(config(), clock=lambda: now) as net:
        guest = Guest(net)
        guest.nic.send(udp(b"x", destination=GATEWAY))
        assert len(net.flows()) == 1
        now += 239 * 10**9
        net.poll()
        assert net.timeout() == pytest.approx(1.0)
        now += 10**9 + MS
        net.poll()
        assert net.flows() == []


def test_link_is_closed_with_the_network() -> None:
    class Link:
        features = LinkFeatures()
        closed = 0

        def start(self, sink: Any, poller: Any) -> None: ...

        def send(self, frames: list[Frame]) -> int:
            return len(frames)

        def close(self) -> None:
            self.closed += 1

    link = Link()
    with Slirp(config()) as net:
        net.attach_link(link)  # type: ignore[arg-type] # send() wants a list
    assert link.closed == 1


def test_neighbors(net: Slirp, guest: Guest) -> None:
    assert net.neighbors() == []
    guest.nic.send(arp(1))
    other = Guest(net)
    other.nic.send(arp(1, sender=OTHER, sender_mac=OTHER_MAC))
    found = net.neighbors()
    assert [(each.address.packed, each.mac) for each in found] == [
        (OTHER, OTHER_MAC.hex(":")), (GUEST, GUEST_MAC.hex(":"))
    ]  # fmt: skip
    assert all(0 <= each.idle < 60 for each in found)
