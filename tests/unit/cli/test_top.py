"""``--top``: what is drawn, when, and where not."""

from __future__ import annotations

import errno
import io
import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from rich.console import Console

from slirpy import Config, ConfigError, FlowInfo, Slirp
from slirpy.cli.tables import flow_table
from slirpy.cli.top import INTERVAL, Top, busiest, summary
from slirpy.config.text import with_port
from tests.support.driven import Driven


def flow(port: int, moved: int) -> FlowInfo:
    guest, host = (IPv4Address("10.0.2.15"), port), (IPv4Address("192.0.2.1"), 80)
    return FlowInfo("tcp", "ESTABLISHED", guest, host, False, moved, 0, 1, 1, 0, 0, 1.0, 0.0)


def test_the_busiest_flow_comes_first() -> None:
    first, before = busiest([flow(1, 5000), flow(2, 100), flow(3, 0)], {})
    assert [each.guest[1] for each in first] == [1, 2, 3]
    second, _ = busiest([flow(1, 5000), flow(2, 101), flow(3, 50), flow(4, 7)], before)
    assert [each.guest[1] for each in second] == [3, 4, 2, 1]


def test_the_first_line() -> None:
    assert summary(3, 2, 2048.4, 10, 7) == "3 flows, 2 leases    in 2.0 KiB/s    out 10 B/s    7 dropped"


LONG = "2001:db8:1234:5678:9abc:def0:1234:5678"


@pytest.mark.parametrize(
    ("host", "width", "wide"),
    [("192.0.2.1", 114, False), ("192.0.2.1", 125, True), (LONG, 130, False), (LONG, 160, True)],
)
def test_addresses_of_both_families_in_full(host: str, width: int, wide: bool) -> None:
    """Wide columns are left out if the addresses need the room."""
    six = FlowInfo(
        "tcp", "ESTABLISHED", (IPv6Address("fec0::5054:ff:fe12:3456"), 65535), (ip_address(host), 443), False,
        123_456, 1 << 30, 1000, 2000, 0, 0, 12.5, 0.0,
    )  # fmt: skip
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as capture:
        console.print(flow_table([six, flow(1, 5000)], width))
    heading, _, *rows = capture.get().splitlines()
    assert ("packets in" in heading) is wide
    text = re.sub(r"\s+", " ", " ".join(rows))
    assert f"[fec0::5054:ff:fe12:3456]:65535 -> {with_port(host, 443)}" in text


def test_without_a_terminal_it_is_refused() -> None:
    with Slirp(Config(resolvers=[])) as net, pytest.raises(ConfigError, match="no terminal here; use --stats"):
        Top(net, io.StringIO())


class Screen:
    """A terminal and what was written to it."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        os.set_blocking(self.master, False)
        self.file = os.fdopen(slave, "w", encoding="utf-8")

    def text(self) -> str:
        """Text that has come since the last call."""
        self.file.flush()
        parts = []
        while True:
            try:
                parts.append(os.read(self.master, 65536))
            except BlockingIOError:
                return b"".join(parts).decode()

    def close(self) -> None:
        self.file.close()
        os.close(self.master)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "12")
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    yield screen
    screen.close()


def test_a_picture_every_second(screen: Screen) -> None:
    now = 100.0
    with Slirp(Config(resolvers=[])) as net:
        driven = Driven(net)
        with Top(net, screen.file, clock=lambda: now) as top:
            assert top.look() == INTERVAL
            assert "0 flows, 0 leases" in screen.text()
            sockets = [driven.guest.udp() for _ in range(20)]
            for number, socket in enumerate(sockets):
                socket.send(bytes(10 * (number + 1)), "10.0.2.2", 9)
            driven.until(lambda: len(net.flows()) == 20)
            assert top.look() == INTERVAL
            assert screen.text() == ""  # not yet
            now += 0.75
            assert top.look() == 0.25
            now += 0.25
            assert top.look() == INTERVAL
            text = screen.text()
            assert "20 flows" in text
            assert "and 14 more" in text  # twelve lines, six of them beside the flows
            assert "200 B" in text
            assert re.search(r"\b150 B", text)
            assert not re.search(r"\b140 B", text)
            assert len([line for line in text.splitlines() if "udp" in line]) == 6


@pytest.mark.parametrize("columns", [40, 79, 100, 130, 200])
@pytest.mark.parametrize("lines", [8, 12, 40])
def test_flows_of_several_lines_fit_the_terminal(
    columns: int, lines: int, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", str(lines))
    many = [
        FlowInfo(
            "tcp", "ESTABLISHED", (IPv6Address(LONG), port), (IPv6Address(LONG), 443), False,
            123_456, 1 << 30, 1000, 2000, 0, 0, 12.5, 0.0,
        )
        for port in range(50_001, 50_101)
    ]  # fmt: skip
    with Slirp(Config(resolvers=[])) as net:
        top = Top(net, screen.file, clock=lambda: 5.0)
        monkeypatch.setattr(net, "flows", lambda: many)
        with top._console.capture() as capture:
            top._console.print(top._picture(6.0))
    drawn = capture.get().splitlines()
    shown = sum(line.startswith("tcp") for line in drawn)
    assert len(drawn) < lines or shown == 1
    if columns == 200:  # each takes one line
        assert shown == lines - 6
    *_, last = drawn
    assert last.split() == ["and", str(100 - shown), "more"]


def test_the_end_of_the_terminal_is_not_the_end_of_the_network(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Slirp(Config(resolvers=[])) as net:
        top = Top(net, screen.file, clock=lambda: 5.0)

        def broken(*arguments: object, **more: object) -> None:
            raise BrokenPipeError(errno.EPIPE, "broken")

        monkeypatch.setattr(top._live, "update", broken)
        assert [top.look(), top.look()] == [INTERVAL, INTERVAL]


def test_on_the_command_line(tmp_path: object) -> None:
    argv = [sys.executable, "-m", "slirpy", "listen", "--top", f"unix:{tmp_path}/socket"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "slirpy: --top draws on standard error, which is no terminal here; use --stats"
    ]
    master, slave = pty.openpty()
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=slave, text=True)
    os.close(slave)
    seen = b""
    try:
        while b"0 flows, 0 leases" not in seen:
            assert select.select([master], [], [], 30)[0], seen
            seen += os.read(master, 65536)
    finally:
        process.terminate()
        assert process.wait(30) == -15
        os.close(master)
