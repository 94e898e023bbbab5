"""``slirpy qemu`` and ``slirpy listen`` without QEMU: a small program plays its part."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from slirpy.cli.listen import qemu_arguments
from slirpy.links import parse_endpoint
from slirpy.paths import PATH_MAX
from slirpy.wire import arp, ethernet
from tests.support.repository import environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="descriptors that a child inherits")
SLIRPY = [sys.executable, "-m", "slirpy"]
MAC = bytes.fromhex("525400123456")
GATEWAY, GUEST = bytes((10, 0, 2, 2)), bytes((10, 0, 2, 15))

WHO_HAS = b"\xff" * 6 + MAC + b"\x08\x06" + arp.build(arp.ArpPacket(arp.REQUEST, MAC, GUEST, bytes(6), GATEWAY))

# Prints its arguments, sends an ARP request for the gateway, prints the first frame received, and runs its commands.
FAKE_QEMU = f"""
import os, re, signal, socket, sys, time
print(*sys.argv[1:], flush=True)
descriptor = int(re.search(r"addr.str=(\\d+)", " ".join(sys.argv))[1])
sock = socket.socket(fileno=descriptor)
frame = bytes.fromhex("{WHO_HAS.hex()}")
sock.sendall(len(frame).to_bytes(4, "big") + frame)
data = sock.recv(4)
print(sock.recv(int.from_bytes(data, "big")).hex(), flush=True)
if "exit" in sys.argv:
    sys.exit(int(sys.argv[sys.argv.index("exit") + 1]))
if "term" in sys.argv:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(11))
    signal.signal(signal.SIGUSR1, lambda *_: print("usr1", flush=True))
print("ready", flush=True)
while True:
    time.sleep(1)
"""


def qemu(*options: str, does: str = "") -> list[str]:
    return [*SLIRPY, "qemu", *options, "--", sys.executable, "-c", FAKE_QEMU, *does.split()]


def run(*argv: str, pass_fds: Sequence[int] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, env=environment(), capture_output=True, text=True, timeout=30, check=False, pass_fds=pass_fds
    )


@contextmanager
def started(*argv: str, stdin: int | None = None) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        argv,
        env=environment(),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def is_gateway(frame: bytes) -> bool:
    packet = arp.parse(frame[14:])
    return packet is not None and packet[:3] == (arp.REPLY, ethernet.virtual_mac(GATEWAY), GATEWAY)


# -------------------------------------------------------------------------------- slirpy qemu


def test_the_card_is_connected_and_the_status_is_qemu_s() -> None:
    result = run(*qemu(does="exit 7"))
    assert (result.returncode, result.stderr) == (7, "")
    arguments, frame = result.stdout.splitlines()
    assert re.fullmatch(
        r"exit 7 -netdev stream,id=slirpy0,addr\.type=fd,addr\.str=\d+"
        r" -device virtio-net-pci,netdev=slirpy0,host_mtu=65520",
        arguments,
    )
    assert is_gateway(bytes.fromhex(frame))


def test_signals_reach_qemu() -> None:
    with started(*qemu(does="term")) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "ready\n":
            pass
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == "usr1\n"
        process.terminate()
        assert process.wait(20) == 11


def test_the_exit_status_of_a_killed_qemu_is_that_of_a_shell() -> None:
    with started(*qemu()) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "ready\n":
            pass
        process.terminate()
        assert process.wait(20) == 128 + signal.SIGTERM


def test_the_exit_status_survives_an_inherited_sig_ign_of_sigchld() -> None:
    """Some shells and supervisors start programs like this."""
    ignore = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
    become = "os.execv(sys.argv[1], sys.argv[1:])"
    assert run(sys.executable, "-c", f"{ignore}; {become}", *qemu(does="exit 5")).returncode == 5


def test_the_terminal_is_qemu_s_and_is_put_in_order_after_it() -> None:
    """A QEMU that was killed leaves the terminal raw: without echo, and with staircases for lines."""
    import pty
    import termios

    ours, theirs = pty.openpty()
    raw = "import os, tty; tty.setraw(0); print(1, flush=True); os.read(0, 1); os.kill(os.getpid(), 9)"
    try:
        before = termios.tcgetattr(theirs)
        argv = [*SLIRPY, "qemu", "--", sys.executable, "-c", raw]
        with started(*argv, stdin=theirs) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "1\n"  # from here on it is raw
            os.write(ours, b"x")  # no end of line: only a raw terminal hands it over
            assert process.wait(20) == 128 + signal.SIGKILL
        assert termios.tcgetattr(theirs) == before
    finally:
        os.close(ours)
        os.close(theirs)


def test_capture_trace_and_stats(tmp_path: Path) -> None:
    file = tmp_path / "out.pcap"
    result = run(*qemu("--capture", str(file), "--trace", "-", "--stats", does="exit 0"))
    assert result.returncode == 0
    assert "frames_in" in result.stderr
    assert re.search(r"^[\d:.]+ in  ARP, Request who-has 10.0.2.2 tell 10.0.2.15$", result.stderr, re.MULTILINE)
    assert re.search(r"^[\d:.]+ out ARP, Reply 10.0.2.2 is-at", result.stderr, re.MULTILINE)
    assert WHO_HAS in file.read_bytes()


@pytest.mark.long
def test_each_of_several_networks_is_controlled(folder: Path) -> None:
    """With the sandbox, which is on by default."""
    cards = "-netdev user,id=lan -netdev user,id=dmz,net=10.8.0.0/24"
    with started(*qemu("--control", f"unix:{folder}/ctl", does=cards)) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "ready\n":
            pass
        listed = json.loads(run(*SLIRPY, "ctl", f"{folder}/ctl", "networks", "--json").stdout)["networks"]
        assert [row["name"] for row in listed] == ["lan", "dmz"]
        for row in listed:
            done = run(*SLIRPY, "ctl", "--network", row["name"], f"{folder}/ctl", "info", "--json")
            assert json.loads(done.stdout)["networks"] == row["networks"], done.stderr
        process.terminate()
        process.wait(20)
    assert not (folder / "ctl").exists()


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--mac", "01:00:5e:00:00:01", "--", "true"], 2, "is not the address of a card"),
        (["--mac", "5254", "--", "true"], 2, "is not the address of a card"),
        (["--mac", "52:54:00:00:00:01", "--", "true", "e1000,netdev=slirpy0"], 2, "one of your own"),
        (["--mtu", "70000", "--", "true"], 2, "is not a number from 68 to 65521"),
        (["--capture", "/nowhere/file", "--", "true"], 2, "cannot be written"),
        (["--trace", "/nowhere/file", "--", "true"], 2, "cannot be written"),
        (["--hostfwd", "tcp:80", "--", "true"], 2, "malformed"),
        ([], 2, "Missing argument"),
        (["--", "/nowhere/qemu"], 127, "/nowhere/qemu: not found"),
        (["--", "/etc/passwd"], 126, "/etc/passwd: permission denied"),
    ],
)
def test_mistakes_are_reported_in_one_line(options: list[str], status: int, said: str) -> None:
    result = run(*SLIRPY, "qemu", *options)
    assert (result.returncode, result.stdout) == (status, "")
    assert result.stderr.startswith("slirpy: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr


# -------------------------------------------------------------------------------- slirpy listen


def test_listen_serves_guests_at_each_address(tmp_path: Path) -> None:
    """The printed words connect: a path, and a port that was chosen."""
    path = tmp_path / "a,b.sock"
    with started(*SLIRPY, "listen", "--stats", f"unix:{path}", "tcp:127.0.0.1:0") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [shlex.split(process.stdout.readline()) for _ in range(2)]
        card = ["-device", "virtio-net-pci,netdev=slirpy0"]
        assert lines[0] == [
            "-netdev",
            f"stream,id=slirpy0,addr.type=unix,addr.path={tmp_path}/a,,b.sock",
            *card,
        ]
        found = re.fullmatch(
            r"stream,id=slirpy0,addr\.type=inet,addr\.host=127\.0\.0\.1,addr\.port=(\d+)", lines[1][1]
        )
        assert found is not None
        assert lines[1][2:] == card
        # The last one comes when the first is gone.
        for address in (str(path), ("127.0.0.1", int(found[1])), str(path)):
            with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as sock:
                sock.settimeout(20)
                sock.connect(address)
                sock.sendall(len(WHO_HAS).to_bytes(4, "big") + WHO_HAS)
                with sock.makefile("rb") as file:
                    assert is_gateway(file.read(int.from_bytes(file.read(4), "big")))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == -signal.SIGTERM
        assert re.search(r"link_connections +3\b", process.stderr.read())
    assert not path.exists()


def ask(sock: socket.socket, number: int) -> None:
    """Send an ARP request for the gateway, as one of several guests, and wait for the reply."""
    mac, address = MAC[:5] + bytes((number,)), bytes((10, 0, 2, 20 + number))
    question = arp.build(arp.ArpPacket(arp.REQUEST, mac, address, bytes(6), GATEWAY))
    frame = b"\xff" * 6 + mac + b"\x08\x06" + question
    sock.sendall(len(frame).to_bytes(4, "big") + frame)
    with sock.makefile("rb") as file:
        while not is_gateway(file.read(int.from_bytes(file.read(4), "big"))):
            pass


def test_listen_captures_and_traces_each_guest(tmp_path: Path) -> None:
    """A guest that comes when another has gone takes its place, so that the file does not grow with each."""
    path, capture, trace = (tmp_path / name for name in ("s", "out.pcapng", "trace"))
    with started(
        *SLIRPY, "listen", f"--capture={capture}", f"--trace={trace}", "--stats", f"unix:{path}"
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
            for number, sock in enumerate((first, second), 1):
                sock.settimeout(20)
                sock.connect(str(path))
                ask(sock, number)
            first.close()
            ask(second, 2)  # the end of the first has been seen when this is answered, or with the next
            with socket.socket(socket.AF_UNIX) as third:
                third.settimeout(20)
                third.connect(str(path))
                ask(third, 3)
        process.terminate()
        assert process.wait(20) == -signal.SIGTERM
        assert re.search(r"link_connections +3\b", process.stderr.read())
    data = capture.read_bytes()
    assert [name in data for name in (b"guest1", b"guest2", b"guest3")] == [True, True, False]
    lines = trace.read_text().splitlines()
    for guest, address in (("guest1", 21), ("guest2", 22), ("guest1", 23)):
        assert any(re.search(rf" {guest} in  ARP, .* tell 10\.0\.2\.{address}$", line) for line in lines), lines


def test_listen_captures_to_standard_output_and_tells_its_arguments_elsewhere(tmp_path: Path) -> None:
    with started(*SLIRPY, "listen", "--capture", "-", f"unix:{tmp_path}/s") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline().startswith("-netdev stream")
        process.terminate()
        assert process.wait(20) == -signal.SIGTERM
        assert os.read(process.stdout.fileno(), 4) == bytes.fromhex("4d3cb2a1")


def test_listen_sleeps_while_nothing_happens() -> None:
    with started(*SLIRPY, "listen", "tcp:127.0.0.1:0") as process:
        assert process.stdout is not None
        process.stdout.readline()
        stat = Path(f"/proc/{process.pid}/stat")
        if not stat.exists():
            pytest.skip("needs /proc")

        def ticks() -> int:
            fields = stat.read_text().rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])

        before = ticks()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        assert ticks() - before <= 10  # a fifth of the time; a loop that never waits takes all of it
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == -signal.SIGINT


def test_listen_tells_a_large_mtu() -> None:
    arguments = qemu_arguments(parse_endpoint("tcp:127.0.0.1:99"), 65520)
    assert arguments[-1] == "virtio-net-pci,netdev=slirpy0,host_mtu=65520"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["udp:127.0.0.1:1"], "is not an address"),
        (["unix:/nowhere/net.sock"], "does not exist"),
        (["unix:" + "x" * 200], f"must have 1 to {PATH_MAX} bytes"),
        (["unix:/etc/passwd"], "is not a socket"),
        (["tcp:127.0.0.1:70000"], "is not a number from 0 to 65535"),
        (["--mtu", "1", "tcp:127.0.0.1:0"], "is not a number from 68 to 65521"),
        (["--capture", "/nowhere/file", "tcp:127.0.0.1:0"], "cannot be written"),
        (["--capture", "x,format=jpeg", "tcp:127.0.0.1:0"], "format"),
        (["--trace", "/nowhere/file", "tcp:127.0.0.1:0"], "cannot be written"),
        ([], "Missing argument"),
    ],
)
def test_mistakes_of_listen_are_reported_in_one_line(arguments: list[str], said: str) -> None:
    result = run(*SLIRPY, "listen", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("slirpy: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr


def test_an_address_in_use_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        result = run(*SLIRPY, "listen", f"tcp:127.0.0.1:{server.getsockname()[1]}")
    assert result.returncode == 2
    assert "address already in use" in result.stderr
