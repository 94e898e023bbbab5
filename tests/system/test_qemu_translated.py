"""``slirpy qemu`` with command lines that ask for QEMU's own user networks, and the same without slirpy."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.repository import environment
from tests.system.qemu import BOOT_SECONDS, QEMU, Boot, Guest, machine

pytestmark = pytest.mark.usefixtures("kernel")

SHOW = r"""printf '#!/bin/sh\n[ $1 = bound ] && echo "$interface $ip $mask $router $dns $hostname $domain"\n' >/show
chmod +x /show
for n in 0 1 2; do
    ip link set eth$n up
    udhcpc -i eth$n -s /show -n -q -f -O hostname -O domain -t 8 -T 1 2>/dev/null || echo "eth$n none"
    echo "card $(cat /sys/class/net/eth$n/address) $(cat /sys/class/net/eth$n/mtu)"
done
ip addr add 10.3.0.15/24 dev eth0; ip route add default via 10.3.0.2
nc -l -p 80 -e echo hello from the guest &
until netstat -ltn | grep -q :80; do usleep 10000; done
echo listening
wait
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def networks(port: int, folder: Path) -> list[str]:
    """Three networks, asked for in three ways."""
    file = folder / "machine.cfg"
    file.write_text(
        '[netdev "third"]\n  type = "user"\n  net = "10.5.0.0/24"\n  dhcpstart = "10.5.0.77"\n'
        '[device "card"]\n  driver = "virtio-net-pci"\n  netdev = "third"\n  addr = "8"\n'
    )
    json = '{"type": "user", "id": "second", "net": "10.4.0.0/24", "hostname": "guest", "domainname": "example.test"}'
    forward = f"hostfwd=tcp:127.0.0.1:{port}-10.3.0.15:80"
    return [
        *("-nic", f"user,model=virtio-net-pci,net=10.3.0.0/24,mac=52:54:00:00:00:01,{forward}"),
        *("-netdev", json, "-device", "virtio-net-pci,netdev=second,mac=52:54:00:00:00:02,addr=7"),
        *("-readconfig", str(file)),
    ]


def shown(command: Sequence[str], port: int) -> tuple[Boot, bytes]:
    """Boot a guest. Returns its output, and the answer of its server by the forward."""
    with Guest([*command, *machine(SHOW)], environment=environment()) as guest:
        guest.wait_for("listening")
        with socket.create_connection(("127.0.0.1", port), 30) as client:
            said = b""
            while data := client.recv(99):
                said += data
        return guest.finish(), said


@pytest.mark.long
def test_the_guest_sees_the_same_network_as_with_qemu_alone(tmp_path: Path) -> None:
    results = []
    for before in ([sys.executable, "-m", "slirpy", "qemu", "--"], []):
        port = free_port()
        boot, said = shown([*before, QEMU, *networks(port, tmp_path)], port)
        assert said == b"hello from the guest\n"
        results.append(boot.output.partition("listening")[0])
    slirpy, own = results
    assert "eth0 10.3.0.15 24 10.3.0.2 10.3.0.3" in slirpy
    assert "eth1 10.4.0.15 24 10.4.0.2 10.4.0.3 guest example.test" in slirpy
    assert "eth2 10.5.0.77 24 10.5.0.2 10.5.0.3" in slirpy
    assert slirpy == own


@pytest.mark.long
def test_an_older_line() -> None:
    """A card and a network that meet in a hub."""
    options = ["-net", "nic,model=virtio-net-pci,macaddr=52:54:00:00:00:09", "-net", "user,net=10.9.0.0/24"]
    script = "udhcpc -i eth0 -s /lease -n -q -f -t 8 -T 1 2>/dev/null\ncat /sys/class/net/eth0/address\n"
    command = [sys.executable, "-m", "slirpy", "qemu", "-v", "--", QEMU, *machine(script), *options]
    with Guest(command, environment=environment()) as guest:
        boot = guest.finish()
    assert boot.after("leased").startswith("10.9.0.15 router 10.9.0.2 dns 10.9.0.3")
    assert "52:54:00:00:00:09" in boot.output
    assert "-net user,net=10.9.0.0/24 -> -net socket,fd=FD" in guest.errors


@pytest.mark.long
def test_a_machine_in_the_background(tmp_path: Path) -> None:
    """With -daemonize, the process that was started ends at once; slirpy serves the machine to its end."""
    console = tmp_path / "console"
    line = machine("udhcpc -i eth0 -s /lease -n -q -f -t 8 -T 1 2>/dev/null\n")
    line.remove("-nographic")
    options = [
        "-daemonize",
        "-display",
        "none",
        "-serial",
        f"file:{console}",
        "-pidfile",
        str(tmp_path / "pid"),
    ]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "slirpy",
            "qemu",
            "--",
            QEMU,
            *line,
            *options,
            "-nic",
            "user,model=virtio-net-pci",
        ],
        capture_output=True,
        env=environment(),
        timeout=BOOT_SECONDS * 1.3,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "leased 10.0.2.15 router 10.0.2.2" in console.read_text()
    assert not (tmp_path / "pid").exists()  # QEMU has removed it: the machine has ended
