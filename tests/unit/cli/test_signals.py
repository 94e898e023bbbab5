"""Signals to commands that carry a network: they end in order, leave no socket, and one shows the tables."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.repository import environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
SLIRPY = [sys.executable, "-m", "slirpy"]
ENDING = [
    name
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGXCPU",
                 "SIGPOLL", "SIGPWR")
    if hasattr(signal, name)
]  # fmt: skip


@pytest.fixture(autouse=True)
def hangup() -> Iterator[None]:
    """Let SIGHUP end the programs, also where the tests themselves are run by nohup."""
    old = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, old)


@contextmanager
def started(*argv: str, stdin: int | None = None) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*SLIRPY, *argv],
        env=environment(),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str], ends: str) -> None:
    """Wait for a line on standard error, or on standard output."""
    for stream in (process.stdout, process.stderr):
        assert stream is not None
    pipe = process.stderr if ends.endswith("joined") else process.stdout
    assert pipe is not None
    for text in pipe:
        if text.rstrip().endswith(ends):
            return
    pytest.fail(f"ended with {process.wait()}")


def listen(folder: Path) -> tuple[list[str], str, list[Path]]:
    """A command line, the end of the line that says that it runs, and its sockets."""
    door, forward = folder / "net.sock", folder / "ssh.sock"
    return ["listen", "--hostfwd", f"unix:{forward}-:22", f"unix:{door}"], "netdev=slirpy0", [door, forward]


def switch(folder: Path) -> tuple[list[str], str, list[Path]]:
    door, forward = folder / "net.sock", folder / "ssh.sock"
    port = f"stream,server=on,addr.type=unix,addr.path={door}"
    argv = ["switch", "-netdev", f"user,hostfwd=unix:{forward}-:22", "-netdev", port]
    return argv, "ports are joined", [door, forward]


def qemu(folder: Path) -> tuple[list[str], str, list[Path]]:
    forward = folder / "ssh.sock"
    guest = "import signal, time; signal.signal(2, signal.SIG_DFL); print('ready', flush=True); time.sleep(60)"
    argv = ["qemu", "--hostfwd", f"unix:{forward}-:22", "--", sys.executable, "-c", guest]
    return argv, "ready", [forward]


@pytest.mark.parametrize(
    ("command", "name"),
    [*((listen, name) for name in ENDING), *((switch, name) for name in ("SIGQUIT", "SIGUSR2")),
     *((qemu, name) for name in ("SIGQUIT", "SIGALRM", "SIGINT"))],
)  # fmt: skip
def test_a_signal_that_ends_a_network_leaves_no_socket(command: object, name: str, tmp_path: Path) -> None:
    assert callable(command)
    argv, ready, sockets = command(tmp_path)
    with started(*argv) as process:
        line(process, ready)
        assert all(path.is_socket() for path in sockets)
        number = getattr(signal, name)
        process.send_signal(number)
        errors = process.communicate(timeout=20)[1]
        # QEMU's end is reported as a shell does; the others end by the signal themselves.
        assert process.returncode == (128 + number if command is qemu else -number)
        assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_usr1_to_qemu_is_qemu_s(tmp_path: Path) -> None:
    argv, ready, _ = qemu(tmp_path)
    with started(*argv) as process:
        line(process, ready)
        process.send_signal(signal.SIGUSR1)
        assert process.wait(20) == 128 + signal.SIGUSR1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [listen, switch], ids=lambda function: function.__name__)
def test_usr1_dumps_the_tables_and_the_network_goes_on(command: object, tmp_path: Path) -> None:
    assert callable(command)
    argv, ready, sockets = command(tmp_path)
    with started(*argv) as process:
        line(process, ready)
        assert process.stderr is not None
        for _ in range(2):
            process.send_signal(signal.SIGUSR1)
            found = json.loads(process.stderr.readline())
            assert [each["rule"] for each in found["hostfwds"]] == [f"unix:{sockets[1]}-:22"]
            assert set(found) == {
                "time", "network", "flows", "closed", "leases", "neighbors", "hostfwds", "guestfwds", "dns", "stats",
            }  # fmt: skip
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(sockets[0]))  # it still listens
        process.terminate()
        assert process.wait(20) == -signal.SIGTERM
        assert process.stderr.read() == ""  # once for each signal
    assert list(tmp_path.iterdir()) == []


def test_an_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    argv, ready, _ = listen(tmp_path)
    ignoring = "import os, signal, sys\nsignal.signal(1, signal.SIG_IGN)\nos.execv(sys.argv[1], sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", ignoring, *SLIRPY, *argv],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            line(process, ready)
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == -signal.SIGTERM
        finally:
            process.kill()


@pytest.mark.parametrize("option", ["--capture", "--trace"])
@pytest.mark.parametrize("command", [listen, switch, qemu], ids=lambda function: function.__name__)
def test_a_named_pipe_without_a_reader_does_not_block(command: object, option: str, tmp_path: Path) -> None:
    assert callable(command)
    argv, ready, _ = command(tmp_path)
    pipe = tmp_path / "live"
    os.mkfifo(pipe)
    with started(argv[0], option, str(pipe), *argv[1:]) as process:
        line(process, ready)
        process.terminate()
        assert process.wait(20) == (128 + signal.SIGTERM if command is qemu else -signal.SIGTERM)
    assert list(tmp_path.iterdir()) == [pipe]


FAKE_QEMU = """
import re, socket, sys
sock = socket.socket(fileno=int(re.search(r"addr.str=(\\d+)", " ".join(sys.argv))[1]))
frame = bytes(60)
for _ in range(3):
    sock.sendall(len(frame).to_bytes(4, "big") + frame)
sys.exit(7)
"""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_behind_a_trace_costs_one_line_and_no_status() -> None:
    argv = ["qemu", "--trace", "/dev/full", "--", sys.executable, "-c", FAKE_QEMU]
    with started(*argv) as process:
        errors = process.communicate(timeout=20)[1]
        assert process.returncode == 7
    assert errors == 'slirpy: --trace "/dev/full": ended early: No space left on device\n'


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_reported_while_the_network_runs() -> None:
    waiting = FAKE_QEMU.replace("sys.exit(7)", "sys.stdin.read(); sys.exit(7)")
    argv = ["qemu", "--trace", "/dev/full", "--", sys.executable, "-c", waiting]
    with started(*argv, stdin=subprocess.PIPE) as process:
        assert process.stderr is not None
        line = process.stderr.readline()  # QEMU still waits for its input
        assert line == 'slirpy: --trace "/dev/full": ended early: No space left on device\n'
        assert process.communicate("", timeout=20)[1] == ""
        assert process.returncode == 7
