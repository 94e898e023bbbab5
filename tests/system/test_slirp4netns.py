"""``slirpy-slirp4netns`` in place of slirp4netns: the scenarios of its own tests, with the original beside it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tests.system.holders import Holder, holder, serve
from tests.system.netns import NetworkNamespace
from tests.system.user import User

pytestmark = pytest.mark.system
Need = Callable[..., None]
Eventually = Callable[..., None]

OURS = (sys.executable, "-c", "from slirpy.cli.slirp4netns.main import main; main()")
# Its sandbox unmounts what lies below the caller's shared mounts.
THEIRS = ("unshare", "--mount", "--propagation", "private", "slirp4netns")


@pytest.fixture(params=["slirp4netns", "slirpy"])
def program(request: pytest.FixtureRequest, need: Need) -> Sequence[str]:
    """Each scenario twice, with the original and with ours."""
    need("slirp4netns", "unshare", "nsenter", "ip", "ping")
    return THEIRS if request.param == "slirp4netns" else OURS


@pytest.fixture
def inside(slirpy: User) -> Iterator[Holder]:
    """A namespace to serve."""
    with holder(slirpy) as found:
        yield found


def failed(slirpy: User, program: Sequence[str], *words: str) -> tuple[int, str, str]:
    """Status and output of a command line that is refused; the program's name is left out."""
    done = subprocess.run(
        [*program, *words],
        cwd=slirpy.folder,
        env=slirpy.environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout, re.sub(r"^(slirp4netns|-c): ", "", done.stderr)


# ---------------------------------------------------------------------------------------- the interface


def test_configure(slirpy: User, program: Sequence[str], inside: Holder) -> None:
    with serve(slirpy, program, "--configure", "--mtu=65520", str(inside.pid), "tap11") as served:
        link = inside.run("ip", "address", "show", "tap11")
        assert "inet 10.0.2.100/24 brd 10.0.2.255" in link
        assert "mtu 65520" in link
        assert "default via 10.0.2.2 dev tap11" in inside.run("ip", "route")
        assert "LOOPBACK,UP" in inside.run("ip", "link", "show", "lo")
        inside.run("ping", "-c1", "-W5", "10.0.2.2")
        served.hang_up()
        assert served.status() == 0
    assert "tap11" not in inside.interfaces()


def test_without_configure_there_is_dhcp(
    slirpy: User, program: Sequence[str], inside: Holder, need: Need
) -> None:
    need("udhcpc")
    with serve(slirpy, program, str(inside.pid), "tap0"):
        assert "inet" not in inside.run("ip", "address", "show", "tap0")
        inside.run("ip", "link", "set", "tap0", "up")
        told = inside.run(
            "udhcpc", "-q", "-n", "-t", "3", "-T", "1", "-i", "tap0", "-s", "/bin/true", check=False
        )
        assert "10.0.2.15" in told


def test_cidr_and_mac_address(slirpy: User, program: Sequence[str], inside: Holder) -> None:
    mac = "0e:d4:18:d9:38:fb"
    options = ("-c", "--cidr=10.0.135.128/25", f"--macaddress={mac}", str(inside.pid), "tap11")
    with serve(slirpy, program, *options):
        link = inside.run("ip", "address", "show", "tap11")
        assert "inet 10.0.135.228/25" in link
        assert f"link/ether {mac}" in link
        inside.run("ping", "-c1", "-W5", "10.0.135.130")


@pytest.mark.parametrize("sandbox", [(), ("--enable-sandbox",), ("--enable-seccomp",)], ids=str)
def test_namespace_by_path(
    slirpy: User, program: Sequence[str], inside: Holder, sandbox: Sequence[str]
) -> None:
    user, net = (f"/proc/{inside.pid}/ns/{kind}" for kind in ("user", "net"))
    options = ("-c", *sandbox, f"--userns-path={user}", "--netns-type=path", net, "tap11")
    with serve(slirpy, program, *options) as served:
        inside.run("ping", "-c1", "-W5", "10.0.2.2")
        if "--enable-sandbox" in sandbox:
            status = Path(f"/proc/{served.process.pid}/status").read_text()
            capabilities = re.search(r"CapEff:\s*(\w+)", status)
            assert capabilities is not None
            assert int(capabilities[1], 16) & ~(1 << 10) == 0  # CAP_NET_BIND_SERVICE may stay


def test_the_sandbox_has_a_root_folder_of_its_own(slirpy: User, program: Sequence[str], inside: Holder) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to look into a process that may not be traced")
    user, net = (f"/proc/{inside.pid}/ns/{kind}" for kind in ("user", "net"))
    api = slirpy.folder / "api"
    options = ("-c", "--enable-sandbox", f"--userns-path={user}", "--netns-type=path", f"--api-socket={api}")
    with serve(slirpy, program, *options, net, "tap11") as served:
        root = Path(f"/proc/{served.process.pid}/root")
        assert (root / "etc/passwd").exists()
        assert (root / "run").is_dir()
        assert not any((root / name).exists() for name in ("home", "var", "bin", "sys", "proc", "usr/bin"))
        flags = {
            fields[4]: fields[5].split(",")
            for fields in map(str.split, (root.parent / "mountinfo").read_text().splitlines())
        }
        assert all("ro" in flags[place] for place in ("/", "/etc", "/run"))
        inside.run("ping", "-c1", "-W5", "10.0.2.2")
        with closing(socket.socket(socket.AF_UNIX)) as sock:
            sock.connect(str(api))
            sock.sendall(b'{"execute": "list_hostfwd"}')
            sock.shutdown(socket.SHUT_WR)
            assert json.loads(sock.recv(1000)) == {"entries": []}
        served.hang_up()
        assert served.status() == 0
        if program is OURS:
            assert served.error() == ""  # no part of the sandbox was missing
            assert not api.exists()


def test_a_namespace_that_was_entered_already(slirpy: User, program: Sequence[str], inside: Holder) -> None:
    """From within the user namespace, as podman's own is; the network namespace is another."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    enter = ("nsenter", f"--target={inside.pid}", "--user", "--preserve-credentials", "--")
    with serve(slirpy, (*enter, *program[-1:]) if program is THEIRS else (*enter, *program),
               "-c", "--netns-type=path", f"/proc/{inside.pid}/ns/net", "tap11"):  # fmt: skip
        assert "inet 10.0.2.100/24" in inside.run("ip", "address", "show", "tap11")


def test_ipv6(slirpy: User, inside: Holder, need: Need) -> None:
    """The address of version 1.3; earlier ones leave it to the kernel."""
    need("unshare", "nsenter", "ip", "ping")
    with serve(slirpy, OURS, "-c", "--enable-ipv6", "--cidr6=fd00:a1e1:1724:1a::/64", str(inside.pid), "tap11"):
        assert "inet6 fd00:a1e1:1724:1a::100/64" in inside.run("ip", "address", "show", "tap11")
        inside.run("ping", "-6", "-c1", "-W5", "fd00:a1e1:1724:1a::2")


# ------------------------------------------------------------------------------------------- the outside

CONNECT = "import socket; s = socket.create_connection(({!r}, {}), timeout={}); s.sendall(b'x'); s.recv(1)"


def listener(address: str = "127.0.0.1") -> socket.socket:
    """A server on the host."""
    sock = socket.create_server((address, 0))
    sock.settimeout(20)
    return sock


def test_a_random_network_of_ipv6(slirpy: User, inside: Holder, need: Need) -> None:
    """A local one (RFC 4193), another in each run, with the gateway as always."""
    need("unshare", "nsenter", "ip", "ping")
    found = set()
    for _ in range(2):
        with serve(slirpy, OURS, "-c", "--enable-ipv6", "--ipv6-random", str(inside.pid), "tap11") as served:
            network = re.search(r"inet6 (fd[0-9a-f:]+)::100/64 scope global", inside.run("ip", "address"))
            assert network is not None
            found.add(network[1])
            inside.run("ping", "-6", "-c1", "-W5", f"{network[1]}::2")
            served.hang_up()
            assert served.status() == 0
    assert len(found) == 2


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.9"])
def test_the_hosts_loopback_and_the_outbound_address(
    slirpy: User, program: Sequence[str], inside: Holder, source: str
) -> None:
    """The address is that of connections to the host's loopback too."""
    with closing(listener()) as server:
        port = server.getsockname()[1]
        with serve(slirpy, program, "-c", f"--outbound-addr={source}", str(inside.pid), "tap11"):
            client = subprocess.Popen(
                inside.command(sys.executable, "-c", CONNECT.format("10.0.2.2", port, 20))
            )
            sock, peer = server.accept()
            assert peer[0] == source
            sock.close()
            client.wait(20)


def test_without_the_hosts_loopback(slirpy: User, program: Sequence[str], inside: Holder) -> None:
    with closing(listener()) as server:
        port = server.getsockname()[1]
        with serve(slirpy, program, "-c", "--disable-host-loopback", str(inside.pid), "tap11"):
            inside.run("ping", "-c1", "-W5", "10.0.2.2")
            told = inside.run(sys.executable, "-c", CONNECT.format("10.0.2.2", port, 20), check=False)
            assert "Network is unreachable" in told


def test_without_dns(slirpy: User, program: Sequence[str], inside: Holder) -> None:
    """No answer at all, as ncat's timeout in the original's test wants it."""
    with serve(slirpy, program, "-c", "--disable-dns", str(inside.pid), "tap11"):
        told = inside.run(sys.executable, "-c", CONNECT.format("10.0.2.3", 53, 0.5), check=False)
        assert "timed out" in told
        inside.run("ping", "-c1", "-W5", "10.0.2.2")


# ------------------------------------------------------------------------------------------- other targets


def test_a_tap_interface_that_was_handed_over(slirpy: User, need: Need) -> None:
    need("ip", "ping")
    namespace = NetworkNamespace()
    try:
        namespace.set_up("10.0.2.100", 1500, offloads=True)
        os.set_inheritable(namespace.fd, True)
        with subprocess.Popen(
            [*OURS, "--netns-type=tapfd", str(namespace.fd)],
            pass_fds=(namespace.fd,),
            env=slirpy.environment(),
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "Starting slirp\n"
                namespace.run("ping", "-c1", "-W20", "10.0.2.2")
            finally:
                process.terminate()
            assert process.wait(30) == -signal.SIGTERM
    finally:
        os.close(namespace.fd)
        namespace.close()


def test_bess(slirpy: User, program: Sequence[str], eventually: Eventually) -> None:
    """Connect as User-mode Linux does: a packet is a frame."""
    path = slirpy.folder / "bess.sock"
    process = subprocess.Popen(
        [*program, "--target-type=bess", str(path)],
        cwd=slirpy.folder,
        env=slirpy.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as guest:
        try:
            eventually(path.exists, "the socket is there")
            guest.settimeout(20)
            eventually(lambda: guest.connect_ex(str(path)) == 0, "it listens")
            mac = bytes.fromhex("525400123456")
            ask = (
                bytes.fromhex("0001080006040001")
                + mac
                + bytes((10, 0, 2, 15))
                + bytes(6)
                + bytes((10, 0, 2, 2))
            )
            guest.send(b"\xff" * 6 + mac + b"\x08\x06" + ask)
            reply = guest.recv(2000)
            assert reply[:6] == mac
            assert reply[12:14] == b"\x08\x06"
            assert reply[28:32] == bytes((10, 0, 2, 2))
            guest.close()
            if program is OURS:
                assert process.wait(20) == 0
        finally:
            process.kill()


def test_bess_without_a_connection_ends_by_a_signal(slirpy: User, eventually: Eventually) -> None:
    path = slirpy.folder / "bess.sock"
    with subprocess.Popen(
        [*OURS, "--target-type=bess", str(path)],
        env=slirpy.environment(),
        stdout=subprocess.DEVNULL,
    ) as process:
        eventually(path.exists, "the socket is there")
        process.terminate()
        assert process.wait(20) == -signal.SIGTERM
        assert not path.exists()


# --------------------------------------------------------------------------------------------- the API


def ask(path: Path, request: bytes | Mapping[str, object], *, half_close: bool = True) -> bytes:
    """The answer to a request."""
    data = request if isinstance(request, bytes) else json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(path))
        sock.sendall(data)
        if half_close:
            sock.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while part := sock.recv(65536):
                answer += part
        except ConnectionResetError:
            pass  # the original does not read all of a long request
        return answer


def add(**arguments: object) -> dict[str, object]:
    """A request to add a forward."""
    return {"execute": "add_hostfwd", "arguments": arguments}


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """A port of the host that was free a moment ago."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


LISTEN = """
import socket
sock = socket.create_server(("0.0.0.0", {port}))
print("listening", flush=True)
while True:
    peer, _ = sock.accept()
    peer.sendall(b"works")
    peer.close()
"""


def test_forwards_by_the_api_socket(slirpy: User, program: Sequence[str], inside: Holder) -> None:
    path = slirpy.folder / "api.sock"
    port = free_port()
    with (
        subprocess.Popen(
            inside.command(sys.executable, "-c", LISTEN.format(port=1080)), stdout=subprocess.PIPE, text=True
        ) as server,
        serve(slirpy, program, "-c", f"--api-socket={path}", str(inside.pid), "tap11") as served,
    ):
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "listening\n"
            assert ask(path, add(proto="tcp", host_port=port, guest_port=1080)) == b'{"return":{"id":1}}'
            entry = {"id": 1, "proto": "tcp", "host_addr": "0.0.0.0", "host_port": port,
                     "guest_addr": "10.0.2.100", "guest_port": 1080}  # fmt: skip
            listed = ask(path, {"execute": "list_hostfwd"})
            assert listed == json.dumps({"entries": [entry]}, separators=(",", ":")).encode()
            with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                assert client.recv(16) == b"works"
            remove = {"execute": "remove_hostfwd", "arguments": {"id": 1}}
            assert ask(path, remove) == b'{"return":{}}'
            with pytest.raises(OSError, match=r"refused|reset|timed out"):
                socket.create_connection(("127.0.0.1", port), timeout=2)
            served.hang_up()
            assert served.status() == 0
        finally:
            server.kill()
    if program is OURS:
        assert not path.exists()


REQUESTS: list[bytes | Mapping[str, object]] = [
    b"badjson", b"", b"[]", b"42", b'""', b'{"unexpectedjson": 42}', b'{"execute": 42}', b'{"execute": "bad"}',
    b'{"execute":"list_hostfwd"} more', b' {"execute":"list_hostfwd",}', b'{"execute":"list_hostfwd"}\0junk',
    b'{"execute":"list_hostfwd","execute":"bad"}', b'/* */ {"execute":"list_hostfwd"}', b"x" * 4095, b"x" * 4096,
    b"x" * 5000, b"\0" * 10, b"[" * 4000,
    add(proto="bad"), add(proto="tcp"), add(proto="tcp", host_addr="x"), add(proto="tcp", host_port=1),
    add(proto="tcp", host_addr="::1", host_port=1, guest_port=1), add(proto="tcp6", host_port=1, guest_port=1),
    add(proto="tcp", host_port="1", guest_port=1), add(proto="tcp", host_port=1, guest_port=1, guest_addr="z"),
    add(proto="tcp", host_addr="192.0.2.77", host_port=1080, guest_port=1),
    {"execute": "remove_hostfwd"}, {"execute": "remove_hostfwd", "arguments": []},
    {"execute": "remove_hostfwd", "arguments": {"id": 99}}, {"execute": "remove_hostfwd", "arguments": {"id": "1"}},
]  # fmt: skip


def test_answers_and_errors_are_those_of_the_original(slirpy: User, inside: Holder, need: Need) -> None:
    need("slirp4netns", "unshare", "nsenter")
    answers: list[list[bytes]] = []
    for program in (THEIRS, OURS):
        path = slirpy.folder / f"api{len(answers)}.sock"
        with serve(slirpy, program, f"--api-socket={path}", str(inside.pid), "tap11"):
            answers.append([ask(path, request) for request in REQUESTS])
    for request, theirs, ours in zip(REQUESTS, *answers, strict=True):
        assert ours == theirs, request


def test_slow_and_half_requests_disturb_nothing(
    slirpy: User, inside: Holder, need: Need, eventually: Eventually
) -> None:
    need("unshare", "nsenter", "ping")
    path = slirpy.folder / "api.sock"
    with serve(slirpy, OURS, "-c", f"--api-socket={path}", str(inside.pid), "tap11") as served:

        def descriptors() -> int:
            return len(os.listdir(f"/proc/{served.process.pid}/fd"))

        before = descriptors()
        idle = []
        for number in range(20):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(path))
            if number % 2:
                sock.sendall(b'{"execute": "list_')
            idle.append(sock)
        assert ask(path, {"execute": "list_hostfwd"}) == b'{"entries":[]}'
        # Its JSON is complete, so there is no need to wait for the end.
        assert ask(path, {"execute": "list_hostfwd"}, half_close=False) == b'{"entries":[]}'
        inside.run("ping", "-c1", "-W5", "10.0.2.2")
        idle[1].sendall(b'hostfwd"}')  # the rest, at last
        assert idle[1].recv(100) == b'{"entries":[]}'
        for sock in idle:
            sock.close()
        assert ask(path, b"x" * (1 << 20), half_close=False).startswith(
            b'{"error":{"desc":"bad request: too large'
        )
        eventually(lambda: descriptors() == before, "every connection is closed")


def test_ipv6_forwards(slirpy: User, inside: Holder, need: Need) -> None:
    need("unshare", "nsenter", "ip")
    path = slirpy.folder / "api.sock"
    port = free_port()
    with serve(slirpy, OURS, "-c", "-6", f"--api-socket={path}", str(inside.pid), "tap11"):

        def listed() -> list[dict[str, object]]:
            entries: list[dict[str, object]] = json.loads(ask(path, {"execute": "list_hostfwd"}))["entries"]
            return entries

        both = {
            "host_addr": "0.0.0.0",
            "host_addr6": "::",
            "guest_addr": "10.0.2.100",
            "guest_addr6": "fd00::100",
        }
        rest = {"proto": "tcp", "host_port": port, "guest_port": 80}
        assert ask(path, add(**rest)) == b'{"return":{"id":1}}'
        assert listed() == [{"id": 1, **rest, **both}]
        assert ask(path, {"execute": "remove_hostfwd", "arguments": {"id": 1}}) == b'{"return":{}}'
        assert ask(path, add(**rest | {"proto": "tcp6", "host_addr": "::1"})) == b'{"return":{"id":2}}'
        assert listed() == [{"id": 2, **rest, "host_addr6": "::1", "guest_addr6": "fd00::100"}]
        wrong = b'{"error":{"desc":"bad request: add_hostfwd: bad arguments.host_addr"}}'
        assert ask(path, add(**rest | {"proto": "tcp4", "host_addr": "::1"})) == wrong
        assert ask(path, add(**rest | {"proto": "tcp6", "host_addr": "127.0.0.1"})) == wrong


# ------------------------------------------------------------------------------------------ command lines

MISTAKES = [
    "1", "abc tap0", "-c --cidr 24 1 tap0", "-c --cidr foo 1 t", "-c --cidr 10.0.2.0 1 t",
    "-c --cidr 10.0.2.100/24 1 t", "-c --cidr 10.0.2.100/26 1 t", "--cidr 10.0.2.0/0 1 t", "-m 0 1 t",
    "-m 65522 1 t", "-m abc 1 t", "--bogus 1 t", "-x 1 t", "--netns-type=path /nonexistent t",
    "--macaddress 0e:d4:18:d9:38:fb 1 t", "--target-type=foo 1 t", "--target-type=bess -c /tmp/x",
    "--target-type=bess --netns-type=path /tmp/x", "--mtu", "-m", "--enable 1 t",
    "--userns-path=/nonexistent --netns-type=path /proc/self/ns/net t", "--outbound-addr=foo 1 t",
    "--outbound-addr=1.2.3.4.5 1 t", "--outbound-addr=::1 1 t",
]  # fmt: skip


@pytest.mark.parametrize("line", MISTAKES)
def test_mistakes_are_reported_like_by_the_original(slirpy: User, need: Need, line: str) -> None:
    need("slirp4netns")
    theirs = failed(slirpy, ("slirp4netns",), *line.split())
    ours = failed(slirpy, OURS, *line.split())
    assert (ours[0], ours[2].strip()) == (theirs[0], theirs[2].strip())
    assert ours[1].startswith("Usage: ") == theirs[1].startswith("Usage: ")


def test_help_has_every_option_of_the_original(slirpy: User, need: Need) -> None:
    """Podman and rootlesskit look for options in it before they use them."""
    need("slirp4netns")
    theirs = failed(slirpy, ("slirp4netns",), "--help")
    ours = failed(slirpy, OURS, "--help")
    assert (ours[0], theirs[0]) == (0, 0)
    wanted = set(re.findall(r"--[a-z0-9-]+", theirs[1]))
    assert len(wanted) > 15
    assert wanted <= set(re.findall(r"--[a-z0-9-]+", ours[1]))
    status, version, _ = failed(slirpy, OURS, "--version")
    assert status == 0
    for pattern in (r"^slirp4netns version \d+\.\d+\.\d+$", r"^commit: \S+$", r"^libslirp: \d+\.\d+\.\d+$",
                    r"^SLIRP_CONFIG_VERSION_MAX: \d+$"):  # fmt: skip
        assert re.search(pattern, version, re.MULTILINE), version


def test_namespaces_and_sockets_that_cannot_be_had(slirpy: User, inside: Holder) -> None:
    for words in (
        ["99999999", "tap0"],
        ["-c", "--api-socket", "/nonexistent/dir/api.sock", str(inside.pid), "tap9"],
        ["-c", "--api-socket", "x" * 200, str(inside.pid), "tap9"],
        ["--ready-fd=77", str(inside.pid), "tap9"],
        ["--netns-type=tapfd", "77"],
        [str(inside.pid), "a" * 20],
    ):
        status, out, error = failed(slirpy, OURS, *words)
        assert status == 1, words
        assert error.count("\n") == 1, error
        assert "Traceback" not in out + error
    assert inside.interfaces() == {"lo"}


def test_signals_end_it_as_if_they_were_not_caught(slirpy: User, inside: Holder) -> None:
    path = slirpy.folder / "api.sock"
    with serve(slirpy, OURS, "-c", f"--api-socket={path}", str(inside.pid), "tap0") as served:
        served.process.terminate()
        assert served.status() == -signal.SIGTERM
        assert not path.exists()
        assert inside.interfaces() == {"lo"}
