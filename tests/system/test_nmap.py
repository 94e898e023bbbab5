"""A guest scans the gateway, which is the host's loopback, with nmap: it finds what is there, and costs little.

slirpy runs in a network namespace of the test's own, so that its loopback has nothing but the servers below.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.extent import THOROUGH

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root, on Linux"),
]

TCP_PORTS, UDP_PORTS = (7, 1023, 40_001, 65_535), (7, 5000)
MEMORY = 64 << 20
"""Of slirpy's process, at most; it begins with about 30 MiB."""
DESCRIPTORS = 200
ALL = "1-65535"
MANY = ALL if THOROUGH else "1-16384,40001,65535"
"""For the second kind of scan: the ports that it finds are the same, and each costs as much as the one before."""
SERVERS = f"""
import os, selectors, socket, subprocess, sys
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
chooser = selectors.DefaultSelector()
for port in {TCP_PORTS}:
    chooser.register(socket.create_server(("127.0.0.1", port)), 1, "tcp")
for port in {UDP_PORTS}:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", port))
    chooser.register(sock, 1, "udp")
if not os.fork():
    os.dup2(os.open("/dev/null", os.O_RDWR), 1)
    while os.getppid() != 1:
        for key, _ in chooser.select(0.5):
            if key.data == "tcp":
                key.fileobj.accept()[0].close()
            else:
                data, name = key.fileobj.recvfrom(65535)
                key.fileobj.sendto(data or b"nothing", name)
    os._exit(0)
options = ["--privileged", "--dns", "127.0.0.1:9"]  # nmap uses raw sockets
os.execv(sys.executable, [sys.executable, "-m", "slirpy", "run", *options, *sys.argv[1:]])
"""


def scan(tmp_path: Path, *options: str) -> dict[int, str]:
    """The ports that nmap lists, with their states, but for closed ones. Checks what it has cost."""
    found = tmp_path / "found"
    nmap = ["nmap", "-n", "-Pn", "-T4", "-oG", str(found), *options, "10.0.2.2"]
    with (tmp_path / "said").open("w+") as said:
        process = subprocess.Popen(
            ["unshare", "--net", sys.executable, "-c", SERVERS, "--", *nmap],
            stdin=subprocess.DEVNULL, stdout=said, stderr=said,
        )  # fmt: skip
        peak = descriptors = ticks = 0
        while process.poll() is None:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
                descriptors = max(descriptors, len(os.listdir(f"/proc/{process.pid}/fd")))
                user, system = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
                ticks = int(user) + int(system)
            except OSError:
                break  # it is gone
            peak = max([peak, *(int(kib) * 1024 for kib in re.findall(r"VmHWM:\s+(\d+)", status))])
            time.sleep(0.05)
        assert process.wait(60) == 0, said.seek(0) or said.read()
    seconds = ticks / os.sysconf("SC_CLK_TCK")  # of the processor: nmap waits much longer on a busy machine
    print(f"nmap {' '.join(options)}: {seconds:.1f} s, {peak >> 20} MiB, {descriptors} descriptors")
    assert seconds < 60
    assert peak < MEMORY
    assert descriptors < DESCRIPTORS
    (ports,) = re.findall(r"Ports: ([^\t\n]*)", found.read_text())
    fields = [each.strip().split("/") for each in ports.split(",")]
    return {int(port): state for port, state, *_ in fields if state != "closed"}


@pytest.mark.long
@pytest.mark.parametrize(("kind", "ports"), [("-sT", ALL), ("-sS", MANY)])
def test_all_tcp_ports(kind: str, ports: str, need: Callable[..., None], tmp_path: Path) -> None:
    need("nmap", "unshare")
    assert scan(tmp_path, kind, "-p", ports) == dict.fromkeys(TCP_PORTS, "open")


@pytest.mark.long
def test_some_udp_ports(need: Callable[..., None], tmp_path: Path) -> None:
    need("nmap", "unshare")
    assert scan(tmp_path, "-sU", "-p", "1-66,100-300,4900-5100") == dict.fromkeys(UDP_PORTS, "open")
