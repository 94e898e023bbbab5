"""``slirpy-pasta`` in a namespace that plays the host, beside Debian's pasta where that can do the same."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.hostspace import (
    ADDRESS,
    ADDRESS6,
    GATEWAY,
    SLIRPY_PASTA,
    HostSpace,
    Shell,
    host_space,
    interface,
)
from tests.system.user import User

pytestmark = pytest.mark.system
Need = Callable[..., None]
Eventually = Callable[..., None]

SLIRPY, DEBIAN = SLIRPY_PASTA, ("pasta",)
ROUTES = [
    "192.0.2.0/24  uplink0",
    "198.51.100.0/24 192.0.2.7 uplink0",
    "2001:db8::/64  uplink0",
    f"default {GATEWAY} uplink0",
    "default fe80::1 uplink0",
]
SERVER = """
import socket, sys
family, kind = int(sys.argv[1]), int(sys.argv[2])
sock = socket.socket(family, kind)
if family == socket.AF_INET6:
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
sock.bind((sys.argv[3], int(sys.argv[4])))
if kind == socket.SOCK_STREAM:
    sock.listen()
print("listening", flush=True)
while True:
    if kind == socket.SOCK_STREAM:
        client, place = sock.accept()
        client.sendall(("seen as " + place[0]).encode())
        client.close()
    else:
        data, place = sock.recvfrom(9000)
        sock.sendto(("seen as " + place[0]).encode(), place)
"""
CLIENT = """
import socket, sys
family, kind = int(sys.argv[1]), int(sys.argv[2])
sock = socket.socket(family, kind)
sock.settimeout(5)
try:
    sock.connect((sys.argv[3], int(sys.argv[4])))
    if kind == socket.SOCK_DGRAM:
        sock.send(b"?")
    print(sock.recv(9000).decode())
except OSError as error:
    print(type(error).__name__)
"""

NAMES = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("127.0.0.77", 53))
print("listening", flush=True)
while True:
    query, client = sock.recvfrom(2000)
    question = query[12:query.index(0, 12) + 5]
    record = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4" + bytes((192, 0, 2, 55))
    sock.sendto(query[:2] + b"\\x81\\x80\\0\\1\\0\\1\\0\\0\\0\\0" + question + record, client)
"""
ASK_NAMES = r"""
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(5)
sock.sendto(bytes.fromhex("12340100000100000000000004686f737404746573740000010001"), (sys.argv[1], 53))
print(socket.inet_ntoa(sock.recv(2000)[-4:]))
"""


@pytest.fixture
def host(user: User, need: Need) -> Iterator[HostSpace]:
    """The namespace that plays the host."""
    need("unshare", "nsenter", "ip", "sh")
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with host_space(user) as found:
        yield found


def ask(host: HostSpace, address: str, port: int, kind: int = socket.SOCK_STREAM) -> str:
    """The answer of a server to a client of the host's."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return host.run(
        sys.executable, "-c", CLIENT, str(int(family)), str(int(kind)), address, str(port)
    ).stdout.strip()


def inside(shell: Shell, script: str, address: str, port: int, kind: int = socket.SOCK_STREAM) -> str:
    """The output of a script in the guest's namespace."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return shell.run(f"{sys.executable} -c '{script}' {int(family)} {int(kind)} {address} {port}")


def serve(shell: Shell, address: str, port: int, kind: int = socket.SOCK_STREAM) -> None:
    """Start a server in the guest's namespace."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    program = f"{sys.executable} -c '{SERVER}' {int(family)} {int(kind)} {address} {port}"
    shell.run(f"mkfifo f{port}; {program} > f{port} & read line < f{port}")


def listening(host: HostSpace, address: str, port: int, kind: int = socket.SOCK_STREAM) -> list[str]:
    """The command line of a server on the host."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return [sys.executable, "-c", SERVER, str(int(family)), str(int(kind)), address, str(port)]


only_nobody = pytest.mark.parametrize("user", ["nobody"], indirect=True)
"""Started by root, pasta and slirpy-pasta become nobody, who may not read the interpreter everywhere."""


def test_the_hosts_addresses_and_routes(host: HostSpace) -> None:
    with host.shell(SLIRPY, "--config-net", "-q") as shell:
        assert interface(shell, "uplink0") == ([f"{ADDRESS}/24", f"{ADDRESS6}/64"], ROUTES)
        link = shell.json("ip -json link show uplink0")[0]
        assert (link["mtu"], "UP" in link["flags"]) == (65520, True)
        assert "LOOPBACK,UP" in shell.run("ip link show lo")
        assert shell.run("id -u; echo $$") == "0\n1"
        assert shell.end(7) == 7
    assert shell.process.stderr is None or shell.process.stderr.closed


@only_nobody
@pytest.mark.parametrize(
    "options",
    [
        "-4",
        "-6",
        "-4 -m 9000",
        "-4 -I inner0",
        "-4 -a 203.0.113.7 -n 24 -g 203.0.113.1",
        "-4 --ns-mac-addr 02:00:00:00:00:77",
        "-4 -i uplink0",
        "-4 -g 192.0.2.9",
    ],
)
def test_the_interface_is_that_of_pasta(host: HostSpace, need: Need, options: str) -> None:
    need("pasta")
    seen = []
    for program in (DEBIAN, SLIRPY):
        name = "inner0" if "-I" in options else "uplink0"
        more = [] if program is DEBIAN else ["--no-copy-routes"]  # Debian's of 2023 copies one route
        with host.shell(program, "--config-net", "-q", *more, *options.split()) as shell:
            link = shell.json(f"ip -json link show {name}")[0]
            mac = link["address"] if "--ns-mac-addr" in options else ""
            seen.append((interface(shell, name), link["mtu"], mac))
            assert shell.end() == 0
    assert seen[0] == seen[1]


@only_nobody
@pytest.mark.parametrize(
    ("command", "status"), [("true", 0), ("exit 3", 3), ("sh -c 'kill -TERM $$'; exit 9", 9)]
)
def test_the_status_is_the_commands(host: HostSpace, need: Need, command: str, status: int) -> None:
    need("pasta")
    for program in (DEBIAN, SLIRPY):
        done = host.run(*program, "--config-net", "-q", "--", "sh", "-c", command)
        assert done.returncode == status


def test_a_command_that_is_not_there(host: HostSpace) -> None:
    done = host.run(*SLIRPY, "-q", "--", "nosuchcommand")
    assert (done.returncode, done.stderr) == (1, "slirpy: 'nosuchcommand': not found\n")


@only_nobody
def test_the_gateway_is_the_loopback_of_the_host(host: HostSpace) -> None:
    with host.server(*listening(host, "127.0.0.1", 7001)), host.server(*listening(host, ADDRESS, 7001)):
        with host.shell(SLIRPY, "--config-net", "-q", "-T", "none") as shell:
            assert inside(shell, CLIENT, GATEWAY, 7001) == "seen as 127.0.0.1"
            assert inside(shell, CLIENT, "127.0.0.1", 7001) == "ConnectionRefusedError"
            assert inside(shell, CLIENT, ADDRESS, 7001) == "ConnectionRefusedError"  # the guest's own
            assert "1 received" in shell.run(f"ping -c1 -W5 {GATEWAY}")
        with host.shell(SLIRPY, "--config-net", "-q", "-T", "none", "--map-guest-addr", "169.254.1.2") as shell:
            assert inside(shell, CLIENT, "169.254.1.2", 7001) == f"seen as {ADDRESS}"


@only_nobody
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_ports_of_the_host_lead_inside(host: HostSpace, kind: int) -> None:
    option = "-t" if kind == socket.SOCK_STREAM else "-u"
    ports = (option, "7000-7003:8000-8003,~7001", option, f"{ADDRESS}/7005:8000")
    with host.shell(SLIRPY, "--config-net", "-q", *ports) as shell:
        serve(shell, "0.0.0.0", 8000, kind)
        assert ask(host, "127.0.0.1", 7000, kind) == "seen as 127.0.0.1"
        assert ask(host, ADDRESS, 7000, kind) == f"seen as {GATEWAY}"
        assert ask(host, ADDRESS, 7005, kind) == f"seen as {GATEWAY}"
        for closed in (7001, 7002, 7005) if kind == socket.SOCK_STREAM else (7001,):
            assert ask(host, "127.0.0.1", closed, kind) in ("ConnectionRefusedError", "ConnectionResetError")
        serve(shell, "::", 8003, kind)
        assert ask(host, "::1", 7003, kind) == "seen as ::1"
        assert ask(host, ADDRESS6, 7003, kind).startswith("seen as fe80::")


@only_nobody
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_ports_of_the_namespace_lead_to_the_host(host: HostSpace, kind: int) -> None:
    option = "-T" if kind == socket.SOCK_STREAM else "-U"
    with (
        host.server(*listening(host, "127.0.0.1", 7001, kind)),
        host.server(*listening(host, "::1", 7001, kind)),
        host.shell(SLIRPY, "--config-net", "-q", option, "9001:7001") as shell,
    ):
        assert inside(shell, CLIENT, "127.0.0.1", 9001, kind) == "seen as 127.0.0.1"
        assert inside(shell, CLIENT, "::1", 9001, kind) == "seen as ::1"
        assert inside(shell, CLIENT, "127.0.0.1", 7001, kind) == "ConnectionRefusedError"


@only_nobody
def test_without_splices_the_loopback_of_the_host_comes_by_the_interface(host: HostSpace) -> None:
    options = ("--config-net", "-q", "--no-splice", "-t", "7000-7001:8000-8001", "-T", "9001")
    with (
        host.server(*listening(host, "127.0.0.1", 9001)),
        host.shell(SLIRPY, *options) as shell,
    ):
        serve(shell, "0.0.0.0", 8000)
        serve(shell, "127.0.0.1", 8001)
        assert ask(host, "127.0.0.1", 7000) == f"seen as {GATEWAY}"
        assert ask(host, "127.0.0.1", 7001) in ("ConnectionRefusedError", "ConnectionResetError")
        # The option is about the other direction.
        assert inside(shell, CLIENT, "127.0.0.1", 9001) == "seen as 127.0.0.1"


@only_nobody
def test_dns_forward_leads_to_the_resolver(host: HostSpace) -> None:
    """Queries to one address go to the host's resolver, or to that of --dns-host."""
    enter = ["nsenter", f"--target={host.process.pid}", "--net", "--", sys.executable, "-c", NAMES]
    with subprocess.Popen(enter, stdout=subprocess.PIPE, text=True) as names:
        try:
            assert names.stdout is not None
            assert names.stdout.readline() == "listening\n"
            options = ("--config-net", "-q", "-4", "--dns-forward", "192.0.2.53", "--dns-host", "127.0.0.77")
            with host.shell(SLIRPY, *options) as shell:
                assert shell.run(f"{sys.executable} -c '{ASK_NAMES}' 192.0.2.53") == "192.0.2.55"
        finally:
            names.kill()


@pytest.mark.long
@only_nobody
def test_listeners_are_followed(host: HostSpace, eventually: Eventually) -> None:
    with (
        host.server(*listening(host, "127.0.0.1", 7001)) as outer,
        host.shell(SLIRPY, "--config-net", "-q") as shell,
    ):
        serve(shell, "127.0.0.1", 7002)
        eventually(lambda: ask(host, "127.0.0.1", 7002) == "seen as 127.0.0.1", "it follows")
        eventually(lambda: inside(shell, CLIENT, "127.0.0.1", 7001) == "seen as 127.0.0.1", "it follows")
        shell.run("kill $!")
        eventually(lambda: ask(host, "127.0.0.1", 7002) == "ConnectionRefusedError", "it follows")
        outer.kill()
        eventually(lambda: inside(shell, CLIENT, "127.0.0.1", 7001) == "ConnectionRefusedError", "it follows")


SLOW = """
import socket, time
server = socket.create_server(("127.0.0.1", 7100))
server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
print("listening", flush=True)
client = server.accept()[0]
count = 0
while data := client.recv(65536):
    count += len(data)
    time.sleep(0.001)  # so that much is under way when the command has ended
print(count, flush=True)
"""


@only_nobody
def test_data_in_flight_at_the_end_of_the_command_arrives(host: HostSpace) -> None:
    send = f"import socket; socket.create_connection(('{GATEWAY}', 7100)).sendall(bytes(2 << 20))"
    with host.server(sys.executable, "-c", SLOW) as server:
        done = host.run(*SLIRPY, "--config-net", "-q", "--", sys.executable, "-c", send)
        assert (done.returncode, done.stderr) == (0, "")
        assert server.stdout is not None
        assert server.stdout.readline() == f"{2 << 20}\n"


@only_nobody
def test_the_network_process_is_sandboxed(host: HostSpace) -> None:
    """The process with the network has no way to files or programs, and nothing is said about it."""
    with host.shell(SLIRPY, "--config-net", "-q") as shell:
        assert shell.run("echo up") == "up"
        status = Path(f"/proc/{shell.process.pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status
        assert "Seccomp:\t2" in status
        assert shell.end() == 0
        assert shell.process.stderr is not None
        assert shell.process.stderr.read() == ""


@pytest.fixture
def existing(host: HostSpace) -> Iterator[subprocess.Popen[str]]:
    """A namespace that another program of the user's has made."""
    process = host.start(
        "unshare", "--user", "--map-root-user", "--net", "sh", "-c", "echo there; exec sleep 600"
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        yield process
        process.kill()


def look(process: subprocess.Popen[str], *argv: str) -> str:
    """The output of a command in a namespace."""
    command = ["nsenter", f"--target={process.pid}", "--net", "--", *argv]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout


@pytest.mark.long
@only_nobody
def test_podman_calls_it_like_this(
    host: HostSpace, existing: subprocess.Popen[str], folder: Path, eventually: Eventually
) -> None:
    link = folder / "netns"
    link.symlink_to(f"/proc/{existing.pid}/ns/net")
    pid = folder / "pid"
    done = host.run(
        *SLIRPY, "--config-net", "--pid", str(pid), "-t", "8080-8080:80-80", "--dns-forward", "169.254.1.1",
        "-u", "none", "-T", "none", "-U", "none", "--no-map-gw", "--quiet", "--userns",
        f"/proc/{existing.pid}/ns/user",
        "--netns", str(link), "--map-guest-addr", "169.254.1.2",
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    number = int(pid.read_text())
    assert f"inet {ADDRESS}/24" in look(existing, "ip", "address")
    assert ask(host, "127.0.0.1", 8080) == "ConnectionResetError"  # nobody listens at port 80
    assert "uplink0" in look(existing, "ip", "link")
    link.unlink()
    eventually(lambda: not Path(f"/proc/{number}").exists(), "it follows")
    assert "uplink0" not in look(existing, "ip", "link")
    assert not pid.exists()


@only_nobody
def test_a_process_that_ends(host: HostSpace, existing: subprocess.Popen[str], folder: Path) -> None:
    with host.start(
        *SLIRPY, "-f", "-q", "-P", str(folder / "pid"), "--config-net", str(existing.pid)
    ) as process:
        try:
            while not (folder / "pid").exists() or not (folder / "pid").read_text():
                assert process.poll() is None
            assert f"inet {ADDRESS}/24" in look(existing, "ip", "address")
            existing.kill()
            assert process.wait(30) == 0
        finally:
            process.kill()


@only_nobody
def test_a_signal_ends_the_command_too(host: HostSpace) -> None:
    with host.shell(SLIRPY, "--config-net", "-q") as shell:
        assert shell.run("echo here") == "here"
        shell.process.send_signal(signal.SIGTERM)
        assert shell.process.wait(30) == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("-t 80", "privileges"),
        ("-t all", "ulimit -n"),
        ("-t 203.0.113.9/8080", "no address of this host"),
        ("-t %nosuch/8080", 'no interface "nosuch"'),
        ("-i nosuch", 'no interface "nosuch"'),
        ("--netns nosuch", "nosuch"),
        ("999999999", "no such process"),
        ("-P /nosuch/file", "/nosuch/file"),
        ("--nosuch", "--nosuch"),
    ],
)
@only_nobody
def test_mistakes(host: HostSpace, options: str, said: str) -> None:
    done = host.run(*SLIRPY, "--config-net", "-q", *options.split())
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@only_nobody
def test_the_first_example_of_the_manual(host: HostSpace, need: Need, eventually: Eventually) -> None:
    """A server on the host, a shell in new namespaces, DHCP inside, and the server at the loopback of either."""
    need("iperf3", "dhclient")
    with host.start("iperf3", "-s", "-1", "--forceflush") as server, host.shell(SLIRPY, "-q") as shell:
        try:
            assert server.stdout is not None
            while "listening" not in server.stdout.readline():
                assert server.poll() is None
            assert "inet" not in shell.run("ip address show uplink0")
            said = shell.run(f"dhclient -v -4 --no-pid -lf {host.user.folder}/lease uplink0")
            assert interface(shell, "uplink0")[0] == [f"{ADDRESS}/24"], said
            assert f"default via {GATEWAY} dev uplink0" in shell.run("ip route")
            eventually(lambda: "iperf Done" in shell.run("iperf3 -c 127.0.0.1 -t1"), "the port is followed")
        finally:
            server.kill()


@only_nobody
def test_the_second_example_of_the_manual(
    host: HostSpace, existing: subprocess.Popen[str], folder: Path
) -> None:
    """A namespace that exists, by a process id; the program goes to the background."""
    done = host.run(*SLIRPY, "-P", str(folder / "pid"), str(existing.pid))
    try:
        assert done.returncode == 0
        assert f"IPv4: address {ADDRESS}, gateway {GATEWAY}" in done.stderr
        assert "uplink0" in look(existing, "ip", "link")
        assert ADDRESS not in look(existing, "ip", "address")
    finally:
        os.kill(int((folder / "pid").read_text()), signal.SIGTERM)
