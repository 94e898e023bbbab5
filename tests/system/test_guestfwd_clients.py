"""Guestfwd with real programs at both ends; and a Python web application that listens nowhere, asked by curl."""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slirpy import Config, FlowRequest, GuestForward, Slirp
from slirpy.links import TapLink, open_tap
from tests.system.user import User
from tests.system.webserver import WebServer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

pytestmark = pytest.mark.system
Need = Callable[..., None]
NO_RESOLVER = ("--dns", "127.0.0.1:9")
CLONE_NEWNET = 0x40000000


def counter(stderr: str, name: str) -> int:
    match = re.search(rf"^{name} +(\d+)", stderr, re.MULTILINE)
    return int(match[1]) if match else 0


@pytest.mark.client("socat", "cmd: echo", "cmd: half-close", "unix:", service="guestfwd")
def test_commands_and_unix_sockets(user: User, need: Need, folder: Path) -> None:
    need("socat", "sha256sum", "seq")
    path = str(folder / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        os.chmod(path, 0o777)
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(60)
                got = b"".join(iter(lambda: connection.recv(65536), b""))
                connection.sendall(got[::-1])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        script = """
            echo hello | socat - TCP:10.0.2.100:1
            head -c 5000000 /dev/zero | socat -t 30 - TCP:10.0.2.100:2
            echo olleh | socat -t 30 - TCP:10.0.2.100:3
            socat -u /dev/null TCP:10.0.2.100:4 2>&1 | grep -o 'Connection refused'
        """
        result = user.run(
            "run", *NO_RESOLVER, "--stats",
            "--guestfwd", "tcp:10.0.2.100:1-cmd:cat",
            "--guestfwd", "tcp:10.0.2.100:2-cmd:sha256sum",
            "--guestfwd", f"tcp:10.0.2.100:3-unix:{path}",
            "--guestfwd", "tcp:10.0.2.100:4-unix:/nonexistent",
            "--", "sh", "-c", script,
        )  # fmt: skip
        thread.join(10)
    expected = hashlib.sha256(bytes(5_000_000)).hexdigest()
    assert result.stdout.split("\n") == ["hello", f"{expected}  -", "", "helloConnection refused", ""], result
    assert counter(result.stderr, "guestfwd_flows") == 4
    assert counter(result.stderr, "guestfwd_failed") == 1


@pytest.mark.client("curl", "tcp:", "wildcards", "address outside of the network", service="guestfwd")
def test_wildcards_answer_for_the_world(user: User, need: Need, web: WebServer) -> None:
    need("curl")
    rule = f"tcp:*:*-tcp:127.0.0.1:{web.port}"
    urls = ["http://192.0.2.1/", "http://198.51.100.7:8080/", "http://10.0.2.2:5/"]
    script = "; ".join(f"curl -sf -m 20 {url}" for url in urls)
    result = user.run("run", *NO_RESOLVER, "--guestfwd", rule, "--", "sh", "-c", script)
    assert result.stdout == "hello from the server\n" * 3, result
    assert result.stderr == ""


@pytest.mark.long
@pytest.mark.client("Python's socket", "1,000 connections", service="guestfwd")
def test_a_thousand_connections_to_a_command(slirpy: User, need: Need) -> None:
    """More than may run at once: each has its turn, and none stays."""
    # In the order of their turns: a SYN that the interface drops on a busy machine comes a second later.
    code = """
import select, socket
streams, poll = {}, select.poll()
for number in range(1000):
    stream = socket.socket()
    stream.setblocking(False)
    stream.connect_ex(("10.0.2.100", 7))
    streams[stream.fileno()] = stream
    poll.register(stream, select.POLLOUT)
total = 0
while streams and (ready := poll.poll(30_000)):
    for number, _ in ready:
        poll.unregister(number)
        stream = streams.pop(number)
        stream.settimeout(30)
        stream.sendall(b"x")
        stream.shutdown(socket.SHUT_WR)
        total += len(stream.recv(10))
        stream.close()
print(total)
"""
    rule = "tcp:10.0.2.100:7-cmd:cat"
    result = slirpy.run("run", *NO_RESOLVER, "--stats", "--guestfwd", rule, "--", sys.executable, "-c", code)
    assert result.stdout == "1000\n", result
    assert counter(result.stderr, "guestfwd_flows") == 1000
    assert counter(result.stderr, "guestfwd_refused") == 0
    assert counter(result.stderr, "guestfwd_broken") == 0


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("tcp:10.0.2.100:7-cmd:/no/such/program", 'the program "/no/such/program" is not installed'),
        ("tcp:10.0.2.15:7-cmd:cat --", ""),
        ("tcp:10.0.2.100:7", "malformed"),
        ("tcp:10.0.2.255:7-cmd:cat", "no address that a server can have"),
    ],
)
def test_an_impossible_rule_is_refused_at_the_start(slirpy: User, rule: str, says: str) -> None:
    result = slirpy.run("run", *NO_RESOLVER, "--guestfwd", rule, "--", "echo", "started")
    if says:
        assert (result.returncode, result.stdout) == (2, "")
        assert says in result.stderr
        assert len(result.stderr.splitlines()) == 1
    else:  # a server may stand where guests would: they get other addresses
        assert result.stdout == "started\n", result.stderr


# ------------------------------------------------------------------------------- applications in Python


@contextmanager
def served() -> Iterator[tuple[Slirp, Callable[..., str]]]:
    """A network whose guest is a namespace of the kernel's, and what runs a program there."""
    holder = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo ready; read end"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    path = f"/proc/{holder.pid}/ns/net"
    descriptors: list[int] = []

    def inside() -> None:  # a thread may live in another network than its process
        with open(path) as namespace:
            assert ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) == 0
        descriptors.append(open_tap("tap0")[0])

    def run(*argv: str) -> str:
        done = subprocess.run(
            ["nsenter", f"--net={path}", *argv], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done
        return done.stdout

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    for command in (
        "link set lo up", "address add 10.0.2.15/24 dev tap0", "link set tap0 up", "route add default via 10.0.2.2",
    ):  # fmt: skip
        run("ip", *command.split())
    with Slirp(Config(resolvers=[])) as net:
        net.attach_link(TapLink(descriptors[0], 1500))
        net.start()
        yield net, run
    holder.communicate(b"\n")


def page(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    digest = hashlib.sha256(environ["wsgi.input"].read()).hexdigest()
    return [f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} {digest}\n".encode(), bytes(5_000_000)]


async def events(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for number in range(3):
        await asyncio.sleep(0.01)
        text = f"{scope['path']} {number}\n".encode()
        await send({"type": "http.response.body", "body": text, "more_body": number < 2})


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root on Linux")
@pytest.mark.client("curl", "WSGI application", "ASGI application", service="guestfwd")
@pytest.mark.client("socat", "asyncio handler", "thread handler", service="guestfwd")
def test_python_in_the_network(need: Need, folder: Path) -> None:
    need("curl", "ip", "nsenter", "unshare", "socat")
    sent = os.urandom(3_000_000)
    (folder / "body").write_bytes(sent)

    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for line in reader:
            writer.write(line.upper())

    def reverse(connection: socket.socket, flow: FlowRequest) -> None:
        connection.sendall(b"".join(iter(lambda: connection.recv(65536), b""))[::-1])

    with served() as (net, run):
        net.mount(page, "10.0.2.80")
        net.mount(events, "192.0.2.80", 8000)
        net.add_guestfwd(GuestForward("10.0.2.100", 1, shout))
        net.add_guestfwd(GuestForward("10.0.2.100", 2, reverse))
        curl = ("curl", "-sSf", "-m", "30")
        out = run(*curl, "-o", str(folder / "answer"), "-T", str(folder / "body"), "http://10.0.2.80/a/page")
        assert out == ""
        head, rest = (folder / "answer").read_bytes().split(b"\n", 1)
        assert head.decode() == f"PUT /a/page {hashlib.sha256(sent).hexdigest()}"
        assert rest == bytes(5_000_000)
        assert run(*curl, "http://192.0.2.80:8000/x") == "/x 0\n/x 1\n/x 2\n"
        # Two of the connections are kept.
        several = run(*curl, "-w", "%{num_connects}\n", *["http://192.0.2.80:8000/y"] * 3)
        assert re.findall(r"^\d$", several, re.MULTILINE) == ["1", "0", "0"]
        assert run("sh", "-c", "echo hello | socat -t 30 - TCP:10.0.2.100:1") == "HELLO\n"
        assert run("sh", "-c", "printf hello | socat -t 30 - TCP:10.0.2.100:2") == "olleh"
        assert net.stats.guestfwd_failed == net.stats.guestfwd_broken == 0
