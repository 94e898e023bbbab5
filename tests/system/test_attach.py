"""``slirpy attach``: a network for namespaces that exist, beside the kernel's own view of them."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.repository import REPOSITORY
from tests.system.holders import Holder, holder, serve
from tests.system.machine import processes_with
from tests.system.netns import NetworkNamespace
from tests.system.user import User
from tests.system.webserver import WebServer

pytestmark = pytest.mark.system
Need = Callable[..., None]
Eventually = Callable[..., None]

ATTACH = (sys.executable, "-m", "slirpy", "attach")


@pytest.fixture
def inside(user: User, need: Need) -> Iterator[Holder]:
    """A namespace of the user's."""
    need("unshare", "nsenter", "ip")
    with holder(user) as found:
        yield found


def test_a_namespace_has_a_network_until_it_ends(
    user: User, inside: Holder, web: WebServer, need: Need
) -> None:
    need("curl", "ping")
    with serve(user, ATTACH, "--mtu", "9000", str(inside.pid)) as served:
        link = inside.run("ip", "address", "show", "tap0")
        assert "mtu 9000" in link
        assert "inet 10.0.2.15/24" in link
        assert "inet6 fec0::15/64" in link
        assert "default via 10.0.2.2 dev tap0" in inside.run("ip", "route")
        assert "LOOPBACK,UP" in inside.run("ip", "link", "show", "lo")
        inside.run("ping", "-c1", "-W5", "10.0.2.2")
        assert inside.run("curl", "-sS", f"http://10.0.2.2:{web.port}/") == "hello from the server\n"
        inside.end()
        assert served.status() == 0
        assert served.error() == ""


def test_a_path_and_a_name_for_the_interface(user: User, inside: Holder) -> None:
    with serve(user, ATTACH, "--no-configure", f"/proc/{inside.pid}/ns/net", "eth7") as served:
        assert inside.interfaces() == {"lo", "eth7"}
        assert "inet" not in inside.run("ip", "address")
        assert "DOWN" in inside.run("ip", "link", "show", "eth7")
        served.hang_up()
        assert served.status() == 0
    assert inside.interfaces() == {"lo"}


def test_a_namespace_by_its_name(slirpy: User, need: Need) -> None:
    """Attach by a name that ``ip netns add`` has made, in a mount namespace of the test's."""
    need("ip", "unshare")
    if os.geteuid() != 0:
        pytest.skip("needs root")
    script = (
        "set -e; mount -t tmpfs tmpfs /run; ip netns add blue; mkfifo ready;"
        ' "$@" --pid-file pid --ready-fd 3 blue 3>ready & dd if=ready bs=1 count=1 status=none;'
        " ip netns exec blue ip -brief address show tap0; kill $(cat pid);"
        ' "$@" bleu || exit 0'
    )
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *ATTACH],
        cwd=slirpy.folder,
        env=slirpy.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith("1tap0"), done
    assert "10.0.2.15/24" in done.stdout
    assert done.stderr.splitlines()[-1] == (
        'slirpy: network namespace "bleu": nothing of this name in /run/netns; did you mean blue?'
    )


def test_a_tap_interface_that_was_handed_over(slirpy: User, need: Need) -> None:
    need("unshare", "nsenter", "ip", "ping")
    namespace = NetworkNamespace()
    try:
        namespace.set_up("10.0.2.77", 1500, offloads=True)
        ready, writing = os.pipe()
        with (
            open(ready, "rb") as told,
            subprocess.Popen(
                slirpy.argv("attach", "--tap-fd", str(namespace.fd), "--ready-fd", str(writing)),
                pass_fds=(namespace.fd, writing),
                env=slirpy.environment(),
            ) as process,
        ):
            os.close(writing)
            try:
                assert told.read(1)  # before that, nobody answers the kernel's ARP requests
                namespace.run("ping", "-c1", "-W20", "10.0.2.2")
            finally:
                process.terminate()
            assert process.wait(30) == 128 + signal.SIGTERM
    finally:
        os.close(namespace.fd)
        namespace.close()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"])
def test_a_signal_leaves_nothing(slirpy: User, need: Need, name: str) -> None:
    need("unshare", "nsenter", "ip")
    pid_file = slirpy.folder / "attach.pid"
    with (
        holder(slirpy) as inside,
        serve(slirpy, ATTACH, "--pid-file", str(pid_file), str(inside.pid)) as served,
    ):
        assert int(pid_file.read_text()) == served.process.pid
        number = signal.Signals[name]
        served.process.send_signal(number)
        assert served.status() == 128 + number
        assert not pid_file.exists()
        assert inside.interfaces() == {"lo"}


@pytest.mark.parametrize("cycles", [4, pytest.param(100, marks=pytest.mark.stress)])
def test_cycles_leave_nothing(user: User, need: Need, eventually: Eventually, cycles: int) -> None:
    need("unshare", "nsenter", "ip")
    with holder(user) as inside:
        files = sorted(user.folder.iterdir())
        open_here = descriptors()
        for cycle in range(cycles):
            with serve(user, ATTACH, "--pid-file", "pid", str(inside.pid)) as served:
                children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children")
                assert children.read_text() == "", cycle  # the one that entered has ended
                served.hang_up()
                assert served.status() == 0
                assert served.error() == ""
        assert inside.interfaces() == {"lo"}
        assert sorted(user.folder.iterdir()) == files
        assert descriptors() == open_here
        eventually(lambda: not processes_with(str(user.folder)), "no process is left")


def descriptors() -> int:
    """The number of descriptors of this process."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def test_an_interface_that_exists_is_used(slirpy: User, need: Need) -> None:
    """One that is persistent, as `ip tuntap add` makes it."""
    need("unshare", "nsenter", "ip", "ping")
    with holder(slirpy) as inside:
        inside.run("ip", "tuntap", "add", "tap5", "mode", "tap")
        with serve(slirpy, ATTACH, str(inside.pid), "tap5") as served:
            inside.run("ping", "-c1", "-W5", "10.0.2.2")
            served.hang_up()
            assert served.status() == 0
        assert inside.interfaces() == {"lo", "tap5"}


# ------------------------------------------------------------------------------------------- recipes

HOWTO = REPOSITORY / "docs" / "howto" / "attach.md"


def test_the_units_for_systemd_are_valid(tmp_path: Path, need: Need) -> None:
    need("systemd-analyze")
    text = HOWTO.read_text()
    units = re.findall(r"```ini\n# /etc/systemd/system/(\S+)\n(.*?)```", text, re.DOTALL)
    assert [name for name, _ in units] == ["blue-network.service", "blue.service"]
    for name, content in units:
        lines = content.replace("/usr/local/bin/slirpy", sys.executable)
        (tmp_path / name).write_text(lines)
    command = ["systemd-analyze", "verify", *(str(tmp_path / name) for name, _ in units)]
    environment = {"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": os.environ["PATH"]}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    wrong = [line for line in done.stderr.splitlines() if "blue" in line]
    assert not wrong


# ------------------------------------------------------------------------------------------ mistakes


def mistake(user: User, *arguments: str) -> str:
    """The line by which ``slirpy attach`` refuses."""
    done = user.run("attach", *arguments)
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert done.stderr.startswith("slirpy: ")
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("slirpy: ").rstrip()


def test_invalid_namespaces_are_refused(slirpy: User, tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert mistake(slirpy, str(gone.pid)) == (f"process {gone.pid}: there is no such process, or it has ended")
    assert "is not a network namespace" in mistake(slirpy, "/etc/passwd")
    assert "is not a network namespace" in mistake(slirpy, "/proc/self/ns/user")
    assert "no such file" in mistake(slirpy, str(tmp_path / "nothing"))
    assert 'network namespace "nobodys": nothing of this name' in mistake(slirpy, "nobodys")
    assert "is in the network namespace of slirpy itself" in mistake(slirpy, str(os.getpid()))


def test_descriptors_that_were_not_passed(slirpy: User) -> None:
    for option in ("--ready-fd", "--exit-fd", "--tap-fd"):
        target = () if option == "--tap-fd" else (str(os.getpid()),)
        assert mistake(slirpy, option, "77", *target).startswith(f"{option} 77: descriptor 77 is not open")
    assert "is not that of a TAP interface" in mistake(slirpy, "--tap-fd", "0")


def test_options_that_exclude_each_other(slirpy: User) -> None:
    assert "give --tap-fd" in mistake(slirpy)
    assert "--tap-fd takes no namespace" in mistake(slirpy, "--tap-fd", "0", "1")
    assert "--configure needs a namespace" in mistake(slirpy, "--tap-fd", "0", "--configure")
    assert "exclude each other" in mistake(slirpy, "--netns-only", "--userns-path", "/x", "1")


def test_a_name_that_is_taken(slirpy: User, need: Need) -> None:
    need("unshare", "nsenter", "ip")
    with holder(slirpy) as inside:
        inside.run("ip", "tuntap", "add", "taken", "mode", "tun")
        assert "there is one of this name that is no TAP interface" in mistake(slirpy, str(inside.pid), "taken")
        assert "a name has 1 to 15 characters" in mistake(slirpy, str(inside.pid), "a" * 16)
        with serve(slirpy, ATTACH, str(inside.pid)):
            assert "it is in use, choose another name" in mistake(slirpy, str(inside.pid))
            assert "it has a default route already" in mistake(slirpy, str(inside.pid), "tap1")
            inside.run("ping", "-c1", "-W5", "10.0.2.2")  # the first is not disturbed


def test_a_namespace_of_another_user(folder: Path, need: Need) -> None:
    need("unshare", "nsenter", "setpriv")
    if os.geteuid() != 0:
        pytest.skip("needs root")
    nobody = User("nobody", folder)
    with holder(User("root", folder)) as inside:
        assert "run slirpy as the user who owns it" in mistake(nobody, str(inside.pid))


def test_a_pid_file_that_has_other_content(slirpy: User, need: Need) -> None:
    need("unshare", "nsenter")
    path = slirpy.folder / "pid"
    with holder(slirpy) as inside:
        path.write_text("a letter\n")
        assert "is left alone" in mistake(slirpy, "--pid-file", str(path), str(inside.pid))
        assert path.read_text() == "a letter\n"
        path.write_text(f"{inside.pid}\n")
        assert f"names process {inside.pid}, which still runs" in mistake(
            slirpy, "--pid-file", str(path), str(inside.pid)
        )
        ended = subprocess.Popen(["true"])
        ended.wait()
        path.write_text(f"{ended.pid}\n")
        with serve(slirpy, ATTACH, "--pid-file", str(path), str(inside.pid)) as served:
            assert int(path.read_text()) == served.process.pid
