"""``slirpy run`` as a border: attacks that CMD may try, and what it needs all the same."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.repository import REPOSITORY
from tests.system.attempts import LIBC
from tests.system.tty import SHELL, terminal
from tests.system.user import User

pytestmark = pytest.mark.system
Need = Callable[..., None]
Eventually = Callable[..., None]
needs_root = pytest.mark.skipif(sys.platform == "linux" and os.geteuid() != 0, reason="needs root")

# Each attack in its turn. What an attack returns, or the error that stopped it, is printed as JSON.
ATTACKS = (
    LIBC
    + r"""
import errno, fcntl, glob, json, os, socket, sys, termios
def family(number):
    return lambda: socket.socket(number, socket.SOCK_RAW if number in (16, 17) else socket.SOCK_STREAM).close()
attacks = {
    "capabilities": lambda: [status("Cap" + kind).strip("0") for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")],
    "no_new_privs": lambda: status("NoNewPrivs"),
    "unmount /proc": lambda: check(libc.umount2(b"/proc", 2)),
    "unmount resolv.conf": lambda: check(libc.umount2(os.path.realpath("/etc/resolv.conf").encode(), 2)),
    "mount": lambda: check(libc.mount(b"x", b"/mnt", b"tmpfs", 0, None)),
    "trace init": lambda: check(libc.ptrace(16, 1, 0, 0)),
    "memory of init": lambda: open("/proc/1/mem", "rb").close(),
    "root of init": lambda: os.listdir("/proc/1/root"),
    "descriptors of init": lambda: os.open("/proc/1/fd/3", os.O_RDONLY),
    "namespace of init": lambda: os.open("/proc/1/ns/net", os.O_RDONLY),
    "kill init": lambda: os.kill(1, 9),
    "interface": lambda: fcntl.ioctl(socket.socket(), 0x8914, b"tap0".ljust(16, b"\0") + bytes(24)),
    "nested namespace": lambda: check(libc.unshare(0x10020000)),
    "unmount in it": lambda: check(libc.umount2(b"/proc", 2)),
    "vsock": family(40),
    "packet": family(17),
    "bluetooth": family(31),
    "alg": family(38),
    "tipc": lambda: socket.socketpair(30, socket.SOCK_SEQPACKET),
    "unix": family(1),
    "inet": family(2),
    "inet6": family(10),
    "netlink": family(16),
    "pushed key": lambda: fcntl.ioctl(0, 0x5412, b"x"),
    "pushed key, wide": lambda: check(libc.syscall(16, 0, ctypes.c_long(0x100005412), b"x")),
    "console": lambda: fcntl.ioctl(0, 0x541C, b"\3"),
    "io_uring": lambda: check(libc.syscall(425, 1, bytes(120))),
    "keys": lambda: check(libc.syscall(250, 0, -3, 0)),
    "x32": lambda: check(libc.syscall(0x40000000 + 39)),
    "descriptors": lambda: [n for n in range(99) if os.path.exists(f"/proc/self/fd/{n}")],
}
found = {}
for name, attack in attacks.items():
    try:
        found[name] = attack()
    except OSError as error:
        found[name] = errno.errorcode[error.errno]
print(json.dumps(found))
"""
)
HELD = {
    "capabilities": [""] * 5,
    "no_new_privs": "1",
    "unmount /proc": "EPERM",
    "unmount resolv.conf": "EPERM",
    "mount": "EPERM",
    "trace init": "EPERM",
    "memory of init": "EACCES",
    "root of init": "EACCES",
    "descriptors of init": "EACCES",
    "namespace of init": "EACCES",
    "kill init": None,  # allowed, and without effect
    "interface": "EPERM",
    "nested namespace": 0,
    "unmount in it": "EINVAL",  # locked
    "vsock": "EAFNOSUPPORT",
    "packet": "EAFNOSUPPORT",
    "bluetooth": "EAFNOSUPPORT",
    "alg": "EAFNOSUPPORT",
    "tipc": "EAFNOSUPPORT",
    "unix": None,
    "inet": None,
    "inet6": None,
    "netlink": None,
    "pushed key": "EPERM",
    "pushed key, wide": "EPERM",
    "console": "EPERM",
    "io_uring": "ENOSYS",
    "keys": "ENOSYS",
    "x32": "ENOSYS",
    "descriptors": [0, 1, 2],
}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of x86_64")
def test_attacks_from_inside_are_held(user: User) -> None:
    result = user.run("run", "--", sys.executable, "-c", ATTACKS)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    for name in ("memory of init", "root of init", "descriptors of init", "namespace of init"):
        found[name] = found[name].replace("EPERM", "EACCES")
    assert found == HELD, result.stderr


def test_a_signal_to_everybody_stays_inside(slirpy: User) -> None:
    for target in ("0", "-1", "1"):
        script = f'"$@" -c "trap : TERM; kill -9 {target}; sleep 0.01"; echo the script goes on'
        result = subprocess.run(
            ["setsid", "-w", "sh", "-c", script, "sh", *slirpy.argv("run", "--", "sh")],
            cwd=slirpy.folder,
            env=slirpy.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert result.stdout == "the script goes on\n", (target, result.stderr)


def test_descriptors_of_the_caller(slirpy: User) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0.2)
        number = theirs.fileno()
        for options, expected in ((["--keep-fd", str(number)], b"out\n"), ([], b"")):
            subprocess.run(
                slirpy.argv("run", *options, "--", "bash", "-c", f"echo out >&{number}"),
                env=slirpy.environment(),
                pass_fds=[number],
                capture_output=True,
                timeout=30,
                check=False,
            )
            try:
                received = ours.recv(9)
            except TimeoutError:
                received = b""
            assert received == expected, options
        result = slirpy.run("run", "--keep-fd", "77", "--", "true")
        assert result.returncode == 2
        assert result.stderr.startswith("slirpy: --keep-fd 77: ")


# ------------------------------------------------------------------------------------- hidden paths


def reach(path: Path) -> list[str]:
    """A command that tells whether it reaches a Unix socket."""
    program = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1]); print('reached')"
    return ["--", sys.executable, "-c", program, str(path)]


@pytest.mark.long
def test_sockets_of_the_host_are_hidden_with_a_policy(user: User) -> None:
    path = user.folder / "agent"
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(path))
        path.chmod(0o777)
        agent.listen()
        for options, expected in {
            (): "reached\n",
            ("--restrict",): "",
            ("--deny", "any"): "",
            ("--restrict", "--no-hide"): "reached\n",
            ("--restrict", "--keep", str(path)): "reached\n",
            ("--no-hide", "--hide", str(path)): "",
            ("--hide", str(user.folder)): "",
        }.items():
            result = user.run("run", *options, *reach(path))
            assert result.stdout == expected, (options, result.stderr)


def test_hidden_folders_are_empty_and_variables_are_gone(slirpy: User, folder: Path) -> None:
    (folder / "secret" / "kept").mkdir(parents=True)
    (folder / "secret" / "kept" / "file").write_text("text")
    script = (
        f"cd ..; cd {folder}/secret; ls; ls /run; ls /proc/self/cwd/; env | grep -c -e TMUX -e SSH_AUTH_SOCK"
    )
    result = slirpy.run(
        "run", "--restrict", "--hide", f"{folder}/secret", "--", "sh", "-c", script, TMUX="x", SSH_AUTH_SOCK="y"
    )
    assert result.stdout == "0\n", result.stderr
    result = slirpy.run(
        "run",
        "--hide",
        f"{folder}/secret",
        "--keep",
        f"{folder}/secret/kept",
        "--",
        "cat",
        f"{folder}/secret/kept/file",
    )
    assert result.stdout == "text", result.stderr


def test_the_current_folder_is_left_if_it_is_hidden(slirpy: User, folder: Path) -> None:
    (folder / "file").write_text("text")
    result = slirpy.run("run", "--hide", str(folder), "--", "ls", "-A", ".")
    assert result.stdout == "", result.stderr


def test_names_are_found_where_resolv_conf_is_hidden(slirpy: User) -> None:
    result = slirpy.run("run", "--restrict", "--hide", "/etc", "--", "cat", "/etc/resolv.conf")
    assert result.stdout.startswith("nameserver 10.0.2.3\n"), result.stderr


# ---------------------------------------------------------------------------------- users, capabilities


@needs_root
def test_root_s_command_cannot_set_the_kernel(folder: Path) -> None:
    user = User("root", folder)
    paths = [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sysrq-trigger",
        "/proc/irq/0/smp_affinity",
    ]
    tries = "; ".join(
        f"dd if=/dev/null of={path} conv=notrunc status=none" for path in filter(os.path.exists, paths)
    )
    result = user.run("run", "--", "sh", "-c", f"{tries}; touch /sys/kernel/x; echo done")
    assert result.stdout == "done\n"
    assert result.stderr.count("Read-only file system") == tries.count("dd") + 1 > 1, result.stderr


def test_a_user_of_one_s_own(user: User) -> None:
    result = user.run(
        "run", "--uid", "1234:1235", "--", "sh", "-c", "id -u; id -g; touch made; grep CapEff /proc/self/status"
    )
    assert result.stdout.split() == ["1234", "1235", "CapEff:", "0" * 16], result.stderr
    expected = 1234 if user.name == "root" else 65534 if os.geteuid() == 0 else os.geteuid()
    assert (user.folder / "made").stat().st_uid == expected
    for wrong in ("nobody", "1:", "-1", "99999999999"):
        result = user.run("run", "--uid", wrong, "--", "true")
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.startswith(f'slirpy: --uid "{wrong}": '), result.stderr


def test_privileged(user: User, need: Need) -> None:
    need("ip")
    result = user.run("run", "--privileged", "--", "ip", "link", "set", "tap0", "mtu", "1400")
    assert (result.returncode, result.stderr) == (0, "")


def test_servers_below_1024_need_no_privileges(user: User) -> None:
    result = user.run(
        "run", "--", sys.executable, "-c", "import socket; socket.create_server(('', 80)); print('listens')"
    )
    assert result.stdout == "listens\n", result.stderr


# -------------------------------------------------------------------------------------- the terminal


def test_a_key_ends_the_script_around_it_but_a_signal_of_the_command_does_not(slirpy: User, need: Need) -> None:
    need("bash", "setsid")
    inner = " ".join(f"'{part}'" for part in slirpy.argv("run", "--", "sh", "-c"))
    # "wait" last: dash 0.5.12 loses a SIGINT that comes while it starts a program.
    with terminal(
        slirpy,
        "sh",
        "-c",
        f"{inner} 'kill -INT 0; sleep 9'; echo and o''n; {inner} 'sleep 30 & echo re''ady; wait'",
    ) as tty:
        tty.expect("and on")
        tty.expect("ready")
        tty.type("\x03")
        assert tty.process.wait(10) == -2


def test_a_pipeline_shares_the_terminal(slirpy: User, need: Need) -> None:
    """The other end of the pipe may read the keyboard, as a pager does."""
    need("bash", "setsid")
    inner = " ".join(f"'{part}'" for part in slirpy.argv("run", "--", "echo", "piped"))
    with terminal(slirpy, *SHELL) as tty:
        tty.expect("prompt> ")
        tty.type(f"{inner} | sh -c 'cat; read x </dev/tty; echo got-$x'\n")
        tty.expect("piped\r\n")
        tty.type("line\n")
        tty.expect("got-line")
        tty.expect("prompt> ")


def test_the_recipe_for_bubblewrap(user: User, need: Need) -> None:
    need("bwrap")
    page = (REPOSITORY / "docs" / "howto" / "border.md").read_text()
    recipe = re.search(r"```bash\nslirpy (run .*?) CMD\n```", page, re.DOTALL)
    assert recipe is not None
    words = shlex.split(recipe[1].replace("\\\n", " "))
    (user.folder / "here").touch()
    result = user.run(*words, "sh", "-c", "echo $(ls) $(ls /home /root); head -n 1 /etc/resolv.conf")
    assert result.stdout == "here\nnameserver 10.0.2.3\n", result.stderr


def test_the_recipe_for_systemd(user: User, need: Need) -> None:
    """Word for word where systemd runs for the user. Elsewhere systemd checks the properties, and slirpy its part."""
    need("systemd-run", "systemd-analyze")
    page = (REPOSITORY / "docs" / "howto" / "border.md").read_text()
    recipe = re.search(r"^\$ (systemd-run .*?) slirpy (run .*) CMD$", page, re.MULTILINE)
    assert recipe is not None
    scope, own = shlex.split(recipe[1]), shlex.split(recipe[2])
    properties = [word for option, word in pairwise(scope) if option == "-p"]
    assert len(properties) == 3
    unit = user.folder / "check.service"
    unit.write_text("\n".join(["[Service]", "Type=oneshot", "ExecStart=/bin/true", *properties, ""]))
    verified = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert str(unit) not in verified.stderr, verified.stderr
    whole = [sys.executable, "-m", "slirpy", *own, "echo", "inside"]
    if _run(user, "systemctl", "--user", "is-system-running").stdout.strip() in ("running", "degraded"):
        whole = [*scope, *whole]
    result = _run(user, *whole)
    assert result.stdout == "inside\n", result.stderr


def _run(user: User, *words: str) -> subprocess.CompletedProcess[str]:
    """Run any program as this user."""
    return subprocess.run(
        [*user.prefix(), *words],
        cwd=user.folder,
        env=user.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
