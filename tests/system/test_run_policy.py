"""``slirpy run`` with a policy, shut in, and with an address or an interface for what goes outward."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.user import User
from tests.system.webserver import WebServer

pytestmark = pytest.mark.system
Need = Callable[..., None]
needs_root = pytest.mark.skipif(sys.platform == "linux" and os.geteuid() != 0, reason="needs root")

# Each destination in its turn, and what comes of it. Nothing leaves this machine: all of it is refused, or led to it.
TRY = """
import errno, socket, sys
for text in sys.argv[1:]:
    kind, host, port = text.split(":")
    with socket.socket(type=socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as s:
        s.settimeout(10 if kind == "tcp" else 1)
        try:
            s.connect((host, int(port)))
            if kind == "udp":
                s.send(b"x")
                s.recv(99)
            print("reached")
        except TimeoutError:
            print("silence")
        except OSError as error:
            print(errno.errorcode[error.errno])
"""


def attempt(*places: str) -> list[str]:
    return ["--", sys.executable, "-c", TRY, *places]


def test_flows_that_no_rule_allows_are_refused_and_reported(user: User, web: WebServer) -> None:
    places = [f"tcp:10.0.2.2:{web.port}", "tcp:10.0.2.2:9", "tcp:192.168.7.7:80", "udp:198.51.100.7:53"]
    result = user.run(
        "run", "--allow", f"host:{web.port}", "--deny-private", *attempt(*places, *places[2:], *places[2:])
    )
    refused = ["ECONNREFUSED", "EHOSTUNREACH"]
    assert result.stdout.split() == ["reached", "ECONNREFUSED", *refused * 3], result.stderr
    assert result.stderr.splitlines() == [
        "slirpy: refused tcp 10.0.2.15 -> 10.0.2.2:9 (reject self)",
        "slirpy: refused tcp 10.0.2.15 -> 192.168.7.7:80 (reject private)",
        "slirpy: refused udp 10.0.2.15 -> 198.51.100.7:53 (no rule allows it)",
    ]


def test_rules_of_a_file(slirpy: User, folder: Path, web: WebServer) -> None:
    path = folder / "policy.toml"
    path.write_text(f'rules = ["redirect tcp:any:80=host:{web.port}", "drop udp"]\n')
    result = slirpy.run(
        "run",
        "--policy",
        str(path),
        *attempt("tcp:198.51.100.7:80", "tcp:198.51.100.7:81", "udp:198.51.100.7:80"),
    )
    assert result.stdout.split() == ["reached", "ECONNREFUSED", "silence"], result.stderr
    assert "slirpy: dropped udp 10.0.2.15 -> 198.51.100.7:80 (drop udp:any)" in result.stderr


def test_a_scan_is_reported_in_few_lines(slirpy: User) -> None:
    result = slirpy.run(
        "run", "--deny", "any", *attempt(*(f"tcp:198.51.100.7:{port}" for port in range(1, 501)))
    )
    assert result.stdout.split() == ["ECONNREFUSED"] * 500
    lines = result.stderr.splitlines()
    assert 20 < len(lines) < 40
    match = re.fullmatch(r"slirpy: (\d+) more flows were refused and not reported", lines[-1])
    assert match is not None, lines
    assert int(match[1]) == 500 - (len(lines) - 1)


def test_restrict(slirpy: User, need: Need, web: WebServer) -> None:
    need("ping", "curl")
    server = "import socket; s = socket.create_server(('', 80)); c, _ = s.accept(); c.sendall(b'from inside')"
    places = [f"tcp:10.0.2.2:{web.port}", "udp:10.0.2.3:53", "tcp:198.51.100.7:80"]
    command = [*attempt(*places)[1:]]
    script = (
        f'ping -c 1 -W 5 10.0.2.2 >/dev/null && echo ping; "$@"; echo ready; {sys.executable} -c "{server}"'
    )
    with slirpy.start(
        "run", "--restrict", "--hostfwd", "tcp::0-:80", "--", "sh", "-c", script, "sh", *command
    ) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        told = re.fullmatch(r"hostfwd tcp 127\.0\.0\.1:(\d+) -> .*\n", run.stderr.readline())
        assert told is not None
        words = [run.stdout.readline().strip() for _ in range(5)]
        assert words == ["ping", "ECONNREFUSED", "EHOSTUNREACH", "ECONNREFUSED", "ready"]
        end = time.monotonic() + 10
        answer = b""
        while not answer and time.monotonic() < end:  # until its server listens
            with socket.create_connection(("127.0.0.1", int(told[1]))) as connection:
                try:
                    answer = connection.recv(99)
                except ConnectionResetError:
                    continue
        assert answer == b"from inside"
        _, errors = run.communicate(timeout=20)
    assert run.returncode == 0
    assert errors.count("(restrict)") == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--outbound", "192.0.2.77"], "192.0.2.77 is no address of this host"),
        (["--outbound", "nowhere0"], 'no interface "nowhere0"; there are '),
        (["--allow", "10.0.0.0/33"], 'destination "10.0.0.0/33"'),
        (["--policy", "/nonexistent"], "no such file"),
    ],
)
def test_a_mistake_is_reported_in_one_line(slirpy: User, arguments: list[str], said: str) -> None:
    result = slirpy.run("run", *arguments, "--", "true")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("slirpy: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr


# ------------------------------------------------------------------------------- outbound

# Runs in a network namespace of its own, the "host", and makes another, the "world", joined by two cables. In the
# world 203.0.113.5 tells who asks it; the host has two ways there. Then it runs slirpy, and prints what that printed.
HOST = r"""
import json, os, socket, subprocess, sys, threading

def ip(*words):
    subprocess.run(["ip", *words], check=True)

def tell(host, port):
    udp = socket.socket(type=socket.SOCK_DGRAM)
    udp.bind((host, port))
    tcp = socket.create_server((host, port))
    def datagrams():
        while True:
            _, peer = udp.recvfrom(99)
            udp.sendto(peer[0].encode(), peer)
    def streams():
        while True:
            connection, peer = tcp.accept()
            connection.sendall(peer[0].encode())
            connection.close()
    for work in (datagrams, streams):
        threading.Thread(target=work, daemon=True).start()

ready, started = os.pipe()
joined, go = os.pipe()
world = os.fork()
if world == 0:
    os.unshare(0x40000000) if hasattr(os, "unshare") else __import__("ctypes").CDLL(None).unshare(0x40000000)
    os.write(started, b"x")
    os.read(joined, 1)
    for name, address in (("b0", "192.0.2.2/24"), ("b1", "198.51.100.2/24")):
        ip("addr", "add", address, "dev", name)
        ip("link", "set", name, "up")
    ip("link", "set", "lo", "up")
    ip("addr", "add", "203.0.113.5/32", "dev", "lo")
    tell("203.0.113.5", 7000)
    os.write(started, b"y")
    threading.Event().wait(60)
    os._exit(0)
os.read(ready, 1)
ip("link", "set", "lo", "up")
for number, addresses in (("0", ["192.0.2.1/24", "192.0.2.9/24"]), ("1", ["198.51.100.1/24"])):
    ip("link", "add", "a" + number, "type", "veth", "peer", "name", "b" + number, "netns", str(world))
    for address in addresses:
        ip("addr", "add", address, "dev", "a" + number)
    ip("link", "set", "a" + number, "up")
os.write(go, b"x")
os.read(ready, 1)
ip("route", "add", "203.0.113.5", "via", "192.0.2.2", "metric", "10")
ip("route", "add", "203.0.113.5", "via", "198.51.100.2", "metric", "20")
tell("127.0.0.1", 7001)
ASK = '''
import socket
for host, port in (("203.0.113.5", 7000), ("10.0.2.2", 7001)):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(type=kind) as s:
            s.settimeout(5)
            s.connect((host, port))
            if kind == socket.SOCK_DGRAM:
                s.send(b"who am I?")
            print(s.recv(99).decode())
'''
try:
    for arguments in json.loads(sys.argv[1]):
        slirpy = [sys.executable, "-m", "slirpy", "run", *arguments, "--", sys.executable, "-c", ASK]
        result = subprocess.run(slirpy, capture_output=True, text=True, timeout=30)
        print(json.dumps([result.stdout.split(), result.stderr]), flush=True)
finally:
    os.kill(world, 9)
"""


@pytest.mark.long
@needs_root
def test_outbound_by_address_and_by_interface(slirpy: User, need: Need) -> None:
    need("ip", "unshare")
    loop = ["127.0.0.1"] * 2
    expected = {
        "": ["192.0.2.1"] * 2 + loop,
        "192.0.2.9": ["192.0.2.9"] * 2 + loop,
        "a1": ["198.51.100.1"] * 2 + loop,
        "198.51.100.1,a1": ["198.51.100.1"] * 2 + loop,
        "192.0.2.9,a0": ["192.0.2.9"] * 2 + loop,
    }
    arguments = [["--outbound", outbound] if outbound else [] for outbound in expected]
    result = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", HOST, json.dumps(arguments)],
        cwd=slirpy.folder,
        env=slirpy.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    said = [json.loads(line) for line in result.stdout.splitlines()]
    assert said == [[addresses, ""] for addresses in expected.values()]
