"""Samba's server as a child process: errors at the start, and cleanup. A script stands in for it here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import pytest

from slirpy import Config, ConfigError, ForwardError, Slirp
from slirpy.targets import smb
from slirpy.targets.smb import SmbServer
from tests.support.driven import Driven
from tests.support.repository import REPOSITORY
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes by /proc")

# Answers a negotiation as smbd does, as far as we look; then echoes. Leaves a helper behind, as smbd does.
SMBD = """\
#!{python}
import os, socket, subprocess, sys
folder = os.path.dirname(sys.argv[2])
helper = subprocess.Popen(["sleep", "1000", folder], start_new_session=True) if {helper} else None
if helper:
    open(folder + "/pid/helper.pid", "w").write(f"{{helper.pid}}\\n")
assert os.fstat(0).st_ino == os.fstat(1).st_ino
connection = socket.socket(fileno=0)
data = connection.recv(1000)
connection.sendall(b"\\0\\0\\0\\4\\xfeSMB" if data[4:8] == b"\\xfeSMB" else data)
while data := connection.recv(1000):
    connection.sendall(data)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, which is short enough for Samba; and a stand-in for smbd."""
    folder = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    stand_in(monkeypatch, tmp_path, SMBD.format(python=sys.executable, helper=False))
    return folder


def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    program = tmp_path / "smbd"
    program.write_text(text)
    program.chmod(0o755)
    monkeypatch.setattr(smb, "find_program", lambda name, what: str(program))


def test_guests_reach_it_at_both_ports(temporary: Path, tmp_path: Path) -> None:
    with Slirp(Config(smb=tmp_path)) as net:
        driven = Driven(net)
        for server, port in product(("10.0.2.4", "fec0::4"), (139, 445)):
            assert driven.exchange(server, port, b"hello").received == b"hello"
        assert net.guestfwds() == []  # which are those of the user
        assert len(list(temporary.iterdir())) == 1
    assert list(temporary.iterdir()) == []


def test_the_configuration_of_smbd(temporary: Path, tmp_path: Path) -> None:
    server = SmbServer(tmp_path)
    text = (server.folder / "smb.conf").read_text()
    places = [line.split(" = ")[1] for line in text.splitlines() if " = /" in line and "null" not in line]
    assert len(places) == 9
    assert all(place.startswith(f"{server.folder}/") for place in places), text
    assert (server.folder / "share").resolve() == tmp_path
    assert "interfaces = 127.0.0.1\nbind interfaces only = yes\n" in text
    assert server.folder.stat().st_mode & 0o777 == 0o700
    assert server.command.tcp
    server.close()
    server.close()
    assert not server.folder.exists()
    assert tmp_path.exists()


def test_helpers_are_ended(temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, tmp_path, SMBD.format(python=sys.executable, helper=True))
    with Slirp(Config(smb=tmp_path)) as net:
        driven = Driven(net)
        driven.exchange("10.0.2.4", 445, b"hello")
        (folder,) = temporary.iterdir()
        number = int((folder / "pid" / "helper.pid").read_text())
        stranger = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        (folder / "pid" / "stranger.pid").write_text(f"{stranger.pid}\n")  # its number was another's before
        (folder / "pid" / "nonsense.pid").write_text("nonsense")
    try:
        assert gone(number)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
    assert list(temporary.iterdir()) == []


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_one_that_dies_takes_nothing_but_its_connection_with_it(temporary: Path, tmp_path: Path) -> None:
    with Slirp(Config(smb=tmp_path)) as net:
        driven = Driven(net)
        before = children()
        dying, other = driven.connect("10.0.2.4", 445), driven.connect("10.0.2.4", 445)
        other.write(b"first ")
        driven.until(lambda: other.received == b"first ")
        os.kill(min(children() - before), signal.SIGKILL)
        driven.until(lambda: dying.eof or dying.error)
        other.write(b"second")
        driven.until(lambda: other.received == b"first second")
        assert driven.exchange("10.0.2.4", 445, b"third").received == b"third"


def children() -> set[int]:
    tasks = Path("/proc/self/task").glob("*/children")
    return {int(pid) for path in tasks for pid in path.read_text().split()}


def test_the_folder_is_removed_when_slirpy_is_killed(temporary: Path, tmp_path: Path) -> None:
    code = (
        "import sys, tempfile, time; from pathlib import Path; from slirpy.targets import smb\n"
        "tempfile.tempdir = sys.argv[1]; smb.find_program = lambda *_: sys.argv[2]\n"
        "server = smb.SmbServer(Path('/')); print(server.folder, flush=True); time.sleep(100)\n"
    )
    argv = [sys.executable, "-c", code, str(temporary), str(tmp_path / "smbd")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert folder.exists()
        process.send_signal(signal.SIGKILL)
    until(lambda: not folder.exists(), lambda: time.sleep(0.01), "the folder goes")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("#!/bin/sh\nexit 1\n", "it said nothing"),
        ("#!/bin/sh\nprintf '[time] place\\n  the words\\n' >$4/log.smbd\nexit 1\n", "it said: the words"),
        ("#!/bin/sh\necho this is no SMB; cat\n", "does not answer"),
        ("#!/nonexistent/interpreter\n", "cannot be started: No such file or directory"),
    ],
)
def test_a_broken_smbd_is_refused_at_the_start(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    stand_in(monkeypatch, tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        Slirp(Config(smb=tmp_path))
    assert says in str(caught.value)
    assert list(temporary.iterdir()) == []


def test_one_that_never_answers_is_not_waited_for(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, tmp_path, "#!/bin/sh\nsleep 100\n")
    monkeypatch.setattr(smb, "_TRY_SECONDS", 0.2)
    with pytest.raises(ConfigError, match="does not answer"):
        SmbServer(tmp_path)
    assert list(temporary.iterdir()) == []


def test_without_samba_the_error_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, what: str) -> str:
        raise ForwardError("no")

    monkeypatch.setattr(smb, "find_program", missing)
    with pytest.raises(ConfigError, match="smbd is not installed; on Debian: apt-get install samba"):
        Slirp(Config(smb=tmp_path))


@pytest.mark.parametrize(
    ("place", "says"), [("nowhere", "there is no such folder"), ("smbd", "is not a folder")]
)
def test_a_folder_that_cannot_be(temporary: Path, tmp_path: Path, place: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Slirp(Config(smb=tmp_path / place))


def test_a_user_without_a_name(temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)
    with pytest.raises(ConfigError, match="user 4000000, which slirpy runs as, has no name"):
        SmbServer(tmp_path)
    assert list(temporary.iterdir()) == []


def test_a_temporary_folder_that_samba_cannot_use(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = temporary / "with space"
    odd.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(odd))
    with pytest.raises(ConfigError, match="set TMPDIR=/tmp"):
        SmbServer(tmp_path)
    assert list(odd.iterdir()) == []


def test_the_guest_account_is_another_s(temporary: Path, tmp_path: Path) -> None:
    server = SmbServer(tmp_path)
    values = dict(
        line.split(" = ") for line in (server.folder / "smb.conf").read_text().splitlines() if " = " in line
    )
    assert values["guest account"] != values["force user"]
    server.close()
