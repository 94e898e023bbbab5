"""Targets at the end of a guestfwd rule, each for real: commands, Unix sockets, threads, asyncio handlers."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from slirpy import Config, FlowRequest, ForwardError, GuestForward, Slirp
from slirpy.interfaces import IPProtocol
from slirpy.paths import PATH_MAX
from slirpy.targets import commands, localstream, tasks, threads, unix
from slirpy.testing import Guest
from tests.support.driven import Driven

SERVER = "10.0.2.100"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes by /proc")


def serve(driven: Driven, target: Any, port: int = 7, server: str | None = SERVER) -> None:
    driven.net.add_guestfwd(GuestForward(server, port, target))


def children() -> set[int]:
    """Children of this process, zombies too."""
    found: set[int] = set()
    for path in Path("/proc/self/task").glob("*/children"):
        try:
            found.update(map(int, path.read_text().split()))
        except OSError:
            pass  # that thread has ended meanwhile
    return found


# ------------------------------------------------------------------------------------------- commands


def test_a_command_is_the_connection(driven: Driven) -> None:
    serve(driven, "cmd:tr a-z A-Z")
    before = children()
    stream = driven.exchange(SERVER, 7, b"hello " * 30_000)
    assert stream.received == b"HELLO " * 30_000
    assert not stream.error
    driven.until(lambda: children() == before, "the command was reaped")
    assert driven.net.stats.guestfwd_broken == 0


def test_each_connection_has_a_process_of_its_own(driven: Driven) -> None:
    serve(driven, "cmd:sh -c 'echo $$; cat'")
    streams = [driven.connect(SERVER, 7) for _ in range(3)]
    driven.until(lambda: all(b"\n" in stream.received for stream in streams))
    assert len({bytes(stream.received) for stream in streams}) == 3


def test_a_command_s_arguments_are_read_as_a_shell_does(driven: Driven) -> None:
    serve(driven, """cmd:printf '%s|' "two words" a\\ b '$HOME'""")
    assert driven.exchange(SERVER, 7).received == b"two words|a b|$HOME|"


def test_a_command_gets_the_addresses_in_its_environment(driven: Driven) -> None:
    serve(driven, "cmd:printenv PROTO TCPREMOTEIP TCPREMOTEPORT TCPLOCALIP TCPLOCALPORT", server=None)
    stream = driven.exchange("192.0.2.9", 7)
    assert stream.received.decode().split() == ["TCP", "10.0.2.15", str(stream.local_port), "192.0.2.9", "7"]


def test_a_command_that_ends_first(driven: Driven) -> None:
    serve(driven, "cmd:sh -c 'echo all; exit 3'")
    stream = driven.exchange(SERVER, 7, end=False)
    assert (bytes(stream.received), stream.error) == (b"all\n", 0)
    driven.until(lambda: driven.net.stats.guestfwd_broken == 1, "the exit status counts")


@pytest.mark.parametrize("kind", ["command", "thread", "task", "unread"])
def test_an_answer_is_whole_though_not_all_was_read(driven: Driven, kind: str) -> None:
    answer = b"an answer" * 1000

    def thread(connection: socket.socket, flow: FlowRequest) -> None:
        connection.sendall(answer)

    async def task(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    def unread(connection: socket.socket, flow: FlowRequest) -> None:
        while len(connection.recv(1000, socket.MSG_PEEK)) < 1000:
            pass
        connection.sendall(answer)

    command = "cmd:sh -c 'yes an answer | tr -d \"\\n\" | head -c 9000'"
    targets = {"command": command, "thread": thread, "task": task, "unread": unread}
    serve(driven, targets[kind])
    stream = driven.connect(SERVER, 7)
    stream.write(bytes(200_000))
    driven.until(lambda: stream.eof or stream.error)
    assert (bytes(stream.received), stream.error) == (answer, 0)
    stream.write(bytes(200_000))  # nobody is there, which is soon told to those who insist
    stream.write(bytes(2_000_000))
    driven.until(lambda: stream.error)


def test_a_command_that_is_killed_ends_the_connection(driven: Driven) -> None:
    serve(driven, "cmd:sh -c 'echo $$; exec sleep 100'")
    stream = driven.connect(SERVER, 7)
    driven.until(lambda: b"\n" in stream.received)
    os.kill(int(stream.received), signal.SIGKILL)
    driven.until(lambda: stream.eof or stream.error, "the guest hears of it")
    driven.until(lambda: driven.net.stats.guestfwd_broken == 1)


def test_a_reset_ends_the_command_and_its_children(driven: Driven, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(
        f"trap 'echo told >{tmp_path}/told; exit' TERM; sleep 100 & echo $! ; wait; echo went on"
    )
    serve(driven, f"cmd:sh {tmp_path}/script")
    before = children()
    stream = driven.connect(SERVER, 7)
    driven.until(lambda: b"\n" in stream.received)
    sleeper = int(stream.received)
    stream.abort()
    driven.until(lambda: children() == before, "the command's end")
    driven.until(lambda: not os.path.exists(f"/proc/{sleeper}") or zombie(sleeper), "the end of its child")
    assert (tmp_path / "told").read_text() == "told\n"
    assert driven.net.stats.guestfwd_broken == 0


def zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_one_that_ignores_that_is_killed(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "TERM_GRACE", 50_000_000)
    serve(driven, "cmd:sh -c 'trap \"\" TERM; echo ready; while :; do sleep 100; done'")
    before = children()
    stream = driven.connect(SERVER, 7)
    driven.until(lambda: b"ready" in stream.received)
    stream.abort()
    driven.until(lambda: children() == before, "SIGKILL")


def test_closing_the_network_ends_commands_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(localstream, "CLOSE_SECONDS", 0.1)
    before = children()
    with Slirp(
        Config(guestfwd=["tcp:10.0.2.100:7-cmd:sh -c 'trap \"\" TERM; echo ready; while :; do sleep 9; done'"])
    ) as net:
        driven = Driven(net)
        streams = [driven.connect(SERVER, 7) for _ in range(5)]
        driven.until(lambda: all(b"ready" in stream.received for stream in streams))
    assert children() == before


def test_signals_that_are_blocked_here_are_not_blocked_there(driven: Driven) -> None:
    """``slirpy run`` blocks most of them, and what is blocked stays so over fork and exec."""
    serve(driven, "cmd:grep SigBlk /proc/self/status")
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
    try:
        assert driven.exchange(SERVER, 7).received.split() == [b"SigBlk:", b"0" * 16]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def test_a_command_inherits_none_of_our_sockets(driven: Driven) -> None:
    serve(driven, "cmd:ls -l /proc/self/fd")
    held = driven.connect(SERVER, 7)
    text = driven.exchange(SERVER, 7).received.decode()
    sockets = [line.split()[-1] for line in text.splitlines() if "socket:" in line]
    assert len(sockets) == 2, text  # input and output, which are the same
    assert len(set(sockets)) == 1
    assert "eventpoll" not in text
    held.abort()


@pytest.mark.long
def test_many_connections_are_few_processes(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(localstream, "WAITING_MAX", 200)
    before = children()
    serve(driven, "cmd:cat")
    most = 0
    streams = [driven.guest.connect(SERVER, 7) for _ in range(300)]

    def look() -> bool:
        nonlocal most
        most = max(most, len(children() - before))
        return driven.net.stats.guestfwd_flows == 300

    driven.until(look)
    assert most == commands.PROCESSES
    assert sum(stream.established for stream in streams) <= commands.PROCESSES
    refused = 300 - 200 - commands.PROCESSES
    driven.until(lambda: sum(bool(stream.error) for stream in streams) == refused, "those beyond are refused")
    assert driven.net.stats.guestfwd_refused == refused
    for stream in streams[100:]:
        stream.abort()  # also while it waits
    alive = streams[:100]
    for stream in alive:
        if not stream.error:
            stream.write(b"x")
            stream.shutdown()
    driven.until(lambda: all(stream.eof for stream in alive), "each has its turn", 30)
    assert all(stream.received == b"x" for stream in alive)
    driven.until(lambda: children() == before, "none is left")


def test_a_command_that_vanishes_is_a_refusal(driven: Driven, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho here\n")
    program.chmod(0o755)
    serve(driven, f"cmd:{program}")
    assert driven.exchange(SERVER, 7).received == b"here\n"
    program.unlink()
    assert driven.connect(SERVER, 7).error == 111
    assert driven.net.stats.guestfwd_failed == 1


@pytest.mark.parametrize("name", ["/nonexistent/program", "no-such-program-anywhere"])
def test_a_missing_command_is_refused_at_the_start(name: str) -> None:
    with pytest.raises(ForwardError, match=f'guestfwd 10.0.2.100:7: the program "{name}" is not installed'):
        Slirp(Config(guestfwd=[f"tcp:10.0.2.100:7-cmd:{name} with arguments"]))


def test_one_that_is_not_executable(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    with pytest.raises(ForwardError, match="is not executable"):
        Slirp(Config(guestfwd=[f"tcp:10.0.2.100:7-cmd:{tmp_path}/text"]))


# ---------------------------------------------------------------------------------------- Unix sockets


def test_a_unix_socket(driven: Driven, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    serve(driven, f"unix:{path}")
    assert driven.connect(SERVER, 7).error == 111  # nobody listens yet
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        assert driven.connect(SERVER, 7).error == 111
        server.listen()
        stream = driven.connect(SERVER, 7)
        connection, _ = server.accept()
        with connection:
            stream.write(b"hello")
            stream.shutdown()
            driven.until(
                lambda: (
                    connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) if readable(connection) else b""
                )
            )
            assert connection.recv(100) == b"hello"
            connection.sendall(b"answer")
        driven.until(lambda: stream.eof)
        assert stream.received == b"answer"
    assert driven.net.stats.guestfwd_failed == 2


def readable(sock: socket.socket) -> bool:
    import select

    return bool(select.select([sock], [], [], 0)[0])


def test_a_unix_server_with_a_short_queue(driven: Driven, tmp_path: Path) -> None:
    """The kernel says EAGAIN while the queue is full, and nothing tells when it is not."""
    path = str(tmp_path / "socket")
    serve(driven, f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(1)
        streams = [driven.guest.connect(SERVER, 7) for _ in range(20)]
        server.settimeout(0)
        accepted: list[socket.socket] = []

        def accept() -> bool:
            try:
                accepted.append(server.accept()[0])
            except BlockingIOError:
                pass
            # A connection is established for its guest while it still waits in the queue.
            return len(accepted) == len(streams) and all(stream.established for stream in streams)

        driven.until(accept)
        for connection in accepted:
            connection.close()
        driven.until(lambda: all(stream.eof for stream in streams))


def test_one_that_stays_full_is_a_failure(
    driven: Driven, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unix, "BUSY_MAX", 100_000_000)
    path = str(tmp_path / "socket")
    serve(driven, f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(0)
        streams = [driven.guest.connect(SERVER, 7) for _ in range(5)]
        driven.until(lambda: all(stream.established or stream.error for stream in streams))
        assert driven.net.stats.guestfwd_failed >= 1
        assert any(stream.established for stream in streams)


@pytest.mark.parametrize(
    ("path", "says"),
    [("relative", "is not absolute"), ("/" + "x" * PATH_MAX, f"longer than the {PATH_MAX} bytes")],
)
def test_a_path_that_cannot_be(driven: Driven, path: str, says: str) -> None:
    with pytest.raises(ForwardError, match=says):
        serve(driven, f"unix:{path}")


# ------------------------------------------------------------------------------------------- threads


def test_a_callable_has_a_socket_and_the_flow(driven: Driven) -> None:
    seen: list[FlowRequest] = []

    def handler(connection: socket.socket, flow: FlowRequest) -> None:
        seen.append(flow)
        with connection.makefile("rwb") as file:
            for line in file:
                file.write(line[::-1])

    serve(driven, handler, server=None)
    stream = driven.exchange("192.0.2.9", 7, b"abc\nxyz\n")
    assert stream.received == b"\ncba\nzyx"
    (flow,) = seen
    assert (str(flow.source), flow.source_port) == ("10.0.2.15", stream.local_port)
    assert (str(flow.destination), flow.destination_port) == ("192.0.2.9", 7)


def test_a_callable_that_raises_is_a_reset(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    hooked: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", hooked.append)

    def handler(connection: socket.socket, flow: FlowRequest) -> None:
        connection.sendall(b"half an answer")
        raise ValueError("the other half")

    serve(driven, handler)
    stream = driven.exchange(SERVER, 7, end=False)
    assert stream.error == 104
    assert [type(args.exc_value) for args in hooked] == [ValueError]
    assert driven.net.stats.guestfwd_broken == 1


def test_threads_are_bounded(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slirpy.targets.threads.THREADS", 3)
    gate = threading.Event()
    running = most = 0

    def handler(connection: socket.socket, flow: FlowRequest) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        gate.wait(10)
        running -= 1
        connection.sendall(b"done")

    serve(driven, handler)
    streams = [driven.guest.connect(SERVER, 7) for _ in range(8)]
    driven.until(lambda: sum(stream.established for stream in streams) == 3)
    gate.set()
    driven.until(lambda: all(stream.eof for stream in streams))
    assert most == 3


def test_a_handler_notices_that_the_guest_is_gone(driven: Driven) -> None:
    ended = threading.Event()

    def handler(connection: socket.socket, flow: FlowRequest) -> None:
        try:
            while True:
                connection.sendall(bytes(65536))
        except OSError:
            ended.set()

    serve(driven, handler)
    stream = driven.connect(SERVER, 7)
    driven.until(lambda: stream.count > 100_000)
    stream.abort()
    driven.until(ended.is_set)


# ------------------------------------------------------------------------------------------- asyncio


async def upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data.upper())
        await writer.drain()
    address, port = writer.get_extra_info("sockname")
    guest, _ = writer.get_extra_info("peername")
    writer.write(f" {address}:{port} {guest}".encode())


def test_a_coroutine_function_without_a_loop_has_one_in_the_background(driven: Driven) -> None:
    serve(driven, upper)
    stream = driven.exchange(SERVER, 7, b"hello" * 50_000)
    assert stream.received == b"HELLO" * 50_000 + b" 10.0.2.100:7 10.0.2.15"
    assert any(thread.name == "slirpy-asyncio" for thread in threading.enumerate())
    driven.net.close()
    assert not any(thread.name == "slirpy-asyncio" for thread in threading.enumerate())


def test_a_handler_runs_in_the_loop_that_drives_the_network() -> None:
    async def main() -> None:
        loops: list[asyncio.AbstractEventLoop] = []

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            loops.append(asyncio.get_running_loop())
            await upper(reader, writer)

        async with Slirp(Config(guestfwd=[GuestForward(SERVER, 7, handler)])) as net:
            inbox: asyncio.Queue[bytes] = asyncio.Queue()
            guest = Guest(net.attach(inbox.put_nowait).send, random=Random(1), now=time.monotonic_ns())
            guest.configure("10.0.2.15", 24)
            stream = guest.connect(SERVER, 7)
            stream.write(b"x")
            stream.shutdown()
            async with asyncio.timeout(10):
                while not stream.eof:
                    guest.input(await inbox.get(), time.monotonic_ns())
            assert stream.received == b"X 10.0.2.100:7 10.0.2.15"
            assert loops == [asyncio.get_running_loop()]

    asyncio.run(main())


def test_tasks_in_the_user_s_loop_end_with_the_network() -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"here")
            try:
                await asyncio.sleep(100)
            finally:
                ended.set()

        async with Slirp(Config(guestfwd=[GuestForward(SERVER, 7, handler)])) as net:
            inbox: asyncio.Queue[bytes] = asyncio.Queue()
            guest = Guest(net.attach(inbox.put_nowait).send, random=Random(1), now=time.monotonic_ns())
            guest.configure("10.0.2.15", 24)
            stream = guest.connect(SERVER, 7)
            async with asyncio.timeout(10):
                while not stream.received:
                    guest.input(await inbox.get(), time.monotonic_ns())
        async with asyncio.timeout(10):
            await ended.wait()

    asyncio.run(main())


def test_a_task_that_raises_is_a_reset(driven: Driven) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        writer.write(b"half")
        await writer.drain()
        raise ValueError("the other half")

    told: list[Any] = []
    serve(driven, handler)
    stream = driven.exchange(SERVER, 7, end=False)
    assert stream.error == 104
    assert isinstance(told[0]["exception"], ValueError)
    assert driven.net.stats.guestfwd_broken == 1


def test_a_reset_cancels_the_task(driven: Driven) -> None:
    cancelled = threading.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    serve(driven, handler)
    driven.connect(SERVER, 7).abort()
    driven.until(cancelled.is_set)


def test_every_end_of_a_task_frees_its_place(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a long answer; and after a reset so early that the task has not run at all."""
    monkeypatch.setattr("slirpy.targets.tasks.TASKS", 1)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read()
        writer.write(data)

    serve(driven, handler)
    data = bytes(700_000)
    # More than the sockets hold when the handler returns.
    assert driven.exchange(SERVER, 7, data).received == data
    for _ in range(3):
        driven.guest.connect(SERVER, 7).abort()
        driven.connect(SERVER, 7).abort()
    assert driven.exchange(SERVER, 7, data).received == data


def test_a_task_that_is_cancelled_before_its_first_step(tmp_path: Path) -> None:
    """The program does not run then, and its socket is closed nevertheless."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("it was cancelled")

    flow = FlowRequest(IPProtocol.TCP, bytes(4), 1, bytes(4), 2)
    loop = asyncio.new_event_loop()
    ours, theirs = socket.socketpair()
    with ours:
        worker = tasks.TaskWorker(loop, handler, flow)
        worker.start(theirs)
        worker.hang_up(True, 0)
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.run_until_complete(asyncio.sleep(0))
        assert worker.ended(0)
        assert worker.failed
        assert ours.recv(1) == b""
    loop.close()


def test_closing_the_network_cancels_tasks() -> None:
    cancelled = threading.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"here")
        try:
            await asyncio.sleep(100)
        finally:
            cancelled.set()

    with Slirp(Config(guestfwd=[GuestForward(SERVER, 7, handler)])) as net:
        driven = Driven(net)
        stream = driven.connect(SERVER, 7)
        driven.until(lambda: stream.received == b"here")
    assert cancelled.is_set()


def test_an_object_with_an_async_call(driven: Driven) -> None:
    class Handler:
        async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"object")

    serve(driven, Handler())
    assert driven.exchange(SERVER, 7).received == b"object"


def test_workers_wait_for_each_kind_by_itself(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slirpy.targets.commands.PROCESSES", 1)
    serve(driven, "cmd:cat")
    serve(driven, upper, port=8)
    held = driven.connect(SERVER, 7)
    waiting = driven.guest.connect(SERVER, 7)
    assert driven.exchange(SERVER, 8, b"x").received.startswith(b"X")
    assert not waiting.established
    held.shutdown()
    driven.until(lambda: waiting.established)
    assert tasks.TASKS > threads.THREADS >= 1
