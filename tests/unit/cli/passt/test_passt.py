"""``slirpy-passt`` without QEMU: a socket plays its part."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slirpy.cli.passt.arguments import read_arguments
from slirpy.cli.passt.passt import passt
from slirpy.cli.passt.services import ServiceFilter, without_services
from slirpy.errors import ConfigError, SlirpyError
from slirpy.links import CallbackLink
from slirpy.wire import arp
from tests.support.repository import PACKAGE, REPOSITORY, environment

linux = pytest.mark.skipif(sys.platform != "linux", reason="slirpy-passt needs Linux")
PROGRAM = [sys.executable, "-c", "from slirpy.cli.passt.passt import main; main()"]
NETWORK = ["-4", "-a", "192.0.2.10", "-n", "24", "-g", "192.0.2.1"]
MAC = bytes.fromhex("525400123456")
GUEST, GATEWAY = bytes((192, 0, 2, 10)), bytes((192, 0, 2, 1))
WHO_HAS = b"\xff" * 6 + MAC + b"\x08\x06" + arp.build(arp.ArpPacket(arp.REQUEST, MAC, GUEST, bytes(6), GATEWAY))


# ---------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--vhost-user"], "--vhost-user: slirpy does not share memory with machines"),
        (["--repair-path", "/x"], "--repair-path is for the migration of machines"),
        (["-F", "3", "-s", "/x"], "-F and -s exclude each other"),
        (["ls"], "'ls': passt takes options only"),
        (["-t", "auto"], '-t "auto": auto is for namespaces'),
        (["-t", "22", "--tcp-ports", "20-30"], '"20-30": 20-30 overlaps 22'),
        (["-u", "0"], '-u "0": port "0" is not a number from 1 to 65535'),
        (["-q", "-d"], "-q and -d exclude each other"),
        (["-4", "-6"], "-4 and -6 exclude each other"),
        (["--no-such-option"], "there is no option --no-such-option"),
        (["-T", "22"], "-T is an option of pasta, not of passt"),
        (["-m", "66000"], '-m "66000": an MTU is 0'),
        (["-a", "host"], '-a "host" is not an IP address'),
        (["-t"], "-t: "),
        ([*NETWORK, "-F", "99"], '-F "99" is no open descriptor'),
        ([*NETWORK, "-F", "x"], '-F "x" is no open descriptor'),
        ([*NETWORK, "-f", "-s", "/nonexistent/folder/x"], "-s /nonexistent/folder/x: "),
    ],
)
@linux
def test_mistakes_name_the_option(words: list[str], says: str) -> None:
    with pytest.raises(SlirpyError) as caught:
        passt(words)
    assert says in str(caught.value)


@linux
def test_a_mistake_is_one_line() -> None:
    done = subprocess.run(
        [*PROGRAM, "--vhost-user"], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


@linux
@pytest.mark.parametrize(
    ("kind", "says"), [("file", "is no socket"), ("unconnected", "is not connected"), ("datagrams", "")]
)
def test_a_descriptor_that_is_no_connection(kind: str, says: str) -> None:
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one = socket.socket()
    file = os.open(os.devnull, os.O_RDONLY)
    number = {"file": file, "unconnected": one.fileno(), "datagrams": pair[0].fileno()}[kind]
    try:
        done = subprocess.run(
            [*PROGRAM, *NETWORK, "-f", "--fd", str(number)],
            env=environment(), capture_output=True, text=True, check=False, pass_fds=[number], timeout=30,
        )  # fmt: skip
    finally:
        os.close(file)
        for sock in (*pair, one):
            sock.close()
    assert done.returncode == 1
    assert f'--fd "{number}" is' in done.stderr
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


# ---------------------------------------------------------------------------------------------- sockets


@contextmanager
def running(
    *words: str, pass_fds: tuple[int, ...] = (), package: Path = REPOSITORY
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*PROGRAM, *NETWORK, *words],
        env=environment() | {"PYTHONPATH": str(package)},
        cwd=package,  # where Python looks first
        pass_fds=pass_fds,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def bound(process: subprocess.Popen[str]) -> str:
    """The path of the socket, which the program reports."""
    assert process.stderr is not None
    for text in process.stderr:
        if "UNIX domain socket bound at" in text:
            return text.split()[-1]
    raise AssertionError("it ended without a socket")


def ask(sock: socket.socket) -> None:
    """Ask for the MAC address of the gateway, as a guest does: a length of four bytes, and the frame."""
    sock.settimeout(20)
    sock.sendall(len(WHO_HAS).to_bytes(4, "big") + WHO_HAS)
    while True:
        frame = sock.recv(int.from_bytes(sock.recv(4, socket.MSG_WAITALL), "big"), socket.MSG_WAITALL)
        packet = arp.parse(frame[14:]) if frame[12:14] == b"\x08\x06" else None
        if packet is not None and packet.operation == arp.REPLY:
            assert packet[2:3] == (GATEWAY,)
            return


@linux
def test_guests_connect_one_after_the_other(tmp_path: Path) -> None:
    user = f"{os.geteuid()}:{os.getegid()}"  # another one could not remove the path
    with running("-f", "-s", str(tmp_path / "x.sock"), "--runas", user) as process:
        path = bound(process)
        for _ in range(2):
            with socket.socket(socket.AF_UNIX) as guest:
                guest.connect(path)
                ask(guest)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM
    assert not Path(path).exists()


@linux
def test_one_off_ends_with_its_guest(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with running("-f", "-1", "-s", str(tmp_path / "x.sock"), "-P", str(pid)) as process:
        with socket.socket(socket.AF_UNIX) as guest:
            guest.connect(bound(process))
            ask(guest)
            assert pid.read_text() == f"{process.pid}\n"
        assert process.wait(20) == 0


# Tried in CI, which is root: the program gives up what it needs to read its own modules.
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root becomes another user")
def test_another_user_need_not_be_able_to_read_the_package(tmp_path: Path) -> None:
    """A virtual environment below /root, for example, is of no use to nobody."""
    private = tmp_path / "private"
    shutil.copytree(PACKAGE, private / "slirpy", ignore=shutil.ignore_patterns("__pycache__"))
    for library in REPOSITORY.glob("*__mypyc.*.so"):  # of a compiled package, beside it
        shutil.copy(library, private)
    private.chmod(0o700)
    with running("-f", "-s", str(tmp_path / "x.sock"), package=private) as process:
        with socket.socket(socket.AF_UNIX) as guest:
            guest.connect(bound(process))
            ask(guest)
        uid = next(
            line.split()[1]
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
            if line.startswith("Uid:")
        )
        assert uid != "0"


@linux
def test_a_path_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "x.sock")
    with running("-f", "-s", path) as first:
        bound(first)
        with running("-f", "-s", path) as second:
            assert second.stderr is not None
            assert second.wait(20) == 1
            assert "in use" in second.stderr.read()
        with socket.socket(socket.AF_UNIX) as guest:
            guest.connect(path)
            ask(guest)


@linux
def test_a_connection_that_qemu_passes_on(tmp_path: Path) -> None:
    """The program goes to the background, and QEMU, which waits for its end, reads its number from the file."""
    pid = tmp_path / "pid"
    pid.touch()  # as QEMU does
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with running(
            "--quiet", "--pid", str(pid), "--fd", str(theirs.fileno()), pass_fds=(theirs.fileno(),)
        ) as process:
            theirs.close()
            assert process.wait(20) == 0
        number = int(pid.read_text())
        assert number != process.pid
        ask(ours)
        handle = os.pidfd_open(number)
        ours.close()
        assert select.select([handle], [], [], 20)[0]  # it ends with the connection
        os.close(handle)


# ---------------------------------------------------------------------------------------------- options


def test_services_that_are_off() -> None:
    link = CallbackLink(lambda _: None)
    assert isinstance(without_services(link, read_arguments("passt", ["--no-dhcp"])), ServiceFilter)
    assert without_services(link, read_arguments("passt", [])) is link


def test_not_an_option_of_this_program() -> None:
    with pytest.raises(ConfigError, match="--config-net is an option of pasta, not of passt"):
        read_arguments("passt", ["--config-net"])
