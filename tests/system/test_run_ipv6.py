"""``slirpy run`` with IPv6: the kernel, curl, ping and dig as the guest's programs."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.extent import THOROUGH
from tests.system.user import User
from tests.system.webserver import WebServer, digest

pytestmark = pytest.mark.system
Need = Callable[..., None]
SMALL = 20 << 20
SIZE = (200 << 20) if THOROUGH else SMALL


@contextmanager
def only_ipv6() -> Iterator[int]:
    """A server on ::1 alone; it sends a greeting. Yields its port."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        server.settimeout(30)

        def serve() -> None:
            try:
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(4096)
                        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nfrom ::1\n")
            except OSError:
                pass  # closed

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def test_a_command_has_an_ipv6_address_and_a_gateway(user: User, need: Need) -> None:
    need("ip", "ping")
    script = "ip -j addr show tap0; ip -6 -j route show default; ping -6 -c 2 -i 0.2 -W 5 fec0::2"
    result = user.run("run", "--", "sh", "-c", script)
    assert result.returncode == 0, result.stderr
    links, routes, *ping = result.stdout.splitlines()
    addresses = {each["local"]: each for each in json.loads(links)[0]["addr_info"]}
    assert addresses["fec0::15"]["prefixlen"] == 64
    assert "tentative" not in addresses["fec0::15"]  # it can be used at once
    (default,) = json.loads(routes)
    assert (default["gateway"], default["dev"]) == ("fec0::2", "tap0")
    assert "2 packets transmitted, 2 received, 0% packet loss" in "\n".join(ping)
    assert result.stderr == ""


def test_the_options_decide(user: User, need: Need) -> None:
    need("ip")
    script = "ip -br -6 addr show tap0 scope global; ip -6 route show default; head -n 1 /etc/resolv.conf"
    options = ["--net6", "fd00:7::/56", "--host6", "fd00:7::9", "--no-ipv4"]
    result = user.run("run", *options, "--", "sh", "-c", script)
    assert re.search(r"fd00:7::15/56", result.stdout), result
    assert re.search(r"default via fd00:7::9 ", result.stdout)
    assert result.stdout.endswith("nameserver fd00:7::3\n")


@pytest.mark.parametrize("options", [["--no-ipv6"], ["--mtu", "1279"]])
def test_without_ipv6_there_is_no_address(user: User, need: Need, options: list[str]) -> None:
    need("ip")
    result = user.run("run", *options, "--", "ip", "-6", "addr", "show", "tap0")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_the_gateway_is_both_loopbacks_of_the_host(user: User, need: Need, web: WebServer) -> None:
    need("curl")
    with only_ipv6() as port:
        urls = [
            f"http://{gateway}:{number}/"
            for number in (web.port, port)
            for gateway in ("10.0.2.2", "[fec0::2]")
        ]
        result = user.run("run", "--", "curl", "-sf", "-m", "20", *urls)
    assert result.stdout == "hello from the server\n" * 2 + "from ::1\n" * 2, result


def test_transfers_arrive_whole(user: User, need: Need, web: WebServer) -> None:
    need("curl", "sha256sum")
    url = f"http://[fec0::2]:{web.port}"
    down_script = f"curl -sf {url}/bytes/{SIZE} | sha256sum"
    up_script = f"head -c {SIZE} /dev/zero | curl -sf -X PUT --data-binary @- {url}/anything"
    script = f"set -e; {down_script}; {up_script}"
    result = user.run("run", "--", "sh", "-c", script)
    assert result.returncode == 0, result
    down, up = result.stdout.split("-")
    assert down.strip() == digest(SIZE)
    assert up.strip() == hashlib.sha256(bytes(SIZE)).hexdigest()


@pytest.mark.client("curl", "read", "tsize", "blksize chosen by a client", service="TFTP")
def test_services_answer_over_ipv6(slirpy: User, need: Need, web: WebServer, folder: Path) -> None:
    """TFTP, and a port of the host at an address of the network."""
    need("curl", "tftp")
    (folder / "file").write_text("read by TFTP\n")
    script = (
        "curl -sf -m 20 tftp://[fec0::2]/file; tftp -6 fec0::2 -c get file got; cat got;"
        "curl -sf -m 20 http://[fec0::80]/; curl -sf -m 20 http://[2001:db8::80]/"
    )
    forwards = [
        f"--guestfwd=tcp:[{server}]:80-tcp:127.0.0.1:{web.port}" for server in ("fec0::80", "2001:db8::80")
    ]
    result = slirpy.run("run", "--tftp", str(folder), *forwards, "--", "sh", "-c", script)
    assert result.stdout == "read by TFTP\n" * 2 + "hello from the server\n" * 2, result


@pytest.mark.parametrize("host", ["[::1]", "127.0.0.1"])
def test_a_port_of_the_host_leads_to_the_guest(slirpy: User, need: Need, folder: Path, host: str) -> None:
    need("curl", "sha256sum")
    (folder / "page").write_bytes(b"from the guest" * 100_000)
    server = [sys.executable, "-u", "-m", "http.server", "--bind", "fec0::15", "80"]
    with slirpy.start("run", "--hostfwd", f"tcp:{host}:0-[fec0::15]:80", "--", *server) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        port = int(re.findall(r":(\d+) ->", process.stderr.readline())[0])
        assert "Serving HTTP" in process.stdout.readline()
        with urllib.request.urlopen(f"http://{host}:{port}/page", timeout=20) as answer:
            assert answer.read() == b"from the guest" * 100_000
        process.send_signal(signal.SIGTERM)


@pytest.mark.client("iperf3", "TCP both ways", "UDP", service="TCP")
def test_iperf3(slirpy: User, need: Need) -> None:
    need("iperf3")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as free:
        port = free.getsockname()[1]
    # The server may still be busy with the end of the run before.
    script = (
        f'run() {{ n=0; until iperf3 -6 -c fec0::2 -p {port} -n 20M "$@" || [ $n = 100 ]; do'
        " n=$((n + 1)); sleep 0.1; done; }; run; run -R; run -u -b 500M"
    )
    with subprocess.Popen(
        ["iperf3", "--forceflush", "-s", "-B", "::1", "-p", str(port)], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            while "listening" not in server.stdout.readline():
                pass
            result = slirpy.run("run", "--", "sh", "-c", script)
        finally:
            server.kill()
    assert result.stdout.count("iperf Done.") == 3, result


def test_names_and_addresses_over_ipv6(user: User, need: Need) -> None:
    need("dig")
    script = "dig -6 +short @fec0::3 host.internal AAAA; dig -6 +short +tcp @fec0::3 -x fec0::2"
    result = user.run("run", "--", "sh", "-c", script)
    assert result.stdout.splitlines() == ["fec0::2", "gateway.internal."], result


def test_a_guest_with_ipv6_alone_downloads_from_an_ipv4_server_by_name(
    user: User, need: Need, web: WebServer
) -> None:
    need("curl", "sha256sum")
    options = ["--no-ipv4", "--nat64", "--dns-record", "four.test=192.0.2.7"]
    redirect = ["--redirect", f"tcp:192.0.2.7:80=127.0.0.1:{web.port}"]  # so that nothing leaves this machine
    script = f"curl -sf -m 20 http://four.test/bytes/{SMALL} | sha256sum"
    result = user.run("run", *options, *redirect, "--", "sh", "-c", script)
    assert result.stdout.split() == [digest(SMALL), "-"], result


def test_a_guest_with_ipv4_alone_reaches_an_ipv6_server_by_name(user: User, need: Need) -> None:
    need("curl")
    with only_ipv6() as port:
        options = ["--no-ipv6", "--dns46", "198.18.0.0/15", "--dns-record", "six.test AAAA 2001:db8::7"]
        redirect = ["--redirect", f"tcp:[2001:db8::7]:80=[::1]:{port}"]
        result = user.run("run", *options, *redirect, "--", "curl", "-sf", "-m", "20", "http://six.test/")
    assert result.stdout == "from ::1\n", result


_PROBES = """
import errno, socket, time
began = time.monotonic()
results = []
try:
    socket.create_connection(("2001:db8::1", 80), 30)
except OSError as error:
    results.append(error.errno)
for protocol, message in ((17, b"x"), (58, bytes((128, 0, 0, 0, 0, 0, 0, 1)))):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM, protocol) as sock:
        sock.setsockopt(41, 25, 1)  # IPV6_RECVERR
        sock.settimeout(30)
        sock.connect(("2001:db8::1", 9))
        sock.send(message)
        try:
            sock.recv(100)
        except OSError as error:
            results.append(error.errno)
print(results == [errno.ENETUNREACH] * 3, time.monotonic() - began < 20)
"""


def test_a_host_without_ipv6_is_no_hindrance(slirpy: User, need: Need) -> None:
    need("sysctl", "ip")
    script = (
        "ip link set lo up && sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1"
        " net.ipv4.ping_group_range='0 2147483647' && exec \"$@\""
    )
    argv = slirpy.argv("run", "--", sys.executable, "-c", _PROBES)
    result = subprocess.run(
        ["unshare", "--net", "sh", "-c", script, "sh", *argv],
        cwd=slirpy.folder,
        env=slirpy.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.stdout == "True True\n", result


_SERVED = """
python=$1; shift
"$python" -m http.server --bind 127.0.0.1 8000 >/dev/null 2>&1 & server=$!
n=0; until curl -sf -o /dev/null http://127.0.0.1:8000/; do
    n=$((n + 1)); [ $n -lt 200 ] || exit 97; sleep 0.05; done
"$@"; status=$?
kill $server; exit $status
"""


@pytest.mark.client("curl", "fallback to IPv4", service="TCP")
def test_a_name_of_both_families_is_reached_by_ipv4_at_once(slirpy: User, need: Need, folder: Path) -> None:
    """curl tries IPv6 first, and may wait a minute for it; the error ends the wait."""
    need("sysctl", "ip", "curl")
    script = (
        "ip link set lo up && sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1; "
    ) + _SERVED
    options = ["--stats", "--net6", "2001:db8:1::/64"]  # an address of its scope, so that it prefers IPv6
    for record in ("dual.test A 192.0.2.7", "dual.test AAAA 2001:db8::7"):
        options += ["--dns-record", record]
    options += ["--dns", "127.0.0.1:9", "--redirect", "tcp:192.0.2.7:80=127.0.0.1:8000"]
    curl = [
        "curl",
        "-sS",
        "-m",
        "20",
        "--happy-eyeballs-timeout-ms",
        "60000",
        "-o",
        "page",
        "-w",
        "%{remote_ip}",
    ]
    argv = slirpy.argv("run", *options, "--", *curl, "http://dual.test/")
    result = subprocess.run(
        ["unshare", "--net", "sh", "-c", script, "sh", sys.executable, *argv],
        cwd=slirpy.folder,
        env=slirpy.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.stdout == "192.0.2.7", result
    assert re.search(r"ABORTED +\[2001:db8:1::15\]:\d+ +-> +\[2001:db8::7\]:80", result.stderr), result.stderr
    assert re.search(r"^icmp_errors_out +1 ", result.stderr, re.M), result.stderr
