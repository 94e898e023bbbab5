"""What the system tests share: tools that must be there, users, servers of their own, waiting with a bound."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.webserver import WebServer

REPOSITORY = Path(__file__).resolve().parents[2]
SYSTEM = Path(__file__).resolve().parent
NOBODY = 65534
TIMEOUT = 60.0
LONGEST = 600 if os.environ.get("CI") or os.environ.get("SLIRPY_FULL") else 90
"""Seconds for one test at most."""


FULL = bool(os.environ.get("CI") or os.environ.get("SLIRPY_FULL"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the long tests to CI, and run the system tests first: together they take the longest."""
    items.sort(key=lambda item: SYSTEM not in item.path.parents)
    for item in items:
        if item.get_closest_marker("long") and not FULL:
            item.add_marker(pytest.mark.skip(reason="one of the long ones; set SLIRPY_FULL=1"))


def missing(what: str) -> None:
    """Skip the test for lack of something; under CI that is a failure, so that nothing goes untested there."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} (CI is set, so this may not be skipped)")
    pytest.skip(what)


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """No test waits for ever, wherever it waits."""

    def ring(*_: object) -> None:
        raise TimeoutError(f"the test took more than {LONGEST} s")

    old = signal.signal(signal.SIGALRM, ring)
    signal.alarm(LONGEST)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, old)


@pytest.fixture(scope="session")
def need() -> Callable[..., None]:
    """``need("curl", "dig")``: skip the test if a tool is missing; fail if the environment has CI set."""

    def check(*tools: str) -> None:
        lacking = [tool for tool in tools if shutil.which(tool, path=_PATH) is None]
        if lacking:
            missing(f"needs {', '.join(lacking)}")

    return check


# ------------------------------------------------------------------------------------- users

_PATH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"

# As root, in a mount namespace of its own: a /dev/net/tun that everybody may open; and where a folder that is
# needed lies inside one that others may not enter (such as /root), a stand-in for that, which holds it alone.
# Nothing of this is seen outside, and it ends with the process.
_AS_NOBODY = r"""
set -e
here=$PWD
mount -t tmpfs tmpfs /dev/net
mknod -m 666 /dev/net/tun c 10 200
mount -t tmpfs tmpfs /mnt
: > /mnt/covered
number=0
while [ "$1" != -- ]; do
    closed=$1; needed=$2; shift 2
    number=$((number + 1))
    mkdir /mnt/$number
    mount --bind "$needed" /mnt/$number
    if ! grep -qxF "$closed" /mnt/covered; then
        mount -t tmpfs -o mode=755 tmpfs "$closed"
        echo "$closed" >> /mnt/covered
    fi
    mkdir -p "$needed"
    mount --bind /mnt/$number "$needed"
done
shift
umount -l /mnt
cd "$here"
exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
"""


def _closed_ancestor(path: Path) -> Path | None:
    """The topmost folder above ``path`` that others may not enter."""
    for folder in [*reversed(path.parents), path]:
        if not folder.stat().st_mode & 0o001:
            return folder
    return None


@dataclass(frozen=True)
class User:
    """Runs ``slirpy run`` as somebody."""

    name: str
    folder: Path
    """A folder that this user may write to, and root too."""

    def _prefix(self) -> list[str]:
        if self.name == "root" or os.geteuid() != 0:
            return []
        pairs = []
        for needed in {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), REPOSITORY}:
            closed = _closed_ancestor(needed)
            if closed is not None:
                pairs += [str(closed), str(needed)]
        script = ["sh", "-c", _AS_NOBODY, "sh", *pairs, "--"]
        return ["unshare", "--mount", "--propagation", "private", *script]

    def argv(self, *arguments: str) -> list[str]:
        """The command line of ``slirpy`` with arguments. Its process is the one that is started."""
        return [*self._prefix(), sys.executable, "-m", "slirpy", *arguments]

    def environment(self, **more: str) -> dict[str, str]:
        """Environment variables, with ``more`` added."""
        return os.environ | {
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PATH": _PATH,
            "HOME": str(self.folder),
            **more,
        }

    def run(
        self, *arguments: str, timeout: float = TIMEOUT, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run ``slirpy`` to its end."""
        return subprocess.run(
            self.argv(*arguments),
            cwd=self.folder,
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    @contextmanager
    def start(self, *arguments: str, group: int | None = None) -> Iterator[subprocess.Popen[str]]:
        """Start ``slirpy``; it is killed at the end, should it still run. Its pid is slirpy's own.

        With ``group`` 0 it is in a process group of its own.
        """
        process = subprocess.Popen(
            self.argv(*arguments),
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
            process_group=group,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may write to."""
    name = tempfile.mkdtemp(prefix="slirpy-test-")
    os.chmod(name, 0o777)
    yield Path(name)
    shutil.rmtree(name, ignore_errors=True)


def _usable(name: str) -> None:
    if sys.platform != "linux":
        pytest.skip("needs Linux")
    if os.geteuid() == 0:
        if name == "nobody" and shutil.which("setpriv") is None:
            missing("needs setpriv")
        if not os.path.exists("/dev/net/tun"):
            missing("needs /dev/net/tun")
    elif name == "root":
        pytest.skip("needs root")
    elif not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        missing("needs the right to open /dev/net/tun")


@pytest.fixture(params=["root", "nobody"])
def user(request: pytest.FixtureRequest, folder: Path) -> User:
    """Each test twice: as root, and as a user without privileges. Outside of CI the second is enough."""
    if request.param == "root" and not FULL and shutil.which("setpriv") is not None:
        pytest.skip("tried as nobody; set SLIRPY_FULL=1 for both")
    _usable(request.param)
    return User(request.param, folder)


@pytest.fixture
def slirpy(folder: Path) -> User:
    """Who runs the tests, where it makes no difference."""
    name = "root" if sys.platform == "linux" and os.geteuid() == 0 else "nobody"
    _usable(name)
    return User(name, folder)


# ----------------------------------------------------------------------------------- servers, waiting


@pytest.fixture
def web() -> Iterator[WebServer]:
    """An HTTP server on the host's loopback."""
    with WebServer("127.0.0.1", 0) as server:
        yield server


@pytest.fixture(scope="session")
def eventually() -> Callable[..., None]:
    """``eventually(condition, what)``: wait until ``condition()`` is true; fail after some seconds."""

    def wait(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                pytest.fail(f"not within {seconds} s: {what}")
            time.sleep(0.01)

    return wait


def processes_with(text: str) -> Sequence[int]:
    """Processes of this machine whose command line or environment has ``text``, zombies left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if text.encode() in (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
