"""Real TFTP clients in the namespace: files there and back, every option that they know, equal checksums."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.user import User

pytestmark = pytest.mark.system
Need = Callable[..., None]

HUGE = 100_000_017  # which is more than 65535 blocks of 1428 bytes
BIG = 4_000_017
MIDDLE = 1_000_017  # where each block is a round trip of a slow client
ROLLS = 600_011  # which is more than 65535 blocks of 8 bytes
SMALL = 50_011
DNS = ("--dns", "127.0.0.1:9")

TFTPY = """
import logging, sys, warnings
import tftpy
logging.disable()
for step in sys.argv[1:]:
    way, options, there, here = step.split(":")
    options = dict((key, int(value)) for key, value in (pair.split("=") for pair in options.split(",") if pair))
    client = tftpy.TftpClient("10.0.2.2", 69, options)
    if way == "get":
        client.download(there, here, timeout=5)
    else:
        client.upload(there, here, timeout=5)
    print(way, "ok", flush=True)
"""


class Served:
    """A folder that is served, and a guest's commands in another one."""

    def __init__(self, user: User, folder: Path) -> None:
        self.user = user
        self.root = folder / "srv"
        self.root.mkdir()
        self.root.chmod(0o777)
        self.errors = ""

    def make(self, name: str, size: int) -> str:
        """A file of so many bytes; its checksum."""
        data = os.urandom(min(size, 1 << 20)) * (size // (1 << 20) + 1)
        data = data[:size]
        (self.root / name).write_bytes(data)
        return hashlib.sha256(data).hexdigest()

    def sum(self, name: str) -> str:
        """Checksum of a file, by its name in the folder or by a whole path."""
        return hashlib.sha256((self.root / name).read_bytes()).hexdigest()

    def run(self, script: str, *options: str) -> str:
        """Run a script in the namespace; its output."""
        done = self.user.run(
            "run", *DNS, "--tftp", str(self.root), "--stats", *options, "--", "sh", "-ec", script, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        self.errors = done.stderr
        return done.stdout

    def counter(self, name: str) -> int:
        """A counter of the last run."""
        match = re.search(rf"^{name} +(\d+)", self.errors, re.MULTILINE)
        return int(match[1]) if match else 0


@pytest.fixture
def served(slirpy: User, folder: Path) -> Served:
    return Served(slirpy, folder)


@pytest.fixture
def anyone(user: User, folder: Path) -> Served:
    """Run as root and as nobody."""
    return Served(user, folder)


# -------------------------------------------------------------------------------------------- curl


@pytest.mark.client("curl", "read", "write", "no options")
def test_curl_reads_and_writes(anyone: Served, need: Need) -> None:
    need("curl")
    expected = anyone.make("f", SMALL)
    anyone.run(
        "curl -sS -o got tftp://10.0.2.2/f; curl -sS --tftp-no-options -o plain tftp://10.0.2.2//f\n"
        "curl -sS -T got tftp://10.0.2.2/put",
        "--tftp-write",
    )
    for path in (anyone.user.folder / "got", anyone.user.folder / "plain", anyone.root / "put"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == expected, path
    assert anyone.counter("tftp_done") == 3


@pytest.mark.parametrize(
    ("size", "mtu", "length"),
    [
        (8, 1500, SMALL),
        (512, 1500, MIDDLE),
        (1428, 1500, BIG),
        pytest.param(1428, 1500, HUGE, marks=pytest.mark.long),
        (1468, 1500, MIDDLE),
        (65464, 1500, BIG),
        (65464, 65520, BIG),
    ],
)
@pytest.mark.client("curl", "blksize 8, 512, 1428, 1468, 65464", "fragments")
def test_curl_with_every_block_size(served: Served, need: Need, size: int, mtu: int, length: int) -> None:
    need("curl")
    expected = served.make("f", length)
    served.run(f"curl -sS --tftp-blksize {size} -o got tftp://10.0.2.2/f", "--mtu", str(mtu))
    assert served.sum(str(served.user.folder / "got")) == expected
    assert served.counter("tftp_done") == 1


@pytest.mark.client("curl", "refusals")
def test_curl_is_refused(served: Served, need: Need) -> None:
    """69: permission, 68: not found; curl knows TFTP's error codes."""
    need("curl")
    (served.root / "out").symlink_to("/etc/passwd")
    said = served.run(
        'get() { curl -s --path-as-is -o got "tftp://10.0.2.2/$1" || echo "$1 $?"; }\n'
        "get missing; get ../passwd; get out; get a%5cb; echo x >x; curl -s -T x tftp://10.0.2.2/x || echo put $?"
    )
    assert said.splitlines() == ["missing 68", "../passwd 69", "out 69", "a%5cb 68", "put 69"]


# ---------------------------------------------------------------------------------------- tftp-hpa


@pytest.mark.client("tftp-hpa", "read", "write", "netascii")
def test_tftp_hpa(anyone: Served, need: Need) -> None:
    need("tftp")
    expected = anyone.make("f", SMALL)
    (anyone.root / "text").write_bytes(b"one\ntwo\rthree\n" * 1000)
    anyone.run(
        "tftp -m binary 10.0.2.2 -c get f got; tftp -m binary 10.0.2.2 -c put got put\n"
        "tftp -m ascii 10.0.2.2 -c get text text; tftp -m ascii 10.0.2.2 -c put text back",
        "--tftp-write",
    )
    assert anyone.sum("put") == anyone.sum(str(anyone.user.folder / "got")) == expected
    assert (anyone.user.folder / "text").read_bytes() == b"one\ntwo\rthree\n" * 1000
    assert (anyone.root / "back").read_bytes() == b"one\ntwo\rthree\n" * 1000


# ------------------------------------------------------------------------------------------- atftp


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), marks=pytest.mark.client("atftp", "read", "write", "no options")),
        pytest.param(
            ("blksize 1428", "tsize", "timeout 1"), marks=pytest.mark.client("atftp", "tsize", "timeout")
        ),
        pytest.param(("blksize 1428", "windowsize 16"), marks=pytest.mark.client("atftp", "windowsize")),
        pytest.param(
            ("blksize 8", "windowsize 64"),
            marks=pytest.mark.client("atftp", "windowsize", "rollover past 65535 blocks"),
        ),
        pytest.param(("blksize 8",), marks=pytest.mark.client("atftp", "blksize 8, 512, 1428, 1468, 65464")),
        pytest.param(("blksize 65464",), marks=pytest.mark.client("atftp", "fragments")),
    ],
)
def test_atftp(served: Served, need: Need, options: tuple[str, ...]) -> None:
    need("atftp")
    size = BIG if "windowsize 16" in options else ROLLS if "windowsize 64" in options else SMALL
    expected = served.make("f", size)
    given = " ".join(f"--option {shlex.quote(option)}" for option in options)
    served.run(
        f"atftp {given} -g -r f -l got 10.0.2.2; atftp {given} -p -l got -r put 10.0.2.2", "--tftp-write"
    )
    assert served.sum(str(served.user.folder / "got")) == expected
    assert served.sum("put") == expected
    assert served.counter("tftp_done") == 2


@pytest.mark.client("atftp", "answers from port 69 only")
def test_atftp_with_one_port(served: Served, need: Need) -> None:
    need("atftp")
    expected = served.make("f", SMALL)
    served.run(
        "atftp -g -r f -l got 10.0.2.2; atftp -p -l got -r put 10.0.2.2", "--tftp-write", "--tftp-single-port"
    )
    assert served.sum("put") == expected


# ------------------------------------------------------------------------------------------- tftpy


@pytest.mark.long
@pytest.mark.client("tftpy", "read", "write", "tsize", "blksize 8, 512, 1428, 1468, 65464", "fragments")
def test_tftpy(served: Served) -> None:
    small, big = served.make("small", SMALL), served.make("big", 300_000)
    whole = served.make("whole", BIG)
    folder = served.user.folder
    (folder / "client.py").write_text(TFTPY)
    steps = [f"get:blksize={size},tsize=0:big:{folder}/got{size}" for size in (512, 1428, 1468, 65464)]
    steps += [f"get:blksize=8:small:{folder}/got8", f"get::small:{folder}/plain"]
    steps += [f"get:blksize=65464,tsize=0:whole:{folder}/whole"]
    steps += [f"put:blksize={size}:put{size}:{folder}/got{size}" for size in (8, 512, 1428, 1468, 65464)]
    said = served.run(f"{sys.executable} -W ignore client.py {' '.join(steps)}", "--tftp-write")
    assert said.split().count("ok") == len(steps)
    assert served.sum(str(folder / "plain")) == small
    assert served.sum(str(folder / "whole")) == whole
    for size in (8, 512, 1428, 1468, 65464):
        expected = small if size == 8 else big
        assert served.sum(str(folder / f"got{size}")) == expected, size
        assert served.sum(f"put{size}") == expected, size
    assert served.counter("tftp_done") == len(steps)


# ----------------------------------------------------------------------------------- configuration


def test_a_folder_that_is_not_there(slirpy: User) -> None:
    done = slirpy.run("run", *DNS, "--tftp", "/nowhere/srv", "--", "true")
    assert done.returncode == 2
    assert 'tftp "/nowhere/srv" does not exist' in done.stderr
    assert "Traceback" not in done.stderr
