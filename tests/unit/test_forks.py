"""Forked children: the network stays with the process that made it, whatever a child does with its copy."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from slirpy import Config, Slirp, SlirpyError, StateError
from slirpy.host.poller import SelectorPoller
from slirpy.host.sockets import SocketHost
from slirpy.interfaces import READ, Frame, LinkFeatures, LinkSink, Poller
from slirpy.links import CallbackLink, CaptureLink, DgramLink, Recorder, StreamLink, unix
from slirpy.stack import Stack
from slirpy.stats import Stats
from slirpy.testing import Guest, SimHost
from tests.support.driven import Driven

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]

SECONDS = 20.0
MAC = bytes.fromhex("525400123456")
ARP = b"\xff" * 6 + bytes.fromhex(
    "525400123456 0806 0001 0800 0604 0001 525400123456 0a00020f 000000000000 0a000202"
)


def child(work: Callable[[], Any]) -> tuple[int, int]:
    """Fork; the child does the work, sends what it returns or raises, and ends. Its id, and where to read that."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    try:  # in the child
        try:
            said = pickle.dumps((True, work()))
        except BaseException:
            said = pickle.dumps((False, traceback.format_exc()))
        os.write(writing, said)
    finally:
        os._exit(0)


def outcome(pid: int, reading: int) -> Any:
    """Return the output of a child. One that hangs is killed."""
    if not select.select([reading], [], [], SECONDS)[0]:
        os.kill(pid, signal.SIGKILL)
    with os.fdopen(reading, "rb") as file:
        said = file.read()
    os.waitpid(pid, 0)
    assert said, "the child hung, or died"
    fine, what = pickle.loads(said)
    assert fine, what
    return what


def in_child(work: Callable[[], Any]) -> Any:
    return outcome(*child(work))


@contextlib.contextmanager
def living_child(work: Callable[[], Any]) -> Iterator[None]:
    """A child that does something, and then lives until the end of the block."""
    held, hold = os.pipe()
    reached, done = os.pipe()

    def both() -> None:
        os.close(hold)
        work()
        os.write(done, b"x")
        os.read(held, 1)

    pid, reading = child(both)
    os.close(done)
    os.close(held)
    try:
        assert select.select([reached], [], [], SECONDS)[0]
        yield
    finally:
        os.close(hold)
        os.close(reached)
        outcome(pid, reading)


# -------------------------------------------------------------------------- what a child may not do

CALLS: dict[str, Callable[[Slirp, Any], object]] = {
    "poll": lambda net, nic: net.poll(0.01),
    "timeout": lambda net, nic: net.timeout(),
    "fileno": lambda net, nic: net.fileno(),
    "start": lambda net, nic: net.start(),
    "send": lambda net, nic: nic.send(ARP),
    "send_many": lambda net, nic: nic.send_many([ARP, ARP]),
    "attach": lambda net, nic: net.attach(print),
    "attach_link": lambda net, nic: net.attach_link(CallbackLink(print)),
    "serve": lambda net, nic: net.serve("tcp:127.0.0.1:0"),
    "watch": lambda net, nic: net.watch(0, print),
    "flows": lambda net, nic: net.flows(),
    "closed_flows": lambda net, nic: net.closed_flows(),
    "leases": lambda net, nic: net.leases(),
    "neighbors": lambda net, nic: net.neighbors(),
    "hostfwds": lambda net, nic: net.hostfwds(),
    "guestfwds": lambda net, nic: net.guestfwds(),
    "reserve": lambda net, nic: net.reserve(MAC),
    "add_hostfwd": lambda net, nic: net.add_hostfwd("tcp::0-:80"),
    "remove_hostfwd": lambda net, nic: net.remove_hostfwd("tcp::0-:80"),
    "add_guestfwd": lambda net, nic: net.add_guestfwd("tcp:10.0.2.9:80-tcp:127.0.0.1:1"),
    "remove_guestfwd": lambda net, nic: net.remove_guestfwd("tcp:10.0.2.9:80-tcp:127.0.0.1:1"),
    "async with": lambda net, nic: asyncio.run(net.__aenter__()),
}


def attempts(net: Slirp, nic: Any) -> list[str]:
    """Return the outcome of each call in this process."""
    said = []
    for name, call in CALLS.items():
        try:
            call(net, nic)
        except StateError as error:
            said.append(str(error))
        else:
            said.append(f"{name} was done")
    for harmless in (partial(net.unwatch, 0), net.stop, nic.close, net.close, net.close):
        harmless()
    return said


@pytest.mark.parametrize("started", [False, True])
def test_every_call_in_a_child_names_the_owner(started: bool) -> None:
    with Slirp() as net:
        nic = net.attach(lambda frame: None)
        if started:
            net.start()
            nic.send(ARP)
        said = in_child(lambda: attempts(net, nic))
        whose = f"this network belongs to process {os.getpid()}, of which this one is a fork"
        expected = f"{whose}; make another Slirp here"
        assert said == [expected] * len(CALLS)
        assert net.flows() == []  # here it goes on


def test_a_grandchild_too() -> None:
    with Slirp() as net:
        nic = net.attach(lambda frame: None)
        said = in_child(lambda: in_child(lambda: attempts(net, nic)))
        assert f"belongs to process {os.getpid()}," in said[0]


def test_a_child_s_own_network_is_its_own() -> None:
    def work() -> tuple[bool, list[str]]:
        with Slirp() as mine:
            frames: list[bytes] = []
            nic = mine.attach(frames.append)
            nic.send(ARP)
            inner = in_child(lambda: attempts(mine, nic))
            nic.send(ARP)
            return len(frames) == 2, [str(os.getpid()), inner[0]]

    with Slirp() as net:
        nic = net.attach(lambda frame: None)
        fine, (pid, said) = in_child(work)
        assert fine
        assert f"belongs to process {pid}," in said
        nic.send(ARP)


def test_a_fork_from_within_on_frame() -> None:
    said: list[Any] = []
    after: list[str] = []

    def on_frame(frame: bytes) -> None:
        if not said:
            said.append(in_child(lambda: attempts(net, nic)))

    with Slirp() as net:
        nic = net.attach(on_frame)
        nic.send(ARP)
        assert "belongs to process" in said[0][0]
        after.extend(["sent"] if nic.send(ARP) else [])
    assert after == ["sent"]


def test_a_fork_in_on_frame_with_a_child_that_returns() -> None:
    forked: list[int] = []

    def on_frame(frame: bytes) -> None:
        if not forked:
            forked.append(os.fork())

    reading, writing = os.pipe()
    with Slirp() as net:
        nic = net.attach(on_frame)
        net.attach(on_frame)
        try:
            nic.send(ARP)
            if forked == [0]:
                nic.send(ARP)
        except StateError as error:
            os.write(writing, str(error).encode())
        finally:
            if forked == [0]:
                os._exit(0)
        os.close(writing)
        assert b"belongs to process" in os.read(reading, 1000)
        os.close(reading)
        os.waitpid(forked[0], 0)


# ----------------------------------------------------------------------------- what stays as it was


def use(net: Slirp) -> None:
    """Use a network as a child may do on its way out."""
    with contextlib.suppress(SlirpyError):
        net.poll(0)
    net.close()
    gc.collect()


def leave(net: Slirp) -> None:
    with net:
        pass


@pytest.mark.parametrize("how", [use, leave, lambda net: None], ids=["close", "with", "nothing"])
def test_forwards_go_on(tmp_path: Path, how: Callable[[Slirp], None]) -> None:
    path = str(tmp_path / "forward")
    with Slirp(Config(hostfwd=["tcp::0-:80", "udp::0-:53", f"unix:{path}-:80"])) as net:
        driven = Driven(net)
        web, dns = driven.guest.listen(80), driven.guest.udp(53)
        tcp, udp, _ = net.hostfwds()
        in_child(lambda: how(net))
        for family, place in ((socket.AF_INET, ("127.0.0.1", tcp.host_port)), (socket.AF_UNIX, path)):
            with socket.socket(family) as client:
                client.settimeout(SECONDS)
                client.connect(place)
                driven.until(lambda: web.accepted, "a connection comes in")
                stream = web.accepted.pop(0)
                client.sendall(b"hello")
                driven.until(lambda stream=stream: stream.received == b"hello")  # type: ignore[misc] # mypy infers no lambda with a default
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"x", ("127.0.0.1", udp.host_port))
            driven.until(lambda: dns.received, "a datagram comes in")
    assert not os.path.exists(path)  # the end here is still an end


def test_connections_go_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, Slirp() as net:
        driven = Driven(net)
        stream = driven.connect("10.0.2.2", server.getsockname()[1])
        far, _ = server.accept()
        far.settimeout(SECONDS)
        for turn in (b"one", b"two"):
            stream.write(turn)
            driven.until(lambda: not stream.unsent)
            assert far.recv(100) == turn
            far.sendall(turn)
            driven.until(lambda turn=turn: stream.received.endswith(turn))  # type: ignore[misc] # mypy infers no lambda with a default
            in_child(lambda: use(net))
        stream.shutdown()
        driven.until(lambda: not stream.unsent)
        net.poll(0.01)
        assert far.recv(100) == b""  # an end in good order, and no reset
        far.close()
        driven.until(lambda: stream.eof)


def test_the_end_of_the_parent_is_an_end_although_the_child_lives(tmp_path: Path) -> None:
    path = str(tmp_path / "guests")
    net = Slirp(Config(hostfwd=["tcp::0-:80"]))
    net.serve(f"unix:{path}")
    port = net.hostfwds()[0].host_port
    with living_child(lambda: None):
        net.close()
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", port)) != 0
        with Slirp(Config(hostfwd=[f"tcp::{port}-:80"])) as again:
            again.serve(f"unix:{path}")


def test_guests_that_connected_stay(tmp_path: Path) -> None:
    path = str(tmp_path / "guests")
    with Slirp() as net, socket.socket(socket.AF_UNIX) as guest:
        serving = net.serve(f"unix:{path}")
        guest.connect(path)
        guest.settimeout(SECONDS)
        for _ in range(100):
            net.poll(0.01)
            if serving.guests:
                break
        in_child(lambda: use(net))
        assert os.path.exists(path)
        guest.sendall(len(ARP).to_bytes(4, "big") + ARP)
        for _ in range(100):
            net.poll(0.01)
            if select.select([guest], [], [], 0)[0]:
                break
        assert guest.recv(1000)[4:10] == MAC
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(path)
            for _ in range(100):
                net.poll(0.01)
                if serving.guests == 2:
                    break
            assert serving.guests == 2
        in_child(serving.close)
        assert os.path.exists(path)


def test_programs_go_on() -> None:
    with Slirp(Config(guestfwd=["tcp:10.0.2.100:7-cmd:cat"])) as net:
        driven = Driven(net)
        stream = driven.connect("10.0.2.100", 7)
        stream.write(b"before")
        driven.until(lambda: stream.received == b"before")
        in_child(lambda: use(net))
        stream.write(b", after")
        driven.until(lambda: stream.received == b"before, after")
        assert not stream.error


def by_thread(connection: socket.socket, flow: object) -> None:
    while data := connection.recv(100):
        connection.sendall(data)


async def by_task(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)


@pytest.mark.parametrize("handler", [by_thread, by_task])
def test_functions_go_on_and_end_although_the_child_lives(handler: Any) -> None:
    with Slirp() as net:
        from slirpy import GuestForward

        net.add_guestfwd(GuestForward("10.0.2.100", 7, handler))
        driven = Driven(net)
        stream = driven.connect("10.0.2.100", 7)
        stream.write(b"before")
        driven.until(lambda: stream.received == b"before")
        with living_child(lambda: use(net)):
            stream.write(b", after")
            driven.until(lambda: stream.received == b"before, after")
            stream.shutdown()
            driven.until(lambda: stream.eof, "the handler's end")
        assert not stream.error


def test_leases_are_written_by_the_parent_alone(tmp_path: Path) -> None:
    path = tmp_path / "leases"
    with Slirp(Config(lease_file=path)) as net:
        for number in range(2):  # the second is to be saved in a second, or at the end
            driven = Driven(net)
            driven.guest.mac = MAC[:5] + bytes((number,))
            driven.guest.unconfigure()
            client = driven.guest.dhcp()
            driven.until(lambda client=client: client.bound, "a lease")  # type: ignore[misc] # mypy infers no lambda with a default
        before = path.read_bytes(), path.stat().st_ino
        in_child(lambda: use(net))
        assert (path.read_bytes(), path.stat().st_ino) == before
    with Slirp(Config(lease_file=path)) as net:
        assert len(net.leases()) == 2


def test_a_capture_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "out.pcap"
    reading, writing = os.pipe()
    with Slirp() as net:
        recorder = Recorder(writing)
        net.attach(lambda frame: None, wrap=lambda link: CaptureLink(link, recorder))
        nic = net.attach(lambda frame: None, wrap=lambda link: CaptureLink(link, path))
        nic.send(ARP)
        before = path.read_bytes()
        with living_child(lambda: use(net)):
            assert path.read_bytes() == before
            nic.send(ARP)
            assert len(path.read_bytes()) > len(before)
    recorder.close()
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read().count(ARP) == 2


def test_pending_bytes_of_a_pipe_are_written_by_the_parent(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    recorder = Recorder(path)
    frame = bytes(1500)
    recorder.record([(frame,)] * 100, True)  # more than a pipe holds
    got = bytearray(os.read(reader, 1 << 20))  # so that there is room
    in_child(recorder.close)
    os.set_blocking(reader, True)
    closing = threading.Thread(target=recorder.close)
    closing.start()
    with os.fdopen(reader, "rb") as file:
        got += file.read()
    closing.join()
    assert len(got) == 24 + 100 * (16 + 1500)


def test_a_network_that_an_event_loop_drives_goes_on() -> None:
    async def main() -> list[bytes]:
        frames: list[bytes] = []
        async with Slirp() as net:
            nic = net.attach(frames.append)
            said = in_child(lambda: attempts(net, nic))
            assert "belongs to process" in said[0]
            nic.send(ARP)
            with socket.create_server(("127.0.0.1", 0)) as server:
                guest = Guest(nic.send, random=Random(1), now=time.monotonic_ns())
                guest.configure("10.0.2.15", 24, "10.0.2.2")
                stream = guest.connect("10.0.2.2", server.getsockname()[1])
                for _ in range(500):
                    await asyncio.sleep(0.01)
                    while frames:
                        guest.input(frames.pop(0), time.monotonic_ns())
                    if stream.established:
                        break
                assert stream.established
            return [b"fine"]

    assert asyncio.run(main()) == [b"fine"]


@pytest.mark.long
def test_a_network_in_a_thread_goes_on() -> None:
    came = threading.Event()
    with Slirp() as net:
        nic = net.attach(lambda frame: came.set())
        net.start()
        for _ in range(5):
            in_child(lambda: use(net))
        came.clear()
        nic.send(ARP)
        assert came.wait(SECONDS)


class Own:
    """A link of somebody's, with a life of its own."""

    def __init__(self) -> None:
        self.features = LinkFeatures()
        self.closed = 0

    def start(self, sink: LinkSink, poller: Poller) -> None: ...

    def send(self, frames: Sequence[Frame]) -> int:
        return len(frames)

    def close(self) -> None:
        self.closed += 1


def test_links_of_others_are_left_alone() -> None:
    with Slirp() as net:
        link = Own()
        net.attach_link(link)
        net.attach(print, wrap=CaptureLink)

        def closed() -> int:
            use(net)
            return link.closed

        assert in_child(closed) == 0
    assert link.closed == 1


def test_nothing_is_complained_of() -> None:
    def work() -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            use(net)
            holder.clear()
            gc.collect()
        return [str(warning.message) for warning in caught if issubclass(warning.category, ResourceWarning)]

    with Slirp(Config(hostfwd=["tcp::0-:80"], guestfwd=["tcp:10.0.2.100:7-cmd:cat"])) as net:
        driven = Driven(net)
        holder = [net, driven]
        driven.connect("10.0.2.100", 7)
        net.serve("tcp:127.0.0.1:0")
        assert in_child(work) == []


def test_descriptors_are_closed_in_the_child(tmp_path: Path) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("this system does not list descriptors")
    before = len(os.listdir("/proc/self/fd"))
    with Slirp(Config(hostfwd=["tcp::0-:80", "udp::0-:53"])) as net:
        net.serve(f"unix:{tmp_path}/s")
        net.attach(print, wrap=lambda link: CaptureLink(link, tmp_path / "out.pcap"))
        net.start()
        assert in_child(lambda: len(os.listdir("/proc/self/fd"))) <= before + 2  # of the pipe to tell


# ----------------------------------------------------------------------------------- parts, by themselves


def test_a_poller_of_the_parent() -> None:
    mine, other = socket.socketpair()
    seen: list[int] = []
    poller = SelectorPoller()
    poller.register(mine.fileno(), READ, seen.append)
    more, _ = extra = socket.socketpair()

    def work() -> str:
        poller.unregister(mine.fileno())
        poller.register(more.fileno(), READ, print)
        poller.modify(more.fileno(), 0, print)
        try:
            poller.poll(0)
        except StateError as error:
            return str(error)
        finally:
            poller.close()
        return ""

    assert "make another here" in in_child(work)
    other.send(b"x")
    assert poller.poll(SECONDS) == 1
    assert seen == [READ]
    poller.close()
    for sock in (mine, other, *extra):
        sock.close()


def test_sockets_and_links_of_the_parent(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("host", "stream", "dgram")]
    poller = SelectorPoller()
    host = SocketHost(poller)
    host.listen_unix(str(paths[0]), lambda accepted: None)  # type: ignore[arg-type, return-value] # nobody connects
    stream = StreamLink.listen(unix(str(paths[1])))
    dgram = DgramLink.open(unix(str(paths[2])), unix(str(tmp_path / "nobody")))

    class Sink:
        now = 0
        stats = Stats()

    for link in (stream, dgram):
        link.start(Sink(), poller)  # type: ignore[arg-type] # all of a sink that a link needs to start
    for close in (host.close, stream.close, dgram.close):
        in_child(close)
        assert all(path.exists() for path in paths)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(paths[1]))
        poller.poll(SECONDS)
        assert stream.connected
    for close in (host.close, stream.close, dgram.close):
        close()
    assert not any(path.exists() for path in paths)
    poller.close()


def test_a_stack_of_the_parent() -> None:
    host = SimHost(Random(1))
    stack = Stack(Config(hostfwd=["tcp::8080-:80"]), host)

    def work() -> int:
        stack.close()
        return len(stack.hostfwds())

    assert in_child(work) == 1
    stack.close()
    assert stack.hostfwds() == []


# ------------------------------------------------------------------------------------ multiprocessing


def makes_its_own(config: Config, answer: Any) -> None:
    """The work of a process that was handed a configuration."""
    frames: list[bytes] = []
    with Slirp(config) as net:
        net.attach(frames.append).send(ARP)
        answer.send((len(frames), str(net.config.host)))


def tries(net: Slirp, answer: Any) -> None:
    """The work of a process that inherited a network."""
    try:
        net.poll(0)
    except StateError as error:
        answer.send(str(error))
    net.close()


def run_process(context: Any, work: Callable[..., None], *arguments: Any) -> Any:
    receiving, sending = context.Pipe(False)
    process = context.Process(target=work, args=(*arguments, sending))
    process.start()
    sending.close()
    try:
        assert receiving.poll(60), "the process says nothing"
        return receiving.recv()
    finally:
        process.join(SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
        receiving.close()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing_hands_over_a_config(method: str) -> None:
    context = multiprocessing.get_context(method)
    config = Config(
        net="192.168.7.0/24",
        hostfwd=["tcp::0-:80"],
        policy=["allow any"],
        static_leases=["52:54:00:00:00:09=192.168.7.9"],
    )
    assert pickle.loads(pickle.dumps(config)) == config
    with Slirp() as net:
        net.start()
        # The question is for another address.
        assert run_process(context, makes_its_own, config) == (0, "192.168.7.2")
        assert net.flows() == []


def test_multiprocessing_with_fork_inherits_no_network() -> None:
    with Slirp(Config(hostfwd=["tcp::0-:80"])) as net:
        net.start()
        said = run_process(multiprocessing.get_context("fork"), tries, net)
        assert "belongs to process" in said
        assert len(net.hostfwds()) == 1


def test_a_network_cannot_be_handed_over() -> None:
    with Slirp() as net:
        for what in (
            net,
            net.attach(print),
            net.attach_link(CallbackLink(print)),
            net.serve("tcp:127.0.0.1:0"),
        ):
            with pytest.raises(StateError, match="cannot leave its process"):
                pickle.dumps(what)
        with pytest.raises(StateError, match="cannot leave its process"):
            run_process(multiprocessing.get_context("spawn"), tries, net)


@pytest.mark.skipif(
    sys.platform != "linux", reason="subprocess runs preexec_fn everywhere, but this test has fork's words"
)
def test_close_in_preexec_fn_spares_the_parent() -> None:
    import subprocess

    with Slirp(Config(hostfwd=["tcp::0-:80"])) as net:
        done = subprocess.run(["true"], preexec_fn=net.close, check=False)
        assert done.returncode == 0
        assert len(net.hostfwds()) == 1
        net.poll(0)


def test_a_program_that_never_closes_its_network_ends_without_a_word() -> None:
    """The interpreter takes things apart in any order at its end."""
    program = """
import weakref
from slirpy import Config, Slirp
net = Slirp(Config())
net.loop = net
keep = [net]
keep.append(keep)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
