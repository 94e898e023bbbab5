"""The sandbox of slirpy itself: what is left to a guest that took over the process, and systems that lack a part."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.repository import REPOSITORY
from tests.system.attempts import LIBC
from tests.system.user import User

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="needs a known architecture"),
]
Need = Callable[..., None]

# Confines itself as `slirpy listen` does, then tries each attack in its turn.
ATTACKS = (
    LIBC
    + r"""
import errno, json, os, signal, socket, subprocess, sys, threading
from slirpy.sandbox import Spawner, confine, use
folder = sys.argv[1]
spawner = Spawner(["/etc/group"])
spawner.allow(["/etc/passwd"])
spawner.register("/bin/cat", ["cat"], False)
spawner.seal()
child = os.fork()
if child == 0:
    signal.pause()
    os._exit(0)
os.mkdir(folder + "/read"); os.mkdir(folder + "/write")
for name in ("secret", "read/file"):
    open(f"{folder}/{name}", "w").close()
missing = confine(read=[folder + "/read"], write=[folder + "/write"], signals=[child])
def cat():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        job = spawner.run(0, theirs)
        theirs.close()
        ours.sendall(b"meow"); ours.shutdown(socket.SHUT_WR)
        return ours.recv(9).decode()
def thread():
    found = []
    other = threading.Thread(target=lambda: found.append(attempt(lambda: open("/etc/passwd"))))
    other.start(); other.join()
    return found[0]
def attempt(attack):
    try:
        result = attack()
        return result if isinstance(result, (int, str, list)) else "allowed"
    except OSError as error:
        return errno.errorcode[error.errno]
attacks = {
    "read /etc/passwd": lambda: open("/etc/passwd"),
    "read a secret": lambda: open(folder + "/secret"),
    "list /": lambda: os.listdir("/"),
    "write anywhere": lambda: open("/tmp/slirpy-test-x", "w"),
    "write to what it reads": lambda: open(folder + "/read/file", "a"),
    "remove what it reads": lambda: os.unlink(folder + "/read/file"),
    "truncate": lambda: os.truncate(folder + "/secret", 0),
    "chmod": lambda: os.chmod(folder + "/secret", 0o777),
    "link": lambda: os.link(folder + "/secret", folder + "/write/link"),
    "read": lambda: open(folder + "/read/file"),
    "write": lambda: open(folder + "/write/file", "w"),
    "rename": lambda: os.rename(folder + "/write/file", folder + "/write/other"),
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "fork": lambda: os.fork(),
    "spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "ptrace": lambda: check(libc.ptrace(16, child, 0, 0)),
    "memory of others": lambda: open(f"/proc/{child}/mem", "rb"),
    "signal the parent": lambda: os.kill(os.getppid(), 15),
    "signal all": lambda: os.kill(-1, 15),
    "signal its own": lambda: os.kill(child, 15),
    "mount": lambda: check(libc.mount(b"x", b"/mnt", b"tmpfs", 0, None)),
    "unshare": lambda: check(libc.unshare(0x10000000)),
    "setns": lambda: check(libc.setns(0, 0)),
    "chroot": lambda: os.chroot("/"),
    "bpf": lambda: check(libc.syscall(BPF, 0, 0, 0)),
    "io_uring": lambda: check(libc.syscall(425, 1, bytes(120))),
    "keys": lambda: check(libc.syscall(KEYCTL, 0, -3, 0)),
    "a later system call": lambda: check(libc.syscall(600)),
    "unix": lambda: socket.socket(socket.AF_UNIX),
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "vsock": lambda: socket.socket(socket.AF_VSOCK),
    "packet": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "raw": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
    "inet": lambda: socket.socket(socket.AF_INET),
    "inet6": lambda: socket.socket(socket.AF_INET6),
    "pair": lambda: socket.socketpair()[0].close(),
    "terminal": lambda: __import__("fcntl").ioctl(0, 0x5412, b"x"),
    "thread reads /etc/passwd": thread,
    "late import": lambda: __import__("xmlrpc.client") and "allowed",
    "spawner: known program": cat,
    "spawner: another program": lambda: spawner.register("/bin/true", ["true"], False),
    "spawner: program out of range": lambda: spawner.run(1, socket.socket()),
    "spawner: its file": lambda: os.read(spawner.open("/etc/passwd"), 4) and "allowed",
    "spawner: another file": lambda: spawner.open("/etc/shadow"),
    "spawner: a file that is allowed too late": lambda: spawner.allow(["/etc/shadow"]),
}
BPF, KEYCTL = (321, 250) if os.uname().machine == "x86_64" else (280, 219)
found = {name: attempt(attack) for name, attack in attacks.items()}
print(json.dumps([list(missing), found]))
"""
)
DENIED = {"EACCES", "EPERM", "EAFNOSUPPORT", "ENOSYS", "EINVAL", "EXDEV"}
ALLOWED = {
    "read": "allowed",
    "write": "allowed",
    "rename": "allowed",
    "signal its own": "allowed",
    "inet": "allowed",
    "inet6": "allowed",
    "pair": "allowed",
    "late import": "allowed",
    "spawner: known program": "meow",
    "spawner: its file": "allowed",
}


def python(user: User, *arguments: str) -> list[str]:
    """A command line of Python as a user."""
    return user.argv()[: -len(["-m", "slirpy"])] + list(arguments)


def run(user: User, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        python(user, *arguments),
        cwd=user.folder,
        env=user.environment(PYTHONPATH=str(REPOSITORY)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", ["root", "nobody"])
def test_attacks_from_a_confined_process_are_held(name: str, folder: Path) -> None:
    if name == "root" and os.geteuid() != 0:
        pytest.skip("needs root")
    status, out, errors = run(User(name, folder), "-c", ATTACKS, str(folder))
    assert status == 0, errors
    missing, found = json.loads(out)
    assert missing == []
    wrong = {
        attack: result
        for attack, result in found.items()
        if (result != ALLOWED[attack] if attack in ALLOWED else result not in DENIED)
    }
    assert wrong == {}
    assert set(ALLOWED) < set(found)


# Refuses one system call, as an older kernel does, and becomes slirpy.
WITHOUT = r"""
import errno, os, sys
from slirpy.sandbox import capabilities, seccomp
from slirpy.sandbox.syscalls import ARCHITECTURES, NUMBERS, machine
name = machine()
section = seccomp._Section(NUMBERS[name])
section.refuse(sys.argv[1], error=errno.ENOSYS)
capabilities.no_new_privileges()
seccomp.install(seccomp._program([(ARCHITECTURES[name], section.finish())], 0x7FFF0000))
os.execv(sys.executable, [sys.executable, "-m", "slirpy", *sys.argv[2:]])
"""


@pytest.mark.parametrize("name", ["root", "nobody"])
@pytest.mark.parametrize(
    ("call", "part"),
    [("landlock_create_ruleset", "Landlock"), ("seccomp", "seccomp"), ("capset", "capabilities")],
)
def test_a_missing_part_is_reported_in_one_line(name: str, call: str, part: str, folder: Path) -> None:
    if name == "root" and os.geteuid() != 0:
        pytest.skip("needs root")
    user = User(name, folder)
    border = ["--privileged"] if call == "capset" else []  # the border of the command needs it
    for mode, expected in (("auto", 0), ("on", 2), ("off", 0)):
        status, out, errors = run(
            user, "-c", WITHOUT, call, "run", *border, "--sandbox", mode, "--", "echo", "started"
        )
        assert (status, out) == (expected, "" if expected else "started\n"), errors
        if mode == "off" and call != "seccomp":
            assert errors == ""
        else:
            assert errors.count("\n") == 1
            assert f"{part}" in errors
            assert errors.startswith("slirpy: --sandbox")


@pytest.mark.parametrize("command", ["listen", "switch", "qemu"])
def test_sandbox_on_fails_each_command_without_a_part(command: str, folder: Path) -> None:
    user = User("root" if os.geteuid() == 0 else "nobody", folder)
    rest = {
        "listen": ["unix:socket"],
        "switch": ["-netdev", "user", "-netdev", "stream,server=on,addr.type=unix,addr.path=socket"],
        "qemu": ["--", "sh", "-c", "exec sleep 30"],
    }[command]
    status, _, errors = run(user, "-c", WITHOUT, "landlock_create_ruleset", command, "--sandbox", "on", *rest)
    assert status == 2
    assert "slirpy: --sandbox on: this system lacks Landlock (function not implemented)" in errors
    assert not (folder / "socket").exists()


def test_the_commands_are_confined(user: User, eventually: Callable[..., None]) -> None:
    path = user.folder / "socket"
    with user.start("listen", "--sandbox", "on", f"unix:{path}") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("-netdev")

        def state() -> dict[str, str]:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            return dict(line.split(":\t", 1) for line in lines if ":\t" in line)

        eventually(lambda: state()["Seccomp"] == "2", "it has entered its sandbox")
        assert state()["NoNewPrivs"] == "1"
        assert {state()[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Amb")} == {"0" * 16}
        with socket.socket(socket.AF_UNIX) as guest:
            guest.connect(str(path))
        process.terminate()
        assert process.wait(20) == -15
    assert not path.exists()


@pytest.mark.parametrize(("mode", "number"), [("auto", 3), ("off", 2)])
def test_run_keeps_a_spawner_only_if_it_needs_one(
    mode: str, number: int, slirpy: User, folder: Path, eventually: Callable[..., None]
) -> None:
    """Forks have the command line of slirpy, which names the folder. The spawner is forked before that is read."""
    mark = b"cat " + os.fsencode(folder)
    options = ("--dns", "127.0.0.1:9", "--sandbox", mode, "--guestfwd", f"tcp:10.0.2.100:7-cmd:cat {folder}")
    with slirpy.start("run", *options, "--", "sh", "-c", "echo started; read line") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"

        def alike() -> int:
            return sum(mark in _command_line(pid) for pid in Path("/proc").glob("[0-9]*"))

        eventually(lambda: alike() == number, "slirpy, init, and a spawner with --sandbox auto")
        process.communicate("\n", timeout=20)
    eventually(lambda: alike() == 0, "all have ended")


def _command_line(pid: Path) -> bytes:
    try:
        return (pid / "cmdline").read_bytes()
    except OSError:
        return b""


# In a mount namespace whose /etc is a copy. A process outside of the sandbox replaces the file by renaming.
REPLACE = r"""
import os
from slirpy.cli import confined
from slirpy.sandbox import Spawner, confine
from slirpy import paths
path = "/etc/resolv.conf"
spawner = Spawner([path])
confined._open_by(spawner)
go, done = os.pipe(), os.pipe()
if os.fork() == 0:
    os.read(go[0], 1)
    with open(path + ".new", "w") as file:
        file.write("nameserver 192.0.2.9")
    os.rename(path + ".new", path)
    os.write(done[1], b"x")
    os._exit(0)
assert confine() == ()
def read():
    with open(path, opener=paths.opener) as file:
        return file.read()
before = read()
os.write(go[1], b"x")
os.read(done[0], 1)
try:
    open(path).close()
except PermissionError:
    print("replaced", before == "old", read())
"""


def test_resolv_conf_may_be_replaced(folder: Path, need: Need) -> None:
    """The rule is for a file, and the new one is another: the process outside opens it."""
    need("unshare", "mount")
    if os.geteuid() != 0:
        pytest.skip("needs root")
    script = 'mount -t tmpfs tmpfs /etc && printf old > /etc/resolv.conf && exec "$@"'
    command = ["--mount", "--propagation", "private", "sh", "-c", script, "sh", sys.executable, "-c", REPLACE]
    done = subprocess.run(
        ["unshare", *command],
        cwd=folder,
        env=User("root", folder).environment(PYTHONPATH=str(REPOSITORY)),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout == "replaced True nameserver 192.0.2.9\n", done.stderr
