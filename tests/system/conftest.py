"""Shared parts of the system tests: tools that must be there, users, servers, waiting with a bound."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE, until
from tests.system.machine import LONGEST, PATH, missing
from tests.system.qemu import MissingError, boot_files
from tests.system.resolver import Resolver
from tests.system.routers import World
from tests.system.user import User
from tests.system.webserver import WebServer


@pytest.fixture(autouse=True)
def bounded(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test waits for ever, wherever it waits."""
    longest = LONGEST * (10 if request.node.get_closest_marker("stress") else 1)

    def ring(*_: object) -> None:
        raise TimeoutError(f"the test took more than {longest} s")

    old = signal.signal(signal.SIGALRM, ring)
    signal.alarm(longest)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, old)


@pytest.fixture(scope="session")
def need() -> Callable[..., None]:
    """``need("curl", "dig")``: skip the test if a tool is missing; fail if the environment has CI set."""

    def check(*tools: str) -> None:
        lacking = [tool for tool in tools if shutil.which(tool, path=PATH) is None]
        if lacking:
            missing(f"needs {', '.join(lacking)}")

    return check


# ------------------------------------------------------------------------------------- users


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


@pytest.fixture(params=[pytest.param("root", marks=pytest.mark.long), "nobody"])
def user(request: pytest.FixtureRequest, folder: Path) -> User:
    """Each test twice: as a user without privileges, and as root with the long ones."""
    _usable(request.param)
    return User(request.param, folder)


@pytest.fixture
def slirpy(folder: Path) -> User:
    """The user who runs the tests, where it makes no difference."""
    name = "root" if sys.platform == "linux" and os.geteuid() == 0 else "nobody"
    _usable(name)
    return User(name, folder)


@pytest.fixture(scope="session")
def kernel() -> None:
    """QEMU and a kernel for its guests: skip what needs them where there are none; under CI that is a failure."""
    try:
        boot_files()
    except MissingError as error:
        missing(str(error))


# ----------------------------------------------------------------------------------- servers, waiting


@pytest.fixture
def web() -> Iterator[WebServer]:
    """An HTTP server on the host's loopback."""
    with WebServer("127.0.0.1", 0) as server:
        yield server


@pytest.fixture
def resolver() -> Iterator[Resolver]:
    """A DNS server on the host's loopback."""
    server = Resolver()
    yield server
    server.close()


@pytest.fixture(scope="session")
def eventually() -> Callable[..., None]:
    """``eventually(condition, what)``: wait until ``condition()`` is true; fail after some seconds."""

    def wait(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
        until(condition, lambda: time.sleep(0.01), what, seconds)

    return wait


# ------------------------------------------------------------------------------------------------ routers


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """Routers and a host behind them, for the tests that ask for it."""
    with ExitStack() as stack:
        yield World(stack)


@pytest.fixture
def guest(world: World, slirpy: User, need: Callable[..., None]) -> Callable[..., str]:
    """Run a shell script as a guest of a slirpy in ``home``; gives what it writes."""
    need("ip", "ping", "traceroute", "tracepath", "nsenter", "unshare")

    def run(script: str, *options: str, stderr: str = "") -> str:
        command = slirpy.argv("run", "--dns", "127.0.0.1:9", *options, "--", "sh", "-c", script)
        done = subprocess.run(
            [*world.inside("home"), *command],
            cwd=slirpy.folder,
            env=slirpy.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stderr == stderr, done.stdout
        return done.stdout

    return run
