"""``slirpy listen`` and ``switch`` as services: systemd's sockets and notifications, files that are read again."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.manager import Manager, listening
from tests.support.repository import environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="services of Unix")


@pytest.fixture(autouse=True)
def hangup() -> Iterator[None]:
    """Let SIGHUP reach the programs, also where the tests themselves are run by nohup."""
    old = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, old)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with Manager(tmp_path) as made:
        yield made


def tables(process: subprocess.Popen[str]) -> dict[str, list[dict[str, str]]]:
    """The tables that SIGUSR1 writes."""
    assert process.stderr is not None
    process.send_signal(signal.SIGUSR1)
    while not (line := process.stderr.readline()).startswith("{"):
        assert line, "it has ended"
    found: dict[str, list[dict[str, str]]] = json.loads(line)
    return found


def rules(process: subprocess.Popen[str]) -> list[str]:
    return [each["rule"] for each in tables(process)["hostfwds"]]


# ------------------------------------------------------------------------------------- notifications


@pytest.mark.parametrize("abstract", [False, True])
def test_the_life_of_a_service(tmp_path: Path, abstract: bool) -> None:
    if abstract and sys.platform != "linux":
        pytest.skip("abstract names are Linux's")
    door, pid = tmp_path / "net.sock", tmp_path / "net.pid"
    with Manager(tmp_path, abstract=abstract) as manager:
        process = manager.start("listen", "--pid-file", str(pid), f"unix:{door}")
        ready = manager.heard()
        assert ready["READY"] == "1"
        assert ready["MAINPID"] == str(process.pid) == pid.read_text().strip()
        assert ready["STATUS"] == f"0 guests; listening at unix:{door}"
        with socket.socket(socket.AF_UNIX) as guest:
            guest.connect(str(door))
            assert manager.heard() == {"STATUS": f"1 guest; listening at unix:{door}"}
        assert manager.heard()["STATUS"].startswith("0 guests")
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        process.send_signal(signal.SIGHUP)
        reloading, again = manager.heard(), manager.heard()
        assert reloading["RELOADING"] == "1"
        assert before <= int(reloading["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        assert again["READY"] == "1"
        process.terminate()
        assert manager.heard()["STOPPING"] == "1"
        assert process.wait(20) == -signal.SIGTERM  # systemd: a clean end
        assert manager.rest() == []
        assert not door.exists()
        assert not pid.exists()


def test_a_switch_is_a_service_too(tmp_path: Path, manager: Manager) -> None:
    ports = [f"stream,server=on,addr.type=unix,addr.path={tmp_path}/{name}" for name in ("a", "b")]
    pid = tmp_path / "net.pid"
    process = manager.start("switch", "--pid-file", str(pid), "-netdev", ports[0], "-netdev", ports[1])
    assert manager.heard()["STATUS"] == "2 ports are joined"
    assert pid.read_text() == f"{process.pid}\n"
    process.send_signal(signal.SIGHUP)
    assert len(manager.expect("RELOADING", "READY")) == 2
    process.send_signal(signal.SIGQUIT)
    assert "STOPPING" in manager.heard()
    assert process.wait(20) == -signal.SIGQUIT
    assert [path.name for path in tmp_path.iterdir()] == ["notify"]


def test_the_watchdog_is_fed(tmp_path: Path, manager: Manager) -> None:
    manager.start("listen", f"unix:{tmp_path}/net.sock", more={"WATCHDOG_USEC": "200000"})
    assert len(manager.expect("READY", "WATCHDOG", "WATCHDOG", "WATCHDOG")) == 4


def test_a_watchdog_of_another_process_is_not(tmp_path: Path, manager: Manager) -> None:
    more = {"WATCHDOG_USEC": "2000", "WATCHDOG_PID": "1"}
    process = manager.start("listen", f"unix:{tmp_path}/net.sock", more=more)
    assert "READY" in manager.heard()
    process.terminate()
    assert "STOPPING" in manager.heard()


def test_a_manager_that_is_gone_costs_one_line(tmp_path: Path) -> None:
    with Manager(tmp_path) as manager:
        process = manager.start("listen", f"unix:{tmp_path}/s", more={"NOTIFY_SOCKET": "/nowhere/notify"})
        assert process.stdout is not None
        assert process.stdout.readline().startswith("-netdev")
        process.terminate()
        assert process.communicate(timeout=20)[1] == (
            'slirpy: NOTIFY_SOCKET "/nowhere/notify": no such file or directory; nobody is notified\n'
        )


def test_programs_of_the_service_do_not_speak_for_it(tmp_path: Path, manager: Manager) -> None:
    """A program behind guestfwd sees none of the variables."""
    names = "NOTIFY_SOCKET WATCHDOG_USEC LISTEN_PID LISTEN_FDS LISTEN_FDNAMES"
    code = (
        "import os\nfrom slirpy.cli.notify import Notifier\nfrom slirpy.cli.activation import inherited\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\nNotifier()\n"
        f"print(inherited(), [os.environ.get(name) for name in '{names}'.split()])"
    )
    more = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "5", "LISTEN_FDS": "0", "LISTEN_FDNAMES": ""}
    shown = subprocess.run(
        [sys.executable, "-c", code],
        env=environment() | more,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert shown.stdout == "{} [None, None, None, None, None]\n"


# ------------------------------------------------------------------------------------------- sockets


def test_passed_sockets_are_served_and_stay(tmp_path: Path, manager: Manager) -> None:
    with listening(tmp_path / "a") as one, listening(tmp_path / "b") as other:
        process = manager.start("listen", sockets={"one": one, "other": other})
        assert manager.heard()["STATUS"] == f"0 guests; listening at unix:{tmp_path}/a, unix:{tmp_path}/b"
        for name in ("a", "b"):
            with socket.socket(socket.AF_UNIX) as guest:
                guest.connect(str(tmp_path / name))
                assert manager.heard()["STATUS"].startswith("1 guest;")
            assert manager.heard()["STATUS"].startswith("0 guests;")
        process.terminate()
        assert process.wait(20) == -signal.SIGTERM
        # The sockets are the manager's.
        assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "notify"}


def test_a_guest_that_came_before_the_service_is_served(tmp_path: Path, manager: Manager) -> None:
    with listening(tmp_path / "a") as one, socket.socket(socket.AF_UNIX) as guest:
        guest.connect(str(tmp_path / "a"))
        manager.start("listen", sockets={"one": one})
        while not manager.heard()["STATUS"].startswith("1 guest;"):
            pass


@pytest.mark.parametrize(("address", "name"), [("fd:4", "b"), ("fd:other", "b"), ("fd:one", "a")])
def test_one_socket_is_chosen(tmp_path: Path, manager: Manager, address: str, name: str) -> None:
    with listening(tmp_path / "a") as one, listening(tmp_path / "b") as other:
        manager.start("listen", address, sockets={"one": one, "other": other})
        assert manager.heard()["STATUS"] == f"0 guests; listening at unix:{tmp_path}/{name}"


@pytest.mark.parametrize(
    ("argv", "more", "said"),
    [
        (["fd:othr"], {}, '"fd:othr": no socket of this name was passed; did you mean other?'),
        (["fd:x"], {}, '"fd:x": no socket of this name was passed; passed are one, other'),
        ([], {"LISTEN_FDS": "x"}, 'LISTEN_FDS "x" is not a number from 0 to 1024'),
        ([], {"LISTEN_FDS": "900"}, "LISTEN_FDS is 900, but descriptor 5 is not open"),
        ([], {"LISTEN_FDS": "0"}, "Missing argument 'ADDRESS...'"),
    ],
)
def test_mistakes_about_passed_sockets(
    tmp_path: Path, manager: Manager, argv: list[str], more: dict[str, str], said: str
) -> None:
    with listening(tmp_path / "a") as one, listening(tmp_path / "b") as other:
        process = manager.start("listen", *argv, sockets={"one": one, "other": other}, more=more)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 2
        assert errors.startswith(f"slirpy: {said}")
        assert errors.count("\n") == 1


def test_a_socket_of_another_kind_is_refused(tmp_path: Path, manager: Manager) -> None:
    with listening(tmp_path / "a", socket.SOCK_DGRAM) as one:
        process = manager.start("listen", sockets={"one": one})
        assert "descriptor 3 is not a stream socket" in process.communicate(timeout=20)[1]
        assert process.returncode == 2


def test_sockets_for_another_process_are_left_alone(tmp_path: Path) -> None:
    with listening(tmp_path / "a") as one:
        os.set_inheritable(one.fileno(), True)
        done = subprocess.run(
            [sys.executable, "-m", "slirpy", "listen"],
            env=environment() | {"LISTEN_FDS": "1", "LISTEN_PID": "1"},
            pass_fds=[one.fileno()],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 2
        assert done.stderr.startswith("slirpy: Missing argument 'ADDRESS...'")


# ------------------------------------------------------------------------------------- reading again


def test_policy_records_and_forwards_are_read_again(tmp_path: Path, manager: Manager) -> None:
    file, policy = tmp_path / "net.toml", tmp_path / "policy.toml"
    policy.write_text('rules = ["allow any:443"]\n')
    head = f'policy = "{policy}"\nnet = "10.0.2.0/24"\n'
    file.write_text(
        head
        + f'hostfwd = ["unix:{tmp_path}/one-:22", "unix:{tmp_path}/two-:22"]\ndns-record = "a.test=192.0.2.1"\n'
    )
    process = manager.start("listen", "--config", str(file), f"unix:{tmp_path}/net.sock")
    assert "READY" in manager.heard()
    assert rules(process) == [f"unix:{tmp_path}/one-:22", f"unix:{tmp_path}/two-:22"]

    def reload() -> str:
        process.send_signal(signal.SIGHUP)
        manager.expect("RELOADING", "READY")
        assert process.stderr is not None
        return process.stderr.readline().removeprefix("slirpy: ").rstrip()

    # Replaced by renaming, as editors do: the sandbox's rule for the old file does not hold.
    fresh = tmp_path / "fresh.toml"
    fresh.write_text(
        head
        + f'hostfwd = ["unix:{tmp_path}/two-:22", "tcp:127.0.0.1:0-:80"]\ndns-record = "b.test=192.0.2.2"\n'
    )
    fresh.rename(file)
    assert reload() == "reloaded: forwards, DNS records"
    found = tables(process)
    kept, added = (each["rule"] for each in found["hostfwds"])
    assert kept == f"unix:{tmp_path}/two-:22"
    assert added.startswith("tcp:127.0.0.1:")
    assert not (tmp_path / "one").exists()
    assert [each["name"] for each in found["dns"]] == ["b.test"]
    fresh.write_text('rules = ["deny any:443"]\ndefault = "allow"\n')
    fresh.rename(policy)
    assert reload() == "reloaded: policy"
    assert reload() == "reloaded; nothing has changed"
    assert rules(process) == [kept, added]  # the port that was chosen stays

    # Mistakes: one line, and everything stays.
    before = file.read_text()
    for text, said in (
        (
            before + "mut = 1500\n",
            f'reload: {file}:5: unknown key "mut"; did you mean mtu?; the former settings stay',
        ),
        (before + "mtu = 1\n", f"reload: {file}:5: mtu 1 "),
        (before.replace("b.test=", "b.test!"), f"reload: {file}:4: "),
        (before.replace("two-:22", "none/x-:22"), 'reload: --hostfwd "unix:'),
        ("mtu =", f"reload: {file}:1: not TOML"),
    ):
        file.write_text(text)
        assert reload().startswith(said)
        assert rules(process) == [kept, added]
    file.unlink()
    assert reload() == f'reload: --config "{file}": no such file or directory; the former settings stay'

    # What cannot change while it runs is named.
    file.write_text(before.replace("10.0.2.0", "10.0.3.0"))
    assert reload() == "reloaded; nothing has changed"
    assert process.stderr is not None
    assert process.stderr.readline() == "slirpy: reload: --net changed, which takes a restart\n"
    process.terminate()
    assert process.wait(20) == -signal.SIGTERM
    assert {path.name for path in tmp_path.iterdir()} == {"notify", "net.toml", "policy.toml"}


def test_a_forward_that_cannot_start_brings_back_those_that_were_stopped(
    tmp_path: Path, manager: Manager
) -> None:
    file = tmp_path / "net.toml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file.write_text(f'hostfwd = ["unix:{tmp_path}/one-:22"]\n')
        process = manager.start("listen", "--config", str(file), f"unix:{tmp_path}/net.sock")
        assert "READY" in manager.heard()
        file.write_text(f'hostfwd = ["tcp:127.0.0.1:0-:9", "tcp:127.0.0.1:{port}-:80"]\n')
        process.send_signal(signal.SIGHUP)
        manager.expect("RELOADING", "READY")
        assert rules(process) == [f"unix:{tmp_path}/one-:22"]
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "one"))


def test_forwards_of_a_switch_are_read_again(tmp_path: Path, manager: Manager) -> None:
    file = tmp_path / "net.toml"
    user, stream = (
        f"user,hostfwd=unix:{tmp_path}/one-:22",
        f"stream,server=on,addr.type=unix,addr.path={tmp_path}/a",
    )
    text = f'[switch]\nnetdev = ["{user}", "{stream}"]\n'
    file.write_text(text)
    process = manager.start("switch", "--config", str(file))
    assert "READY" in manager.heard()
    file.write_text(text.replace(":22", ":23"))
    process.send_signal(signal.SIGHUP)
    manager.expect("RELOADING", "READY")
    assert rules(process) == [f"unix:{tmp_path}/one-:23"]


def test_hangup_of_the_terminal_ends_it_in_spite_of_files(tmp_path: Path) -> None:
    file, door = tmp_path / "net.toml", tmp_path / "net.sock"
    file.write_text("")
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "import os, sys, fcntl, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
         "os.execv(sys.executable, [sys.executable, '-m', 'slirpy', *sys.argv[1:]])",
         "listen", "--config", str(file), f"unix:{door}"],
        env=environment(),
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    with process:
        os.close(slave)
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline().startswith("-netdev")
            process.send_signal(signal.SIGHUP)  # from somebody else: the terminal is still there
            assert process.stderr.readline() == "slirpy: reloaded; nothing has changed\n"
            os.close(master)
            assert process.wait(20) == -signal.SIGHUP
            assert not door.exists()
        finally:
            process.kill()
