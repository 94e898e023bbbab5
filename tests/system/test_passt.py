"""``slirpy-passt`` with a guest of QEMU, started as QEMU 10.1 starts the program of ``-netdev passt,path=``."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import environment
from tests.system.qemu import QEMU, Guest, machine

pytestmark = pytest.mark.usefixtures("kernel")

PROGRAM = [sys.executable, "-c", "from slirpy.cli.passt.passt import main; main()"]
SCRIPT = r"""udhcpc -i eth0 -s /lease -n -q -f -O mtu -t 8 -T 1 2>/dev/null
ip addr show dev eth0 | grep 'inet '
ping -c 2 192.0.2.1 | grep loss
wget -q -O - http://192.0.2.1:PORT/
nc -l -p 80 -e echo hello from the guest &
until netstat -ltn | grep -q :80; do usleep 10000; done
echo listening
wait
"""


@pytest.mark.long
def test_a_guest_has_the_address_that_was_chosen(tmp_path: Path) -> None:
    number = tmp_path / "passt.pid"
    number.touch()
    ours, theirs = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as probe:
        forward = probe.getsockname()[1]
        probe.close()
        options = [
            "--quiet", "--mtu", "9000", "--address", "192.0.2.10", "--netmask", "24", "--gateway", "192.0.2.1",
            "--ipv4-only", "--search", "one.test two.test", "--tcp-ports", f"127.0.0.1/{forward}:80",
            "--pid", str(number),
        ]  # fmt: skip
        subprocess.run(
            [*PROGRAM, *options, "--fd", str(theirs.fileno())],
            env=environment(), pass_fds=[theirs.fileno()], timeout=30, check=True,
        )  # fmt: skip
        theirs.close()
        process = os.pidfd_open(int(number.read_text()))
        netdev = f"stream,id=n,addr.type=fd,addr.str={ours.fileno()}"
        argv = [QEMU, *machine(SCRIPT.replace("PORT", str(server.getsockname()[1])))]
        with Guest(
            [*argv, "-netdev", netdev, "-device", "virtio-net-pci,netdev=n"], pass_fds=[ours.fileno()]
        ) as guest:
            ours.close()
            server.settimeout(60)
            client, _ = server.accept()
            with client:
                client.recv(4096)
                client.sendall(b"HTTP/1.0 200 OK\r\n\r\nhello from the host\n")
            guest.wait_for("listening")
            with socket.create_connection(("127.0.0.1", forward), 30) as client:
                assert client.makefile().read() == "hello from the guest\n"
            boot = guest.finish()
    assert boot.after("leased 192.0.2.10 router 192.0.2.1").endswith("mtu 9000")
    assert "inet 192.0.2.10/24" in boot.output
    assert " 0% packet loss" in boot.output
    assert "hello from the host" in boot.output
    assert select.select([process], [], [], 20)[0]  # it has ended with QEMU
    os.close(process)
