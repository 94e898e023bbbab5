"""A host with routers before it, in network namespaces of the test's own.

slirpy's process is in ``home``; three links away, behind two routers, is ``far``; the link between the routers has an
MTU of 1400. No route leads anywhere else.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import time
from contextlib import ExitStack

__all__ = [
    "FAR",
    "FAR6",
    "MTU",
    "NEAR",
    "NEAR6",
    "NEXT",
    "NEXT6",
    "NOWHERE",
    "NOWHERE6",
    "PING_RANGE",
    "World",
    "far_client",
    "hops",
    "python",
]

NAMES = ("home", "near", "next", "far")
LINKS = (
    ("home", "near", "198.51.100", "2001:db8:1"),
    ("near", "next", "203.0.113", "2001:db8:2"),
    ("next", "far", "192.0.2", "2001:db8:3"),
)
SMALL = ("near", "next")
MTU = 1400
FAR, NEAR, NEXT = "192.0.2.2", "198.51.100.2", "203.0.113.2"
NOWHERE = "198.18.0.1"  # no route of home's leads there
FAR6, NEAR6, NEXT6 = "2001:db8:3::2", "2001:db8:1::2", "2001:db8:2::2"
NOWHERE6 = "2001:db8:99::1"
PING_RANGE = "/proc/sys/net/ipv4/ping_group_range"

SERVERS = """
import socket, selectors
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); udp.bind(("", 7))
tcp = socket.create_server(("", 9), family=socket.AF_INET6, dualstack_ipv6=True)
chooser = selectors.DefaultSelector()
chooser.register(udp, 1); chooser.register(tcp, 1)
print("ready", flush=True)
while True:
    for key, _ in chooser.select():
        if key.fileobj is udp:
            data, name = udp.recvfrom(65535)
            udp.sendto(data, name)
        else:
            try:
                with tcp.accept()[0] as sock:
                    total = 0
                    while data := sock.recv(65536):
                        total += len(data)
                    sock.sendall(b"%d " % total + bytes(200_000))
            except ConnectionError:
                pass  # a traceroute takes an answer and resets
"""

# What a guest's program does with the servers above; it fills ``found``, which is printed at the end.
CLIENT = """
import errno, json, select, socket
FAR, NOWHERE = {far!r}, {nowhere!r}
IPV6 = ":" in FAR
found = {{}}

def udp(port):
    sock = socket.socket(socket.AF_INET6 if IPV6 else socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(10)
    sock.connect((FAR, port))
    return sock

def greet():
    sock = udp(7)
    sock.send(b"hello")
    found["echo"] = sock.recv(100).decode()
    return sock

def knock():
    sock = udp(8)
    sock.send(b"anyone?")
    try:
        sock.recv(100)
    except ConnectionRefusedError:
        found["closed"] = "refused"

def largest(size, smaller):
    # Send datagrams with DF until one is answered; the kernel refuses those that it knows to be too large.
    sock, sizes = udp(7), []
    sock.setsockopt(*((socket.IPPROTO_IPV6, 23) if IPV6 else (0, 10)), 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
    for attempt in range(20):
        try:
            sock.send(bytes(size))
            sizes.append(size)
            if select.select([sock], [], [], 2)[0]:
                found["fits"] = len(sock.recv(2000))
                break
        except OSError:
            size = smaller(sock, size)
    found["sizes"] = sizes

def mtu(sock):
    found["mtu"] = sock.getsockopt(*((socket.IPPROTO_IPV6, 24) if IPV6 else (0, 14)))  # IP_MTU
    return found["mtu"]

def transfer():
    with socket.create_connection((FAR, 9), timeout=20) as tcp:
        tcp.sendall(bytes(300_000))
        tcp.shutdown(socket.SHUT_WR)
        data = b""
        while piece := tcp.recv(65536):
            data += piece
    found["tcp"] = [int(data[:6]), len(data) - 7]

{body}
print(json.dumps(found))
"""


class World:
    """The namespaces. Each lives as long as a process of its own, so nothing is left behind."""

    def __init__(self, stack: ExitStack) -> None:
        self.pids: dict[str, int] = {}
        for name in NAMES:
            holder = subprocess.Popen(["unshare", "--net", "sleep", "600"])
            stack.callback(holder.wait)
            stack.callback(holder.kill)
            self.pids[name] = holder.pid
        end = time.monotonic() + 10
        ours = os.readlink("/proc/self/ns/net")
        while any(os.readlink(f"/proc/{pid}/ns/net") == ours for pid in self.pids.values()):
            assert time.monotonic() < end, "unshare did not come to its point"
            time.sleep(0.005)
        for name in NAMES:
            # Errors of the kernel's are not held back, for the test counts them; ping sockets are for all.
            self.sh(name, f"echo 0 > /proc/sys/net/ipv4/icmp_ratelimit; echo 0 2147483647 > {PING_RANGE}")
            self.sh(name, "echo 1 > /proc/sys/net/ipv4/ip_forward; ip link set lo up")
            six = "/proc/sys/net/ipv6"
            self.sh(name, f"echo 0 > {six}/icmp/ratelimit; echo 1 > {six}/conf/all/forwarding")
        for left, right, net, net6 in LINKS:
            mtu = MTU if (left, right) == SMALL else 1500
            self.sh(left, f"ip link add to-{right} mtu {mtu} type veth "
                          f"peer name to-{left} mtu {mtu} netns {self.pids[right]}")  # fmt: skip
            for name, other, host in ((left, right, 1), (right, left, 2)):
                self.sh(name, f"ip addr add {net}.{host}/24 dev to-{other}; ip link set to-{other} up;"
                              f"ip addr add {net6}::{host}/64 dev to-{other} nodad")  # fmt: skip
        self.sh("home", f"ip route add 203.0.113.0/24 via {NEAR}; ip route add 192.0.2.0/24 via {NEAR}")
        self.sh("near", f"ip route add 192.0.2.0/24 via {NEXT}")
        self.sh("next", "ip route add 198.51.100.0/24 via 203.0.113.1")
        self.sh("far", "ip route add 203.0.113.0/24 via 192.0.2.1; ip route add 198.51.100.0/24 via 192.0.2.1")
        self.sh("home", f"ip route add 2001:db8:2::/64 via {NEAR6}; ip route add 2001:db8:3::/64 via {NEAR6}")
        self.sh("near", f"ip route add 2001:db8:3::/64 via {NEXT6}")
        self.sh("next", "ip route add 2001:db8:1::/64 via 2001:db8:2::1")
        self.sh(
            "far",
            "ip route add 2001:db8:2::/64 via 2001:db8:3::1; ip route add 2001:db8:1::/64 via 2001:db8:3::1",
        )
        servers = subprocess.Popen(
            [*self.inside("far"), sys.executable, "-c", SERVERS], stdout=subprocess.PIPE, text=True
        )
        stack.callback(servers.wait)
        stack.callback(servers.kill)
        assert servers.stdout is not None
        stack.callback(servers.stdout.close)
        assert servers.stdout.readline() == "ready\n"

    def inside(self, name: str) -> list[str]:
        """Return the words before a command line that run it in a namespace."""
        return ["nsenter", f"--net=/proc/{self.pids[name]}/ns/net", "--"]

    def sh(self, name: str, script: str) -> str:
        """Run a shell script in a namespace."""
        done = subprocess.run(
            [*self.inside(name), "sh", "-ec", script], capture_output=True, text=True, timeout=20, check=False
        )
        assert done.returncode == 0, (name, script, done.stderr)
        return done.stdout


def python(script: str) -> str:
    """A shell command that runs Python."""
    return f"{sys.executable} - <<'END'\n{textwrap.dedent(script)}\nEND\n"


def far_client(body: str, far: str = FAR, nowhere: str = NOWHERE) -> str:
    """A shell command that runs Python with the functions of :data:`CLIENT`."""
    return python(CLIENT.format(body=textwrap.dedent(body), far=far, nowhere=nowhere))


def hops(output: str) -> list[str]:
    """The addresses of a traceroute, in order."""
    return re.findall(r"^ *\d+ +(\S+)", output, re.MULTILINE)
