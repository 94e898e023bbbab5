"""Bulk transfers, equal to the byte, and what they cost in memory.

64 MiB each; a whole one when the environment has SLIRPY_FULL set.
"""

from __future__ import annotations

import os
import re
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import pytest

from tests.support.extent import THOROUGH
from tests.support.repository import REPOSITORY
from tests.system.user import User
from tests.system.webserver import WebServer, digest, pieces

pytestmark = pytest.mark.system
Need = Callable[..., None]

MIB = 1 << 20
SIZE = (1024 if THOROUGH else 64) * MIB
PEAK_LIMIT = 80 * MIB
IDLE_LIMIT = 16 * MIB
SECONDS = 240


def memory(pid: int, field: str) -> int:
    """``VmHWM`` (the peak) or ``VmRSS`` (now) of a process, in bytes."""
    match = re.search(rf"^{field}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1]) * 1024


def line(process: subprocess.Popen[str], seconds: float = SECONDS) -> str:
    """The next line of a process's output."""
    assert process.stdout is not None
    assert process.stderr is not None
    # select() would not see a line that was read together with the one before.
    timer = Timer(seconds, process.kill)
    timer.start()
    try:
        text = process.stdout.readline()
    finally:
        timer.cancel()
    assert text, process.stderr.read()
    return text.strip()


@pytest.fixture(scope="module")
def upload() -> Iterator[Path]:
    """A file of SIZE bytes, with the content of the server's ``/bytes/SIZE``."""
    path = Path(f"/tmp/slirpy-test-upload-{os.getpid()}")
    with path.open("wb") as file:
        file.writelines(pieces(SIZE))
    yield path
    path.unlink()


def transfer(user: User, script: str, *options: str, answers: int) -> list[str]:
    """Run a script that writes ``answers`` lines; checks slirpy's peak of memory before it ends."""
    with user.start("run", *options, "--", "sh", "-c", f"{script}; read end") as process:
        seen = [line(process) for _ in range(answers)]
        assert memory(process.pid, "VmHWM") < PEAK_LIMIT
        process.communicate("\n", timeout=30)
        assert process.returncode == 0
    return seen


def test_download(user: User, need: Need, web: WebServer) -> None:
    need("curl", "sha256sum")
    (told,) = transfer(user, f"curl -sf http://10.0.2.2:{web.port}/bytes/{SIZE} | sha256sum", answers=1)
    assert told.split()[0] == digest(SIZE)


def test_upload(user: User, need: Need, web: WebServer, upload: Path) -> None:
    need("curl")
    told = transfer(user, f"curl -sf -T {upload} http://10.0.2.2:{web.port}/ && echo", answers=1)
    assert told == [digest(SIZE)]


@pytest.mark.long
def test_four_downloads_and_four_uploads_in_parallel(
    slirpy: User, need: Need, web: WebServer, upload: Path
) -> None:
    need("curl", "sha256sum")
    part = SIZE // 4
    smaller = upload.with_suffix(".part")
    with upload.open("rb") as whole, smaller.open("wb") as file:
        file.write(whole.read(part))
    url = f"http://10.0.2.2:{web.port}"
    down = f"(curl -sf {url}/bytes/{part} | sha256sum | cut -c 1-64) &"
    up = f'(sum=$(curl -sf -T {smaller} {url}/) && echo "$sum") &'  # a line at a time: there are eight of us
    try:
        told = transfer(slirpy, f"{down * 4} {up * 4} wait", answers=8)
    finally:
        smaller.unlink()
    assert told == [digest(part)] * 8


@contextmanager
def served_from_inside(user: User) -> Iterator[tuple[int, int]]:
    """An HTTP server in the namespace behind a forward: slirpy's process id, and the port of the host."""
    program = [sys.executable, str(REPOSITORY / "tests/system/webserver.py"), "0.0.0.0", "80"]
    with user.start("run", "--hostfwd", "tcp::0-:80", "--", *program) as process:
        assert process.stderr is not None
        told = re.match(r"hostfwd tcp 127\.0\.0\.1:(\d+) ", process.stderr.readline())
        assert told is not None
        assert line(process) == "80"
        yield process.pid, int(told[1])


def test_through_a_forward_both_ways(user: User, need: Need, upload: Path) -> None:
    need("curl", "sha256sum")
    with served_from_inside(user) as (pid, port):
        url = f"http://127.0.0.1:{port}"
        for command in (f"curl -sf {url}/bytes/{SIZE} | sha256sum", f"curl -sf -T {upload} {url}/"):
            result = subprocess.run(
                ["sh", "-c", command], capture_output=True, text=True, timeout=SECONDS, check=True
            )
            assert result.stdout[:64] == digest(SIZE)
        assert memory(pid, "VmHWM") < PEAK_LIMIT


def test_four_through_a_forward_in_parallel(slirpy: User, need: Need) -> None:
    need("curl", "sha256sum")
    part = SIZE // 4
    with served_from_inside(slirpy) as (pid, port):
        one = f"(curl -sf http://127.0.0.1:{port}/bytes/{part} | sha256sum | cut -c 1-64) &"
        result = subprocess.run(
            ["sh", "-c", f"{one * 4} wait"], capture_output=True, text=True, timeout=SECONDS, check=True
        )
        assert memory(pid, "VmHWM") < PEAK_LIMIT
    assert result.stdout.split() == [digest(part)] * 4


@pytest.mark.long
def test_a_thousand_idle_connections(slirpy: User) -> None:
    count = 1000
    program = (
        "import resource, socket, sys\n"
        "soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "assert soft == 256, soft\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))\n"
        "address = ('10.0.2.2', int(sys.argv[1]))\n"
        "def connect(): s = socket.create_connection(address, 30); assert s.recv(1) == b'x'; return s\n"
        "kept = [connect()]; print('one', flush=True); input()\n"
        f"kept += [connect() for _ in range({count})]; print('many', flush=True); input()\n"
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))  # for slirpy, which has to raise it
    peers: list[socket.socket] = []
    try:
        with (
            socket.create_server(("127.0.0.1", 0), backlog=128) as server,
            slirpy.start("run", sys.executable, "-c", program, str(server.getsockname()[1])) as process,
        ):
            assert process.stdin is not None
            server.settimeout(30)
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

            def accept() -> None:
                peer, _ = server.accept()
                peer.send(b"x")
                peers.append(peer)

            accept()
            assert line(process) == "one"
            before = memory(process.pid, "VmRSS")
            process.stdin.write("\n")
            for _ in range(count):
                accept()
            assert line(process) == "many"
            assert memory(process.pid, "VmRSS") - before < IDLE_LIMIT
            process.communicate("\n", timeout=30)
            assert process.returncode == 0
    finally:
        for peer in peers:
            peer.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
