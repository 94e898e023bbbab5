"""Sight of the other side when one side dies in mid-transfer: a reset or an end, at once."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.repository import REPOSITORY
from tests.system.user import User

pytestmark = pytest.mark.system
Need = Callable[..., None]

AT_ONCE = 15.0
WEBSERVER = [sys.executable, str(REPOSITORY / "tests/system/webserver.py")]


class Flood:
    """A server of the host that sends to its one client without end, and notes when and how that ended."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(30)
        self.port = self._server.getsockname()[1]
        self.flowing = threading.Event()
        self.ended = threading.Event()
        self.error: OSError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            client, _ = self._server.accept()
            with client:
                client.settimeout(30)
                while True:
                    client.sendall(bytes(1 << 16))
                    self.flowing.set()
        except OSError as error:
            self.error = error
        self.ended.set()

    def close(self) -> None:
        self._server.close()
        self._thread.join(35)


@pytest.fixture
def flood() -> Iterator[Flood]:
    server = Flood()
    yield server
    server.close()


def test_the_guest_s_process_is_killed(user: User, need: Need, flood: Flood) -> None:
    need("curl")
    script = f"curl -s http://10.0.2.2:{flood.port}/ --http0.9 -o /dev/null & read x; kill -9 $!; sleep 1000"
    with user.start("run", "--", "sh", "-c", script) as process:
        assert flood.flowing.wait(20)
        assert process.stdin is not None
        process.stdin.write("\n")
        assert flood.ended.wait(AT_ONCE)
    assert isinstance(flood.error, ConnectionError)


def test_slirpy_is_killed(user: User, need: Need, flood: Flood) -> None:
    need("curl")
    command = ["curl", "-s", f"http://10.0.2.2:{flood.port}/", "--http0.9", "-o", "/dev/null"]
    with user.start("run", "--", *command) as process:
        assert flood.flowing.wait(20)
        process.kill()
        assert flood.ended.wait(AT_ONCE)
    assert isinstance(flood.error, ConnectionError)


def test_the_command_ends_with_a_transfer_in_the_background(user: User, need: Need, flood: Flood) -> None:
    need("curl")
    script = f"curl -s http://10.0.2.2:{flood.port}/ --http0.9 -o /dev/null & read x; exit 4"
    with user.start("run", "--", "sh", "-c", script) as process:
        assert flood.flowing.wait(20)
        process.communicate("\n", timeout=10)
        assert process.returncode == 4
        assert flood.ended.wait(AT_ONCE)
    assert isinstance(flood.error, ConnectionError)


def test_the_server_is_killed(user: User, need: Need) -> None:
    need("curl")
    server = subprocess.Popen([*WEBSERVER, "127.0.0.1", "0"], stdout=subprocess.PIPE, text=True)
    with server:
        assert server.stdout is not None
        url = f"http://10.0.2.2:{server.stdout.readline().strip()}/drip"
        try:
            with user.start("run", "--", "sh", "-c", f"curl -sN {url}; echo $?") as process:
                assert process.stdout is not None
                assert process.stdout.read(5) == "....."
                server.kill()
                begun = time.monotonic()
                status = process.stdout.readline().strip(".\n")
                assert time.monotonic() - begun < AT_ONCE
                assert status in ("18", "56")  # curl: partial file; or failure in receiving, which is a reset
        finally:
            server.kill()


@contextmanager
def client_of_a_forward(user: User) -> Iterator[tuple[subprocess.Popen[str], socket.socket]]:
    """slirpy with a server inside, and a client outside in the middle of a download."""
    script = '"$@" & read x; kill -9 $!; sleep 1000'
    program = ["sh", "-c", script, "sh", *WEBSERVER, "0.0.0.0", "80"]
    with user.start("run", "--hostfwd", "tcp::0-:80", "--", *program) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        told = re.match(r"hostfwd tcp 127\.0\.0\.1:(\d+) ", process.stderr.readline())
        assert told is not None
        assert process.stdout.readline() == "80\n"
        with socket.create_connection(("127.0.0.1", int(told[1])), 20) as client:
            client.sendall(b"GET /drip HTTP/1.1\r\nHost: x\r\n\r\n")
            received = b""
            while b"\r\n\r\n..." not in received:
                received += client.recv(4096)
            yield process, client


def seconds_to_the_end(client: socket.socket) -> float:
    """Time until the connection ends or is reset."""
    begun = time.monotonic()
    client.settimeout(20)
    try:
        while client.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return time.monotonic() - begun


def test_a_server_behind_a_forward_is_killed(user: User) -> None:
    with client_of_a_forward(user) as (process, client):
        assert process.stdin is not None
        process.stdin.write("\n")
        assert seconds_to_the_end(client) < AT_ONCE


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_slirpy_behind_a_forward_ends(user: User, number: signal.Signals) -> None:
    with client_of_a_forward(user) as (process, client):
        process.send_signal(number)
        assert seconds_to_the_end(client) < AT_ONCE
        assert process.wait(10) in (-signal.SIGKILL, 128 + signal.SIGTERM)
