"""``slirpy run`` on a host with IPv6 routers before it: ping, traceroute, tracepath, path MTU, no route.

:mod:`tests.system.routers` has the routers.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable

import pytest

from tests.system.routers import FAR6, MTU, NEAR6, NEXT6, NOWHERE6, World, far_client, hops

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root, on Linux"),
]
GATEWAY = "fec0::2"
FIRST_HOPS = [GATEWAY, NEAR6, NEXT6, FAR6]


def test_traceroute(guest: Callable[..., str]) -> None:
    """By UDP, by echo requests, and by TCP to an open and a closed port."""
    common = "traceroute -6 -n -q 2 -w 5 -m 8"
    methods = ("", "-I", "-T -p 9", "-T -p 10")
    script = ";".join(f"{common} {method} {FAR6}" for method in methods)
    out = guest(script, "--privileged")  # TCP needs raw sockets
    assert hops(out) == FIRST_HOPS * len(methods), out
    assert "*" not in out
    assert "!" not in out


def test_tracepath_finds_the_hops_and_the_mtu(world: World, guest: Callable[..., str]) -> None:
    world.sh("home", "ip -6 route flush cache")
    out = guest(f"tracepath -6 -n -m 8 {FAR6}")
    assert re.search(r"Resume: pmtu 1400 hops 4 back 4", out), out
    found = dict(re.findall(r"^ *(\d+): +([\da-f:]+) +[\d.]+ms", out, re.MULTILINE))
    assert found == dict(zip("1234", FIRST_HOPS, strict=True)), out


def test_ping(world: World, guest: Callable[..., str]) -> None:
    world.sh("home", "ip -6 route flush cache")
    out = guest(
        f"ping -6 -n -c 3 -i 0.05 -W 5 {FAR6}; ping -6 -n -c 1 -W 5 -M do -s 1450 {FAR6};"
        f"ping -6 -n -c 3 -i 0.1 -W 5 -s 4000 {FAR6};"  # no router fragments IPv6; each end loses one, and learns
        f"ping -6 -n -c 1 -W 5 -t 2 {FAR6}; ping -6 -n -c 1 -W 5 -t 1 {FAR6}; ping -6 -n -c 1 -W 5 {NOWHERE6}"
    )
    assert "3 packets transmitted, 3 received, 0% packet loss" in out, out
    assert len(re.findall(rf"^64 bytes from {FAR6}: icmp_seq=[123] ttl=61 ", out, re.MULTILINE)) == 3
    assert re.search(rf"^4008 bytes from {FAR6}: icmp_seq=3 ttl=61 ", out, re.MULTILINE), out
    assert f"From {NEAR6} icmp_seq=1 Time exceeded: Hop limit" in out
    assert f"From {GATEWAY} icmp_seq=1 Time exceeded: Hop limit" in out
    assert f"From {NEAR6} icmp_seq=1 Packet too big: mtu=1400" in out
    assert f"From {GATEWAY} icmp_seq=1 Destination unreachable: No route" in out


def test_udp_and_tcp_to_a_host_far_away(world: World, guest: Callable[..., str]) -> None:
    """A datagram that is too big is dropped once; then the guest knows, and TCP sends smaller segments."""
    script = """
        sock = greet()
        refused = []
        while "large" not in found and len(refused) < 5:
            sock.send(bytes(20_000))  # in fragments all the way, both ways
            try:
                found["large"] = len(sock.recv(65535))
            except OSError as error:  # the first one is lost, and a connected socket hears why
                refused.append(errno.errorcode[error.errno])
        found["refused"] = refused
        knock()
        largest(mtu(udp(7)) - 48, lambda sock, size: size - 8)
        transfer()
        try:
            socket.create_connection((NOWHERE, 9), timeout=20)
        except OSError as error:
            found["nowhere"] = error.strerror
    """
    world.sh("home", "ip -6 route flush cache")
    assert json.loads(guest(far_client(script, FAR6, NOWHERE6))) == {
        "echo": "hello",
        "large": 20_000,
        "refused": ["EMSGSIZE"],
        "closed": "refused",
        "mtu": MTU,
        "sizes": [MTU - 48],
        "fits": MTU - 48,
        "tcp": [300_000, 200_000],
        "nowhere": "Network is unreachable",
    }
    assert "mtu 1400" in world.sh("home", f"ip -6 route get {FAR6}")
