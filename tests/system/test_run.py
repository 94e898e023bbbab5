"""``slirpy run``: the environment of CMD, how it ends, errors and how they are reported, and what is left behind."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.repository import REPOSITORY
from tests.system.machine import processes_with
from tests.system.user import User
from tests.system.webserver import WebServer

pytestmark = pytest.mark.system
Need = Callable[..., None]
needs_root = pytest.mark.skipif(sys.platform == "linux" and os.geteuid() != 0, reason="needs root")


# -------------------------------------------------------------------------- what CMD finds


def test_a_command_has_an_address_a_gateway_and_the_host_s_servers(
    user: User, need: Need, web: WebServer
) -> None:
    need("ip", "ping", "curl")
    script = f"ip -br addr; ping -c 2 -i 0.2 -W 5 10.0.2.2; curl -sf http://10.0.2.2:{web.port}/"
    result = user.run("run", "--", "sh", "-c", script)
    assert result.returncode == 0, result.stderr
    assert re.search(
        r"^tap0\s+\S+\s+10\.0\.2\.15/24 fec0::15/64 fe80::\S+/64\s*$", result.stdout, re.MULTILINE
    ), result.stdout
    assert re.search(r"^lo\s+\S+\s+127\.0\.0\.1/8", result.stdout, re.MULTILINE)
    assert "2 packets transmitted, 2 received, 0% packet loss" in result.stdout
    assert result.stdout.endswith("hello from the server\n")
    assert result.stderr == ""


def test_the_interface_follows_the_options(user: User, need: Need) -> None:
    need("ip")
    script = "ip -j addr show tap0; ip -j route; cat /etc/resolv.conf"
    result = user.run(
        "run", "--net", "192.168.7.0/25", "--host", "192.168.7.9", "--mtu", "4000", "--", "sh", "-c", script
    )
    assert result.returncode == 0, result.stderr
    links, routes, resolv, *_ = result.stdout.splitlines()  # the host's search domains and options may follow
    (link,) = json.loads(links)
    (address,) = (each for each in link["addr_info"] if each["family"] == "inet")
    assert (link["mtu"], link["address"]) == (4000, "52:54:00:12:34:56")
    assert (address["local"], address["prefixlen"]) == ("192.168.7.15", 25)
    assert address["broadcast"] == "192.168.7.127"
    (default,) = (route for route in json.loads(routes) if route["dst"] == "default")
    assert (default["gateway"], default["dev"]) == ("192.168.7.9", "tap0")
    assert resolv == "nameserver 192.168.7.3"


def test_a_command_is_root_inside_and_the_user_outside(user: User, folder: Path) -> None:
    result = user.run("run", "sh", "-c", "id -u; id -g; touch made")
    assert result.stdout.split() == ["0", "0"], result.stderr
    expected = 65534 if user.name == "nobody" and os.geteuid() == 0 else os.geteuid()
    assert (folder / "made").stat().st_uid == expected


@needs_root
def test_a_privileged_command_of_root_may_change_to_another_user(slirpy: User, need: Need) -> None:
    need("setpriv")
    result = slirpy.run(
        "run", "--privileged", "setpriv", "--reuid=1234", "--regid=1235", "--groups=1236,1237", "id"
    )
    assert re.search(r"uid=1234 gid=1235 groups=1235,1236,1237", result.stdout), result.stderr


def test_options_after_the_command_are_the_command_s(slirpy: User) -> None:
    result = slirpy.run("run", "echo", "--net", "-x", "--help")
    assert (result.returncode, result.stdout) == (0, "--net -x --help\n")


def test_without_a_command_it_is_the_shell(slirpy: User) -> None:
    result = slirpy.run("run", SHELL="/bin/pwd")
    assert result.stdout.strip() == str(slirpy.folder)


def test_standard_streams_and_environment_are_the_command_s(slirpy: User) -> None:
    with slirpy.start("run", "--", "sh", "-c", "tr a-z A-Z; echo done >&2; echo $GREETING") as process:
        out, err = process.communicate("hello\n", timeout=30)
    assert (out, err, process.returncode) == ("HELLO\n\n", "done\n", 0)


def test_other_processes_and_the_host_s_files_are_out_of_sight(user: User) -> None:
    before = Path("/etc/resolv.conf").read_bytes() if os.path.exists("/etc/resolv.conf") else None
    result = user.run(
        "run", "sh", "-c", "ls -d /proc/[0-9]* | wc -l; cat /etc/resolv.conf; echo x > /etc/resolv.conf"
    )
    count, resolv = result.stdout.split("\n", 1)
    assert int(count) <= 5  # init, the shell, and its pipe
    assert resolv.startswith("nameserver 10.0.2.3\n")
    assert resolv.count("nameserver") == 1
    if before is not None:
        assert Path("/etc/resolv.conf").read_bytes() == before


def test_no_host_loopback_keeps_the_host_s_servers_away(slirpy: User, need: Need, web: WebServer) -> None:
    need("curl", "ping")
    script = f"ping -c 1 -W 5 10.0.2.2 >/dev/null && curl -s -m 5 http://10.0.2.2:{web.port}/"
    result = slirpy.run("run", "--no-host-loopback", "--", "sh", "-c", script)
    assert result.returncode == 7, result.stdout  # curl: failed to connect
    assert web.clients == set()


# ---------------------------------------------------------------------------- how it ends


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -9 $$"], 137),
        (["sh", "-c", "kill -15 $$"], 143),
    ],
)
def test_the_exit_status_is_the_command_s(slirpy: User, command: list[str], status: int) -> None:
    result = slirpy.run("run", "--", *command)
    assert (result.returncode, result.stdout, result.stderr) == (status, "", "")


def test_a_command_that_cannot_be_started_is_one_line(user: User, folder: Path) -> None:
    plain = folder / "plain"
    plain.write_text("no program")
    plain.chmod(0o644)
    result = user.run("run", "--", "no-such-command")
    assert (result.returncode, result.stderr) == (127, "slirpy: no-such-command: not found\n")
    for what in (plain, folder):
        result = user.run("run", "--", str(what))
        assert (result.returncode, result.stderr) == (126, f"slirpy: {what}: permission denied\n")
    plain.chmod(0o755)
    result = user.run("run", "--", str(plain))
    assert (result.returncode, result.stderr) == (126, f"slirpy: {plain}: exec format error\n")


def test_data_under_way_at_the_command_s_end_still_arrives(slirpy: User) -> None:
    """The process has closed its socket and ended; what is still in its kernel's buffers must not be lost."""
    count = 3_000_000
    program = (
        "import socket, sys\n"
        "s = socket.create_connection(('10.0.2.2', int(sys.argv[1])))\n"
        f"s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, {2 * count})\n"
        "s.setblocking(False)\n"
        "print(s.send(b'x' * 10_000_000))\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        port = str(server.getsockname()[1])
        with slirpy.start("run", sys.executable, "-c", program, port) as process:
            peer, _ = server.accept()
            with peer:
                peer.settimeout(20)
                assert process.stdout is not None
                sent = int(process.stdout.readline())
                received = 0
                while piece := peer.recv(1 << 20):
                    received += len(piece)
                assert process.wait(20) == 0
    assert received == sent > 100_000


def test_background_processes_end_with_the_command(slirpy: User, eventually: Callable[..., None]) -> None:
    mark = f"slirpy-test-mark-{os.getpid()}"
    result = slirpy.run("run", "sh", "-c", "sleep 1000 & setsid sleep 1000 & exit 3", SLIRPY_TEST_MARK=mark)
    assert result.returncode == 3
    eventually(lambda: not processes_with(mark), "all processes are gone")


def test_nothing_is_left_behind(user: User, need: Need) -> None:
    need("ip")

    def traces() -> tuple[object, ...]:
        interfaces = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
        mounts = Path("/proc/self/mounts").read_text()
        return interfaces, mounts, os.listdir(user.folder)

    before = traces()
    assert user.run("run", "ip", "addr").returncode == 0
    assert traces() == before


# --------------------------------------------------------------------------- the other options


def test_a_port_chosen_for_a_forward_is_printed(slirpy: User, need: Need) -> None:
    need("curl")
    program = [sys.executable, str(REPOSITORY / "tests/system/webserver.py"), "10.0.2.15", "80"]
    with slirpy.start("run", "--hostfwd", "tcp::0-:80", "--", *program) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        told = re.fullmatch(r"hostfwd tcp 127\.0\.0\.1:(\d+) -> :80\n", process.stderr.readline())
        assert told is not None
        assert process.stdout.readline() == "80\n"
        page = subprocess.run(
            ["curl", "-sf", "-m", "20", f"http://127.0.0.1:{told[1]}/"],
            capture_output=True,
            text=True,
            check=True,
        )
    assert page.stdout == "hello from the server\n"


def test_a_port_in_use_is_one_line(slirpy: User) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = slirpy.run("run", "--hostfwd", f"tcp::{port}-:80", "--", "echo", "started")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert re.match(rf"slirpy: --hostfwd .*{port}.*in use", result.stderr), result.stderr


def test_capture_and_statistics(slirpy: User, need: Need, web: WebServer, folder: Path) -> None:
    need("curl", "tshark")
    url = f"http://10.0.2.2:{web.port}/"
    result = slirpy.run("run", "--stats", "--capture", "out.pcap", "--", "curl", "-sf", url)
    assert (result.returncode, result.stdout) == (0, "hello from the server\n"), result.stderr
    assert re.search(r"^frames_in +[1-9]", result.stderr, re.MULTILINE), result.stderr
    assert re.search(r"^tcp_flows +1 ", result.stderr, re.MULTILINE)
    fields = [
        "-T",
        "fields",
        "-e",
        "ip.src",
        "-e",
        "tcp.flags.str",
        "-e",
        "http.request.method",
        "-e",
        "http.response.code",
    ]
    seen = subprocess.run(
        ["tshark", "-r", str(folder / "out.pcap"), "-d", f"tcp.port=={web.port},http", "-Y", "tcp", *fields],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    rows = [row.split("\t") for row in seen.splitlines()]
    assert [row[0] for row in rows[:3]] == ["10.0.2.15", "10.0.2.2", "10.0.2.15"]
    assert ["S" in row[1] for row in rows[:3]] == [True, True, False]
    assert [row[2] for row in rows if row[2]] == ["GET"]
    assert [row[3] for row in rows if row[3]] == ["200"]


def test_a_capture_file_that_cannot_be_written_is_one_line(slirpy: User) -> None:
    result = slirpy.run("run", "--capture", "/no/such/folder/x.pcap", "--", "echo", "started")
    assert (result.returncode, result.stdout) == (2, "")
    assert re.fullmatch(r'slirpy: --capture "/no/such/folder/x.pcap": cannot be written: .*\n', result.stderr)


# ------------------------------------------------------------------------- what may be missing


def in_mounts(user: User, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in a private mount namespace, with slirpy as its arguments."""
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *user.argv("run", "--", "echo", "started")],
        cwd=user.folder,
        env=user.environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@needs_root
def test_no_tun_device_is_one_line(slirpy: User) -> None:
    result = in_mounts(slirpy, 'mount -t tmpfs tmpfs /dev/net && exec "$@"')
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert re.match(r"slirpy: .*/dev/net/tun.*modprobe tun", result.stderr), result.stderr


@needs_root
def test_no_right_to_open_the_tun_device_is_one_line(folder: Path) -> None:
    user = User("nobody", folder)
    closed = [
        part.replace("mknod -m 666", "mknod -m 600") for part in user.argv("run", "--", "echo", "started")
    ]
    result = subprocess.run(
        closed, cwd=folder, env=user.environment(), capture_output=True, text=True, timeout=30, check=False
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert re.match(r"slirpy: .*/dev/net/tun.*chmod", result.stderr), result.stderr


@pytest.mark.parametrize("kind", ["user", "mnt", "net", "pid"])
def test_a_limit_of_namespaces_is_one_line(slirpy: User, kind: str) -> None:
    script = f'echo 0 > /proc/sys/user/max_{kind}_namespaces && exec "$@"'
    result = subprocess.run(
        [
            "unshare",
            "--user",
            "--map-root-user",
            "sh",
            "-c",
            script,
            "sh",
            *slirpy.argv("run", "--", "echo", "started"),
        ],
        cwd=slirpy.folder,
        env=slirpy.environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert f"cannot make {kind} namespaces" in result.stderr
    assert f"user.max_{kind}_namespaces is 0" in result.stderr
    assert f"sysctl user.max_{kind}_namespaces=" in result.stderr


def test_a_command_without_a_name_is_one_line(slirpy: User) -> None:
    result = slirpy.run("run", "--", "")
    assert (result.returncode, result.stdout, result.stderr) == (127, "", "slirpy: '': not found\n")
