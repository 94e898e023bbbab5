"""The ways to drive a network: a foreign loop, a background thread, asyncio. Real sockets, on loopback."""

from __future__ import annotations

import asyncio
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import pytest

from slirpy import Attachment, Config, ConfigError, ForwardError, Slirp, StateError
from slirpy.drive import mailbox
from slirpy.interfaces import READ, Frame, Link, LinkSink, Poller
from slirpy.links import CallbackLink, Middleware
from slirpy.testing import Guest
from slirpy.wire import icmp, ipv4, udp
from tests.support.effort import record_waits
from tests.support.harness import GATEWAY, GATEWAY_MAC, GUEST, GUEST_MAC, ip
from tests.support.waiting import until

SECONDS = 10.0


def ping(data: bytes) -> bytes:
    """An echo request to the gateway."""
    message = icmp.build(icmp.ECHO_REQUEST, 0, 1, data)
    header = ipv4.build(GUEST, GATEWAY, ipv4.ICMP, len(message))
    return GATEWAY_MAC + GUEST_MAC + b"\x08\x00" + header + message


def datagram(port: int, data: bytes, sport: int = 5000) -> bytes:
    """A datagram to a port of the host's loopback."""
    segment = udp.build(GUEST, sport, GATEWAY, port, data) + data
    return GATEWAY_MAC + GUEST_MAC + b"\x08\x00" + ipv4.build(GUEST, GATEWAY, ipv4.UDP, len(segment)) + segment


def wait_for(condition: Callable[[], object]) -> None:
    """Another thread makes it true."""
    until(condition, lambda: time.sleep(0.001))


@pytest.fixture
def echo_server() -> Iterator[int]:
    """Sends datagrams back; the port."""
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                data, peer = server.recvfrom(65536)
                if not data:
                    return
                server.sendto(data, peer)

        thread = threading.Thread(target=serve)
        thread.start()
        port = server.getsockname()[1]
        yield port
        with socket.socket(type=socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", port))
        thread.join()


@pytest.fixture
def source() -> Iterator[tuple[int, int]]:
    """A TCP server that sends so many bytes to who connects, and closes: port and number."""
    size = 3_000_000
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(bytes(size))

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1], size
        thread.join()


# ---------------------------------------------------------------------------------------------- middleware and links


def test_both_directions_pass_through_a_middleware(net: Slirp) -> None:
    class Watch(Middleware):
        def input(self, frame: Any, checksummed: bool = False, gso_size: int = 0) -> None:
            seen.append(bytes(frame))
            super().input(frame, checksummed, gso_size)

        def send(self, frames: Any) -> int:
            seen.extend(b"".join(frame.parts) for frame in frames)
            return super().send(frames)

    seen: list[bytes] = []
    frames: list[bytes] = []
    nic = net.attach(frames.append, wrap=Watch)
    nic.send(ping(b"seen"))
    assert seen == [ping(b"seen"), frames[0]]


def test_a_middleware_may_swallow(net: Slirp) -> None:
    class Deaf(Middleware):
        def input(self, frame: Any, checksummed: bool = False, gso_size: int = 0) -> None: ...

    frames: list[bytes] = []
    assert net.attach(frames.append, wrap=Deaf).send(ping(b""))
    assert frames == []
    assert net.stats.frames_in == 0


def test_attach_link_gives_something_to_close(net: Slirp) -> None:
    closed: list[Link] = []

    class Mine(CallbackLink):
        def close(self) -> None:
            closed.append(self)
            super().close()

    link = Mine(lambda frame: None)
    attachment = net.attach_link(link)
    assert type(attachment) is Attachment
    assert attachment.link is link
    assert attachment.mtu == 1500
    attachment.close()
    attachment.close()
    assert closed == [link]
    assert attachment.closed is True


def test_a_card_can_be_taken_out_after_the_end(net: Slirp) -> None:
    nic = net.attach(lambda frame: None)
    net.close()
    assert nic.closed
    nic.close()


# --------------------------------------------------------------------------------------------------------- send_many


def test_send_many_answers_once(net: Slirp) -> None:
    batches: list[int] = []

    class Watch(Middleware):
        def send(self, frames: Any) -> int:
            batches.append(len(frames))
            return super().send(frames)

    frames: list[bytes] = []
    nic = net.attach(frames.append, wrap=Watch)
    assert nic.send_many([ping(b"%d" % number) for number in range(50)]) == 50
    assert batches == [50]
    assert [frame[42:44].rstrip(b"\0") for frame in frames] == [b"%d" % number for number in range(50)]
    assert nic.send_many(iter(())) == 0


def test_send_many_takes_all_or_raises_before_any(net: Slirp) -> None:
    frames: list[bytes] = []
    nic = net.attach(frames.append)
    with pytest.raises(ConfigError, match=r"^frames are"):
        nic.send_many([ping(b"a"), "no frame"])  # type: ignore[list-item] # the mistake
    assert net.stats.frames_in == 0
    nic.close()
    with pytest.raises(StateError, match="card was removed"):
        nic.send_many([ping(b"a")])


@pytest.mark.needs("real windows", detail="a system call takes many times as long")
def test_answers_within_on_frame_are_bounded(net: Slirp) -> None:
    """A guest that sends two frames for each that it gets: neither memory nor a call's time grows without a bound."""
    taken: list[bool] = []

    def on_frame(frame: bytes) -> None:
        taken.append(nic.send(ping(b"a")))
        taken.append(nic.send(ping(b"b")))

    nic = net.attach(on_frame)
    nic.send(ping(b""))
    for _ in range(5):
        before = net.stats.frames_in
        net.poll(0)
        assert net.stats.frames_in - before <= 3 * mailbox.LIMIT
    assert taken.count(False) == net.stats.drop_nic_queue_full > 0


# ----------------------------------------------------------------------------------------------- somebody else's loop


def carry_on(net: Slirp, until: Callable[[], object]) -> int:
    """A loop as a program of another kind has it; returns how many times it went round."""
    descriptor = net.fileno()
    assert descriptor is not None
    rounds, end = 0, time.monotonic() + SECONDS
    while not until():
        left = end - time.monotonic()
        assert left > 0, "stalled"
        timeout = net.timeout()
        select.select([descriptor], [], [], left if timeout is None else min(timeout, left))
        net.poll(0)
        rounds += 1
    return rounds


@pytest.mark.needs("epoll or kqueue")
def test_a_foreign_loop_neither_stalls_nor_spins(net: Slirp, source: tuple[int, int]) -> None:
    port, size = source
    guest = Guest(lambda frame: nic.send(frame), random=Random(1), now=time.monotonic_ns())  # noqa: PLW0108 - later
    nic = net.attach(lambda frame: guest.input(frame, time.monotonic_ns()))
    lease = guest.dhcp()
    carry_on(net, lambda: lease.bound)
    stream = guest.connect("10.0.2.2", port)
    received = 0

    def all_there() -> bool:
        nonlocal received
        received += len(stream.read())
        return stream.eof

    rounds = carry_on(net, all_there)
    assert received == size
    assert rounds < net.stats.frames_out
    assert idle_rounds(net) < 15


def idle_rounds(net: Slirp, seconds: float = 0.3) -> int:
    """Number of turns that a loop makes in that time when nothing happens."""
    descriptor = net.fileno()
    assert descriptor is not None
    rounds, end = 0, time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        timeout = net.timeout()
        select.select([descriptor], [], [], left if timeout is None else min(timeout, left))
        net.poll(0)
        rounds += 1
    return rounds


@pytest.mark.needs("epoll or kqueue")
def test_many_sockets_in_a_foreign_loop(net: Slirp, echo_server: int) -> None:
    frames: list[bytes] = []
    nic = net.attach(frames.append)
    for number in range(300):
        nic.send(datagram(echo_server, b"%03d" % number, 5000 + number))
        if number % 100 == 99:  # not more than a socket's buffer holds
            carry_on(net, lambda: len(frames) > number)  # noqa: B023
    assert sorted(frame[42:45] for frame in frames) == [b"%03d" % number for number in range(300)]
    assert idle_rounds(net) < 15


@pytest.mark.needs("epoll or kqueue")
def test_an_idle_network_has_nothing_to_do(net: Slirp) -> None:
    net.attach(lambda frame: None)
    assert net.timeout() is None
    descriptor = net.fileno()
    assert descriptor is not None
    assert select.select([descriptor], [], [], 0.05)[0] == []


def test_work_interrupted_by_on_frame_is_due_at_once(net: Slirp) -> None:
    """Frames for a second guest do not wait for some event because the first guest's function failed."""

    fail = True

    def first(frame: bytes) -> None:
        if fail:
            raise ZeroDivisionError

    seen: list[bytes] = []
    a = net.attach(first)
    b = net.attach(seen.append)
    for nic, guest, mac in ((a, GUEST, GUEST_MAC), (b, ip("10.0.2.16"), b"\x52\x54\0\0\0\x16")):
        header = ipv4.build(guest, GATEWAY, ipv4.ICMP, 8)
        frame = GATEWAY_MAC + mac + b"\x08\x00" + header + icmp.build(icmp.ECHO_REQUEST, 0, 1, b"")
        net._inbox.append(lambda nic=nic, frame=frame: net._deliver(nic, False, 0, frame))  # type: ignore[misc] # mypy infers no lambda with a default
    with pytest.raises(ZeroDivisionError):
        net.poll(0)
    fail = False
    assert seen == []
    assert net.timeout() == 0.0
    net.poll(0)
    assert len(seen) == 1
    assert net.timeout() is None


# ------------------------------------------------------------------------------------------------- background thread


def test_a_thread_carries_on(net: Slirp, echo_server: int) -> None:
    frames: list[bytes] = []
    threads: set[int] = set()

    def on_frame(frame: bytes) -> None:
        threads.add(threading.get_ident())
        frames.append(frame)

    nic = net.attach(on_frame)
    net.start()
    buffer = bytearray(datagram(echo_server, b"hello"))
    assert nic.send(buffer)
    buffer[:] = bytes(len(buffer))  # it was copied
    wait_for(lambda: frames)
    assert frames[0][42:47] == b"hello"
    assert threads == {thread.ident for thread in threading.enumerate() if thread.name == "slirpy"}
    net.stop()
    net.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "slirpy"]
    nic.send(ping(b"direct"))
    assert len(frames) == 2
    assert threads == {*threads, threading.get_ident()}


def test_many_threads_send_and_call(net: Slirp) -> None:
    frames: list[bytes] = []
    nic = net.attach(frames.append)
    net.start()
    errors: list[BaseException] = []
    each, senders = 300, 4

    def send(number: int) -> None:
        try:
            for count in range(each):
                frame = ping(b"%d %03d" % (number, count))
                while not nic.send(frame):
                    time.sleep(0.001)
        except BaseException as error:
            errors.append(error)

    def ask() -> None:
        try:
            for _ in range(30):
                rule = net.add_hostfwd("tcp:127.0.0.1:0-:80")
                assert rule in net.hostfwds()
                net.flows(), net.leases(), net.timeout()
                other = net.attach(lambda frame: None)
                other.close()
                net.remove_hostfwd(rule)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(senders)]
    threads += [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()
    net.stop()  # after what was sent before
    assert errors == []
    got = [frame[42:47] for frame in frames]
    for number in range(senders):  # none lost, and each sender's in order
        assert [data for data in got if data[:1] == b"%d" % number] == [
            b"%d %03d" % (number, c) for c in range(each)
        ]
    assert net.hostfwds() == []


def test_a_full_queue_refuses_and_counts(net: Slirp) -> None:
    entered, leave = threading.Event(), threading.Event()

    def on_frame(frame: bytes) -> None:
        entered.set()
        assert leave.wait(SECONDS)

    nic = net.attach(on_frame)
    net.start()
    nic.send(ping(b""))
    assert entered.wait(SECONDS)
    assert nic.send_many([ping(b"")] * (mailbox.LIMIT - 1)) == mailbox.LIMIT - 1
    assert nic.send_many([ping(b"")] * 3) == 1
    assert not nic.send(ping(b""))
    leave.set()
    net.stop()
    assert net.stats.drop_nic_queue_full == 3
    assert net.stats.icmp_echo_replies == mailbox.LIMIT + 1


def test_calls_from_within_on_frame(net: Slirp) -> None:
    seen: list[object] = []
    done = threading.Event()

    def on_frame(frame: bytes) -> None:
        if len(seen) < 3:
            seen.append(net.flows())
            nic.send(ping(b"again"))
            with pytest.raises(StateError, match="from within on_frame"):
                net.poll()
        else:
            done.set()

    nic = net.attach(on_frame)
    net.start()
    nic.send(ping(b""))
    assert done.wait(SECONDS)
    assert seen == [[], [], []]


def test_a_thread_that_polls_is_not_polled(net: Slirp) -> None:
    net.start()
    with pytest.raises(StateError, match="another thread polls"):
        net.poll()
    with pytest.raises(StateError, match="driven already"):
        net.start()
    net.stop()
    net.poll()
    net.start()


def test_errors_of_calls_come_back(net: Slirp) -> None:
    net.start()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ForwardError, match="address already in use"):
            net.add_hostfwd(f"tcp:127.0.0.1:{port}-:80")
    assert net.hostfwds() == []


@pytest.mark.parametrize("told_by", ["send", "flows", "stop", "close"])
def test_exceptions_of_on_frame_are_reported(told_by: str) -> None:
    def on_frame(frame: bytes) -> None:
        frames.append(frame)
        raise ZeroDivisionError(len(frames))

    frames: list[bytes] = []
    with Slirp(Config()) as net:
        nic = net.attach(on_frame)
        net.start()
        nic.send(ping(b"1"))
        wait_for(lambda: net._failure)
        calls = {
            "send": lambda: nic.send(ping(b"2")),
            "flows": net.flows,
            "stop": net.stop,
            "close": net.close,
        }
        with pytest.raises(ZeroDivisionError, match="1"):
            calls[told_by]()
        if told_by != "close":
            net.flows()  # told once, and the thread lives, or the network is ours again
            assert len(frames) == 1


def test_stop_and_close_from_within_on_frame(net: Slirp) -> None:
    nic = net.attach(lambda frame: net.stop())
    net.start()
    nic.send(ping(b""))
    wait_for(lambda: not [thread for thread in threading.enumerate() if thread.name == "slirpy"])
    with pytest.raises(StateError, match="stopped"):
        net.flows()
    assert not nic.send(ping(b""))
    net.stop()
    assert net.flows() == []
    closing = net.attach(lambda frame: net.close())
    nic.close()
    net.start()
    closing.send(ping(b""))
    wait_for(lambda: not [thread for thread in threading.enumerate() if thread.name == "slirpy"])
    with pytest.raises(StateError, match="closed"):
        net.poll()


def test_close_under_fire() -> None:
    """Threads that still use the network while it is closed get a StateError, and nothing hangs."""
    net = Slirp(Config())
    nic = net.attach(lambda frame: None)
    net.start()
    ends: list[BaseException] = []

    def use(call: Callable[[], object]) -> None:
        try:
            while not net._closed:
                call()
            nic.send(ping(b"too late"))
        except BaseException as error:
            ends.append(error)

    calls = [lambda: nic.send(ping(b"x")), net.flows, net.leases]
    threads = [threading.Thread(target=use, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    wait_for(lambda: net.stats.frames_in > 100)
    net.close()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()
    assert [type(end) for end in ends] == [StateError] * 3


def test_the_thread_sleeps(net: Slirp) -> None:
    waits = record_waits(net)
    nic = net.attach(lambda frame: None)
    net.start()
    nic.send(ping(b""))
    time.sleep(0.3)
    assert 1 <= len(waits) <= 3


# ------------------------------------------------------------------------------------------------------------ asyncio


class NoReader(asyncio.SelectorEventLoop):
    """An event loop like that of Windows."""

    def add_reader(self, *arguments: Any) -> None:  # type: ignore[override] # it takes whatever it is given
        raise NotImplementedError


LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.SelectorEventLoop, NoReader]


@pytest.fixture(params=LOOPS, ids=["reader", "no reader"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner


def test_asyncio(runner: asyncio.Runner, echo_server: int, source: tuple[int, int]) -> None:
    async def main() -> None:
        mine = threading.get_ident()
        net = Slirp(Config())
        early: asyncio.Queue[bytes] = asyncio.Queue()

        def early_frame(frame: bytes) -> None:
            assert threading.get_ident() == mine
            early.put_nowait(frame)

        before = net.attach(early_frame)  # before the loop has it
        async with net as entered:
            assert entered is net
            before.send(datagram(echo_server, b"hello"))
            frame = await asyncio.wait_for(early.get(), SECONDS)
            assert frame[42:47] == b"hello"
            before.close()

            done = asyncio.Event()

            def on_frame(frame: bytes) -> None:
                assert threading.get_ident() == mine
                guest.input(frame, time.monotonic_ns())
                done.set()

            guest = Guest(lambda frame: nic.send(frame), random=Random(1), now=time.monotonic_ns())  # noqa: PLW0108 - later
            nic = net.attach(on_frame)
            guest.configure("10.0.2.15", 24, gateway="10.0.2.2")
            port, size = source
            stream = guest.connect("10.0.2.2", port)
            received = 0
            while not stream.eof:
                done.clear()
                received += len(stream.read())
                await asyncio.wait_for(done.wait(), SECONDS)
            assert received + len(stream.read()) == size
        with pytest.raises(StateError, match="closed"):
            net.poll()

    runner.run(main())


def test_asyncio_serves_timers(runner: asyncio.Runner) -> None:
    """A host connects, the guest does not answer, and slirpy says its SYN again after a second."""

    async def main() -> list[float]:
        times: list[float] = []
        again = asyncio.Event()

        def on_frame(frame: bytes) -> None:
            if frame[23] == ipv4.TCP:
                times.append(time.monotonic())
                if len(times) == 2:
                    again.set()

        async with Slirp(Config()) as net:
            nic = net.attach(on_frame)
            nic.send(datagram(9, b"a flow that is forgotten later than the SYN is said again"))
            rule = net.add_hostfwd("tcp:127.0.0.1:0-10.0.2.15:80")
            with socket.create_connection(("127.0.0.1", rule.host_port), SECONDS):
                await asyncio.wait_for(again.wait(), SECONDS)
        return times

    first, second = runner.run(main())
    assert second - first > 0.15


class Clock(Middleware):
    """A link that says when its timers ring, the first of them set at its start."""

    def __init__(self, inner: Link, ring: Callable[[], object], rounds: int) -> None:
        super().__init__(inner)
        self.ring = ring
        self.rounds = rounds

    def start(self, sink: LinkSink, poller: Poller) -> None:
        super().start(sink, poller)
        self.wind()

    def wind(self) -> None:
        self.call_at(self.now + 20_000_000, self.rung)

    def rung(self) -> None:
        self.rounds -= 1
        if self.rounds:
            self.wind()
        else:
            self.ring()


def test_asyncio_serves_one_timer_after_the_other(runner: asyncio.Runner) -> None:
    """Also those that a call has set."""

    async def main() -> None:
        done = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with Slirp(Config()) as net:
            await asyncio.sleep(0.01)
            ring = lambda: loop.call_soon_threadsafe(done.set)  # noqa: E731
            net.attach(lambda frame: None, wrap=lambda link: Clock(link, ring, 3))
            await asyncio.wait_for(done.wait(), SECONDS)

    runner.run(main())


def test_asyncio_serves_timers_after_an_error(runner: asyncio.Runner) -> None:
    """A link that fails while it reads, after it has set a timer."""
    near, far = socket.socketpair()

    class Failing(Clock):
        def start(self, sink: LinkSink, poller: Poller) -> None:
            Middleware.start(self, sink, poller)
            poller.register(near.fileno(), READ, self.ready)

        def ready(self, mask: int) -> None:
            near.recv(1)
            self.wind()
            raise ZeroDivisionError

    async def main() -> None:
        done = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: None)
        net = Slirp(Config())
        async with net:
            ring = lambda: loop.call_soon_threadsafe(done.set)  # noqa: E731
            net.attach(lambda frame: None, wrap=lambda link: Failing(link, ring, 1))
            far.send(b"x")
            await asyncio.wait_for(done.wait(), SECONDS)
            net._failure = None  # the thread would tell at the end

    with near, far:
        runner.run(main())


def test_asyncio_takes_frames_of_other_threads(runner: asyncio.Runner) -> None:
    async def main() -> None:
        frames: asyncio.Queue[bytes] = asyncio.Queue()
        async with Slirp(Config()) as net:
            nic = net.attach(frames.put_nowait)
            assert await asyncio.to_thread(nic.send, ping(b"from a thread"))
            assert (await asyncio.wait_for(frames.get(), SECONDS))[42:55] == b"from a thread"
            assert await asyncio.to_thread(net.flows) == []

    runner.run(main())


def test_asyncio_hands_errors_to_the_loop(runner: asyncio.Runner) -> None:
    async def main() -> None:
        told: asyncio.Queue[Any] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.put_nowait(context["exception"]))
        async with Slirp(Config()) as net:
            nic = net.attach(lambda frame: 1 // 0)
            await asyncio.to_thread(nic.send, ping(b""))
            assert isinstance(await asyncio.wait_for(told.get(), SECONDS), ZeroDivisionError)
            assert net.flows() == []  # it lives

    runner.run(main())


def test_asyncio_sleeps() -> None:
    async def main() -> int:
        net = Slirp(Config())
        waits = record_waits(net)
        async with net:
            nic = net.attach(lambda frame: None)
            nic.send(datagram(9, b"a flow with a time-out"))
            await asyncio.sleep(0.3)
        return len(waits)

    assert asyncio.run(main()) <= 5


def test_asyncio_closed_from_within(runner: asyncio.Runner) -> None:
    async def main() -> None:
        async with Slirp(Config()) as net:
            gone = asyncio.Event()

            def on_frame(frame: bytes) -> None:
                net.close()
                gone.set()

            nic = net.attach(on_frame)
            nic.send(ping(b""))
            await asyncio.wait_for(gone.wait(), SECONDS)
            with pytest.raises(StateError, match="closed"):
                net.poll()

    runner.run(main())


@pytest.mark.needs("epoll or kqueue")
def test_asyncio_excludes_a_thread() -> None:
    async def main() -> None:
        async with Slirp(Config()) as net:
            with pytest.raises(StateError, match="driven already"):
                net.start()
            net.stop()  # there is none
            with pytest.raises(StateError, match="in the loop's thread"):
                await asyncio.to_thread(net.close)
            net.poll(0)
        with pytest.raises(StateError, match="closed"):
            await net.__aenter__()

    asyncio.run(main())


# ---------------------------------------------------------------------------------------------------- several at once


def test_several_networks_each_with_a_thread(echo_server: int) -> None:
    nets = [Slirp(Config()) for _ in range(5)]
    frames: list[list[bytes]] = [[] for _ in nets]
    nics = [net.attach(into.append) for net, into in zip(nets, frames, strict=True)]
    for net in nets:
        net.start()
    for number, nic in enumerate(nics):
        nic.send(datagram(echo_server, b"%d" % number))
    wait_for(lambda: all(frames))
    assert [into[0][42:43] for into in frames] == [b"%d" % number for number in range(5)]
    for net in nets:
        net.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "slirpy"]


def test_a_middleware_gets_a_frame_of_its_own(net: Slirp) -> None:
    """``Nic.send`` in a started network gives a middleware a frame of its own, to keep."""
    kept: list[Any] = []

    class Keep(Middleware):
        def input(self, frame: Any, checksummed: bool = False, gso_size: int = 0) -> None:
            kept.append(frame)

        def send(self, frames: Sequence[Frame]) -> int:
            return len(frames)

    nic = net.attach(lambda frame: None, wrap=Keep)
    net.start()
    nic.send(bytearray(b"x" * 60))
    net.stop()
    assert kept == [b"x" * 60]
    assert type(kept[0]) is bytes
