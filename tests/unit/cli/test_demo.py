"""``slirpy demo``, with a small file, on the loopback."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import threading
import time

import pytest
from click.testing import CliRunner, Result

from slirpy.cli import demo as module
from slirpy.cli import demo_servers
from slirpy.cli.app import app
from slirpy.testing import Guest
from tests.support.repository import REPOSITORY
from tests.support.waiting import until


def demo(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, ["demo", *arguments], prog_name="slirpy", env=env)


@pytest.fixture(autouse=True)
def _no_threads_left() -> object:
    before = threading.active_count()
    yield
    until(lambda: threading.active_count() <= before, lambda: time.sleep(0.01), "threads are left")
    assert threading.active_count() == before


def test_the_demo_works_and_reports_its_steps() -> None:
    result = demo("--size", "2")
    assert (result.exit_code, result.stderr) == (0, "")
    steps = re.findall(r"^ ?\d+\.\d\d s  (\w+) +(.*)$", result.stdout, re.MULTILINE)
    assert [name for name, _ in steps] == ["DHCP", "ping", "DNS", "TCP", "HTTP", "check", "done"]
    said = dict(steps)
    assert said["DHCP"] == "10.0.2.15/24 for 24 h; router 10.0.2.2, DNS 10.0.2.3, MTU 1500"
    assert said["ping"].startswith("10.0.2.2: 3 of 3 replies, ")
    assert re.match(r"web\.slirpy\.test is 10\.0\.2\.2, says 127\.0\.0\.1:\d+ after [\d.]+ ms$", said["DNS"])
    assert re.search(r": 2\.0 MiB in \d+\.\d\d s, \d+ Mbit/s$", said["HTTP"])
    assert re.match(r"sha256 [0-9a-f]{16}", said["check"])
    assert "every checksum right" in said["done"]


def test_the_demo_draws_the_connection_and_the_tables() -> None:
    text = demo("--size", "2").stdout
    ladder = text[text.index("The connection") : text.index("Counters")].splitlines()
    assert "SYN seq=0 mss=1460 wscale=5 sackOK TS" in ladder[2]
    assert "SYN,ACK seq=0 ack=1" in ladder[3]
    assert "ACK seq=1 ack=1" in ladder[4]
    assert re.search(r"⋮ +\d+ more packets +⋮", ladder[8])
    assert sum("FIN" in line for line in ladder) == 2
    flows = text[text.index("Flows, half-way") :].splitlines()
    assert re.match(r"tcp +[A-Z0-9-]+ +10\.0\.2\.15:\d+ +-> +10\.0\.2\.2:\d+", flows[3])
    for counter in ("frames_in", "icmp_echo_replies", "tcp_flows", "dhcp_ack", "dns_answers"):
        assert re.search(rf"^{counter} +[1-9]", text, re.MULTILINE)
    assert "drop_" not in text


def test_the_demo_fits_80_columns_without_trailing_spaces() -> None:
    lines = demo("--size", "1", env={"COLUMNS": "80"}).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line != line.rstrip()] == []


def test_as_a_program_without_warnings_and_in_plain_ascii() -> None:
    result = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-m", "slirpy", "demo", "--size", "1"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.isascii()
    assert "|-- SYN seq=0" in result.stdout


def test_on_a_terminal() -> None:
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "slirpy", "demo", "--size", "1"],
        cwd=REPOSITORY,
        stdout=follower,
        stderr=follower,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "80", "NO_COLOR": ""},
    )
    os.close(follower)
    written = b""
    try:
        while chunk := os.read(leader, 65536):
            written += chunk
    except OSError:
        pass  # the other end is closed
    os.close(leader)
    assert process.wait(timeout=30) == 0
    assert b"every checksum right" in written
    assert b"\x1b[" in written


# ------------------------------------------------------------------------------------------- failures


def failure(monkeypatch: pytest.MonkeyPatch) -> str:
    """Run with little patience; the line that it fails with."""
    monkeypatch.setattr(module, "STEP_LIMIT", 0.3)
    result = demo("--size", "1")
    assert result.exit_code == 1
    assert result.stderr.startswith("slirpy demo: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_no_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Guest, "input", lambda *arguments: None)
    assert "no DHCP lease within 0.3 seconds" in failure(monkeypatch)


def test_the_name_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_servers, "NAME", "other.test")
    assert "web.slirpy.test was not found: NXDOMAIN" in failure(monkeypatch)


def test_the_download_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    class Damaged(demo_servers.WebServer):
        def __init__(self, size: int) -> None:
            super().__init__(size)
            self.content = self.content[:-1] + bytes((self.content[-1] ^ 1,))

    monkeypatch.setattr(module, "WebServer", Damaged)
    assert "not what the server has" in failure(monkeypatch)


def test_the_server_says_no(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = demo_servers._WebHandler
    monkeypatch.setattr(handler, "do_GET", lambda self: self.send_error(503))
    assert "the HTTP server says: HTTP/1.1 503" in failure(monkeypatch)


def test_the_server_stops_halfway(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = threading.Event()

    def send_half(self: demo_servers._WebHandler) -> None:
        assert isinstance(self.server, demo_servers.WebServer)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content[: 1 << 19])
        stopped.wait(10)

    monkeypatch.setattr(demo_servers._WebHandler, "do_GET", send_half)
    try:
        assert "no more of the download within 0.3 seconds" in failure(monkeypatch)
    finally:
        stopped.set()


def test_nothing_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(demo_servers.WebServer):
        def server_activate(self) -> None:
            """Bound, but not listening."""

        def serve_forever(self, poll_interval: float = 0.5) -> None:
            """A selector would see a socket that does not listen as readable."""

        def shutdown(self) -> None:
            """Do not run anything."""

    monkeypatch.setattr(module, "WebServer", Closed)
    assert "Connection refused" in failure(monkeypatch)


def test_no_port_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object) -> None:
        raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr(demo_servers.WebServer, "server_bind", refuse)
    assert "127.0.0.1: Address already in use" in failure(monkeypatch)


@pytest.mark.parametrize("size", ["0", "-1", "x", "5000"])
def test_a_bad_size_is_a_mistake_of_the_caller(size: str) -> None:
    result = demo("--size", size)
    assert result.exit_code == 2
    assert "--size" in result.stderr
