"""``slirpy run`` on a host with routers before it: ping, traceroute, tracepath, path MTU, refusals from far away.

:mod:`tests.system.routers` has the routers.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest

from tests.system.routers import FAR, MTU, NEAR, NEXT, NOWHERE, PING_RANGE, World, far_client, hops, python

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root, on Linux"),
]


@pytest.mark.client("traceroute", "hops, by UDP", "hops, by echo requests", service="ICMP")
@pytest.mark.parametrize("method", ["", "-U", "-I", "-I -N 1"])
def test_traceroute(guest: Callable[..., str], method: str) -> None:
    privileges = ["--privileged"] if method == "-I" else []  # it uses raw sockets where it can
    out = guest(f"traceroute -n -q 2 -w 3 -m 8 {method} {FAR}", *privileges)
    assert hops(out) == ["10.0.2.2", NEAR, NEXT, FAR], out
    assert "*" not in out


@pytest.mark.client("traceroute", "hops, by TCP", service="TCP")
@pytest.mark.parametrize("port", [9, 10])  # one is open, one is closed
def test_traceroute_by_tcp(guest: Callable[..., str], port: int) -> None:
    out = guest(f"traceroute -n -q 2 -w 3 -m 8 -T -p {port} {FAR}", "--privileged")
    assert hops(out) == ["10.0.2.2", NEAR, NEXT, FAR], out
    assert "*" not in out
    assert "!" not in out


def test_a_connection_with_a_short_time_to_live(guest: Callable[..., str]) -> None:
    """The SYN expires at the second router, and the guest's program gets the error; with one hop more it connects."""
    script = f"""
        import errno, socket
        for ttl in (1, 2, 3, 4):
            with socket.socket() as sock:
                sock.settimeout(10)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
                try:
                    sock.connect(("{FAR}", 9))
                    sock.shutdown(socket.SHUT_WR)
                    print(ttl, "open", len(sock.recv(100)) > 0)
                except OSError as error:
                    print(ttl, errno.errorcode[error.errno])
    """
    assert guest(python(script)).splitlines() == [
        "1 EHOSTUNREACH",
        "2 EHOSTUNREACH",
        "3 EHOSTUNREACH",
        "4 open True",
    ]


def test_traceroute_to_the_gateway_is_one_hop(guest: Callable[..., str]) -> None:
    out = guest("traceroute -n -q 1 -w 3 -m 3 10.0.2.2; traceroute -n -q 1 -w 3 -m 3 -I 10.0.2.2")
    assert hops(out) == ["10.0.2.2"] * 2, out


@pytest.mark.client("tracepath", "hops, by UDP", "path MTU", service="ICMP")
def test_tracepath_finds_the_hops_and_the_mtu(guest: Callable[..., str]) -> None:
    out = guest(f"tracepath -n -m 8 {FAR}")
    assert re.search(r"Resume: pmtu 1400 hops 4 back 4", out), out
    found = dict(re.findall(r"^ *(\d+): +([\d.]+) +[\d.]+ms", out, re.MULTILINE))
    assert found == {"1": "10.0.2.2", "2": NEAR, "3": NEXT, "4": FAR}, out
    assert f"{NEAR} " in out.split("pmtu 1400")[0].splitlines()[-1], out
    assert "asymm" not in out


@pytest.mark.client("ping", "hops, by echo requests", "path MTU", "echo", "echo in fragments", service="ICMP")
def test_ping(guest: Callable[..., str]) -> None:
    out = guest(
        f"ping -n -c 3 -i 0.05 -W 5 {FAR}; ping -n -c 1 -W 5 -M dont -s 4000 {FAR};"
        f"ping -n -c 1 -W 5 -t 2 {FAR}; ping -n -c 1 -W 5 -t 1 {FAR}; ping -n -c 1 -W 5 -M do -s 1450 {FAR};"
        f"ping -n -c 1 -W 5 {NOWHERE}"
    )
    assert "3 packets transmitted, 3 received, 0% packet loss" in out, out
    assert len(re.findall(rf"^64 bytes from {FAR}: icmp_seq=[123] ttl=61 ", out, re.MULTILINE)) == 3
    assert re.search(rf"^4008 bytes from {FAR}: icmp_seq=1 ttl=61 ", out, re.MULTILINE), out
    assert f"From {NEAR} icmp_seq=1 Time to live exceeded" in out
    assert "From 10.0.2.2 icmp_seq=1 Time to live exceeded" in out
    assert f"From {NEAR} icmp_seq=1 Frag needed and DF set (mtu = 1400)" in out
    assert "From 10.0.2.2 icmp_seq=1 Destination Net Unreachable" in out


def test_ping_where_the_system_gives_no_ping_socket(world: World, guest: Callable[..., str]) -> None:
    world.sh("home", f"echo 1 0 > {PING_RANGE}")
    try:
        out = guest(
            f"ping -n -c 2 -i 0.05 -W 5 {FAR}; ping -n -c 1 -W 5 10.0.2.2",
            stderr="slirpy: guests cannot ping beyond the gateway, because the system gives this process no ping "
            'socket (EACCES); to allow it to all users: sysctl -w net.ipv4.ping_group_range="0 2147483647"\n',
        )
    finally:
        world.sh("home", f"echo 0 2147483647 > {PING_RANGE}")
    assert "From 10.0.2.2 icmp_seq=2 Packet filtered" in out, out
    assert "64 bytes from 10.0.2.2: icmp_seq=1 ttl=255" in out
    assert "64 bytes from 192" not in out


def test_udp_and_tcp_to_a_host_far_away(world: World, guest: Callable[..., str]) -> None:
    script = """
        sock = greet()
        sock.send(bytes(20_000))  # in fragments all the way, both ways
        found["large"] = len(sock.recv(65535))
        knock()
        largest(1472, lambda sock, size: mtu(sock) - 28)
        transfer()
    """
    world.sh("home", "ip route flush cache")
    found = json.loads(guest(far_client(script)))
    assert found == {
        "echo": "hello",
        "large": 20_000,
        "closed": "refused",
        "mtu": MTU,
        "sizes": [1472, MTU - 28],
        "fits": MTU - 28,
        "tcp": [300_000, 200_000],
    }
    assert "mtu 1400" in world.sh("home", f"ip route get {FAR}")


def test_the_mtu_of_the_host_s_own_link(world: World, guest: Callable[..., str]) -> None:
    script = f"""
        import select, socket
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(0, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
        sock.connect(("{FAR}", 7))
        sock.send(bytes(1472))
        select.select([sock], [], [], 5)
        print("mtu", sock.getsockopt(0, 14))  # IP_MTU
    """
    world.sh("home", "ip link set to-near mtu 1300")
    try:
        out = guest(f"ping -n -c 1 -W 5 -M do -s 1450 {FAR}") + guest(python(script))
    finally:
        world.sh("home", "ip link set to-near mtu 1500; ip route flush cache")
    assert "From 10.0.2.2 icmp_seq=1 Frag needed and DF set (mtu = 1300)" in out, out
    assert "mtu 1300" in out


def test_a_far_sender_is_refused_after_the_socket_has_closed(world: World, guest: Callable[..., str]) -> None:
    """The guest's kernel refuses a late answer; slirpy's socket goes, and home's kernel refuses the next one."""
    far = f"""
        import socket
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("{FAR}", 99))
        print("ready", flush=True)
        _, name = sock.recvfrom(100)
        sock.connect(name)
        sock.settimeout(0.02)
        while True:
            try:
                sock.send(b"still there?")
                sock.recv(100)
            except TimeoutError:
                pass
            except ConnectionRefusedError:
                break
        with socket.create_server(("{FAR}", 98)) as listener:  # tells the guest, while its slirpy still runs
            listener.accept()
    """
    near = f"""
        import socket, time
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(20)
        sock.sendto(b"hello", ("{FAR}", 99))
        sock.recv(100)
        sock.close()
        for attempt in range(500):
            try:
                socket.create_connection(("{FAR}", 98), timeout=5).close()
            except ConnectionRefusedError:
                time.sleep(0.02)
            else:
                print("far was refused")
                break
    """
    process = subprocess.Popen(
        [*world.inside("far"), sys.executable, "-c", textwrap.dedent(far)], stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            assert guest(python(near)) == "far was refused\n"
        finally:
            process.kill()
