"""Real guests: a Linux kernel in QEMU, whose only network is slirpy, over each of QEMU's transports."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from slirpy import Config, Slirp
from slirpy.interfaces import Link
from slirpy.links import DgramLink, StreamLink, inet, unix
from tests.support.extent import FULL, THOROUGH
from tests.support.repository import environment
from tests.system.listening import CARD, Listening
from tests.system.qemu import ADDRESS6, DHCP, QEMU, Guest, machine
from tests.system.resolver import ADDRESS, NAME, Resolver
from tests.system.webserver import WebServer, digest

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("kernel")]

SIZE = (200 if THOROUGH else 20) << 20
SMALL = (20 if THOROUGH else 8) << 20
READY = "@@@ listening"
SLOW = 240.0 if FULL else 60.0

# What the guest serves to the host: the file that it has, and a page that ends the script.
SERVE = r"""
mkdir -p /www/cgi-bin; printf '#!/bin/sh\ntouch /done\necho; echo bye\n' >/www/cgi-bin/done
chmod +x /www/cgi-bin/done; ln -s /f /www/f; httpd -p 80 -h /www
"""
SIX = f"""{ADDRESS6}
echo "address6 $(ip -6 addr show dev eth0 | grep fec0)"
echo "route6 $(ip -6 route show default)"
echo "mtu6 $(cat /proc/sys/net/ipv6/conf/eth0/mtu)"
echo "pings6 $(ping6 -c 3 -i 0.2 -W 2 fec0::2 | grep -c 'bytes from')"
echo "name6 $(nslookup {NAME} fec0::3 2>&1 | tail -n 3 | grep Address)"
"""
GUEST6 = "fec0::5054:ff:fe12:3456"
DONE = "n=0; while [ ! -e /done ] && [ $n -lt 600 ]; do sleep 0.1; n=$((n+1)); done\n"


def everything(port: int, size: int = SIZE, *, six: bool = False) -> str:
    """Lease, ping, DNS, HTTP, bulk both ways, a server in the guest. With ``six`` most of it is done over IPv6."""
    url = f"http://10.0.2.2:{port}"
    gateway = "fec0::2" if six else "10.0.2.2"
    bulk = f"http://[{gateway}]:{port}" if six else url
    return f"""{DHCP}
echo "mtu of card $(cat /sys/class/net/eth0/mtu)"
echo "pings $(ping -c 3 -i 0.2 -W 2 10.0.2.2 | grep -c 'bytes from')"
echo "name $(nslookup {NAME} 10.0.2.3 2>&1 | tail -n 3 | grep Address)"
echo "http $(wget -q -O - {url}/)"
{SIX if six else ""}wget -q -O /f {bulk}/bytes/{size}; echo "down $(sha256sum </f)"
head='PUT /x HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: {size}\\r\\nConnection: close\\r\\n\\r\\n'
echo "up $( (printf "$head"; cat /f) | nc {gateway} {port} | tail -n 1)"
{SERVE}echo; echo "{READY}"
{DONE}"""


def fetch(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=SLOW) as answer:
        data: bytes = answer.read()
    return data


def check_everything(guest: Guest, forward: int, mtu: int, size: int = SIZE, *, six: bool = False) -> None:
    """Be the host's part of :func:`everything`, and judge what the guest said."""
    guest.wait_for(READY, SLOW)
    assert hashlib.sha256(fetch(forward, "/f")).hexdigest() == digest(size)
    assert fetch(forward, "/cgi-bin/done") == b"bye\n"
    boot = guest.finish()
    assert boot.status == 0
    assert boot.after("leased").startswith("10.0.2.15 router 10.0.2.2 dns 10.0.2.3")
    assert boot.after("mtu of card") == str(mtu)
    assert boot.after("pings") == "3"
    assert boot.after("name").split()[-1] == ADDRESS
    assert boot.after("http") == "hello from the server"
    assert boot.after("down").split()[0] == digest(size)
    assert boot.after("up") == digest(size)
    if six:
        assert f"{GUEST6}/64" in boot.after("address6")
        assert boot.after("route6").startswith("default via fe80::2 dev eth0")
        assert boot.after("mtu6") == str(mtu)
        assert boot.after("pings6") == "3"
        assert boot.after("name6").split()[-1] == ADDRESS


@pytest.mark.parametrize(
    ("transport", "size"),
    [
        ("unix", SMALL),
        pytest.param("unix", SIZE, marks=pytest.mark.long),
        pytest.param("tcp", SMALL, marks=pytest.mark.long),
        pytest.param("socket", SMALL, marks=pytest.mark.long),
    ],
)
def test_a_guest_does_everything(
    transport: str, size: int, folder: Path, web: WebServer, resolver: Resolver
) -> None:
    address = f"unix:{folder}/net.sock" if transport == "unix" else "tcp:127.0.0.1:0"
    dns = f"127.0.0.1:{resolver.port}"
    six = transport == "unix"
    guest_address = f"[{GUEST6}]" if six else ""
    with Listening("--hostfwd", f"tcp::0-{guest_address}:80", "--dns", dns, address) as slirpy:
        card = slirpy.card
        if transport == "socket":  # QEMU's older word for the same framing
            port = re.findall(r"addr\.port=(\d+)", " ".join(card))[0]
            card = ["-netdev", f"socket,id=n,connect=127.0.0.1:{port}", "-device", "virtio-net-pci,netdev=n"]
        with Guest([QEMU, *machine(everything(web.port, size, six=six)), *card]) as guest:
            check_everything(guest, slirpy.forward, 1500, size, six=six)
        assert slirpy.end() == ""


def free_port(kind: int) -> int:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


def dgram_unix(folder: Path) -> tuple[Link, str]:
    ends = [f"{folder}/{name}" for name in ("slirpy", "guest")]
    link = DgramLink.open(unix(ends[0]), unix(ends[1]))
    return link, f"dgram,id=n,local.type=unix,local.path={ends[1]},remote.type=unix,remote.path={ends[0]}"


def dgram_inet(_: Path) -> tuple[Link, str]:
    ours, theirs = (inet("127.0.0.1", free_port(socket.SOCK_DGRAM)) for _ in range(2))
    return DgramLink.open(ours, theirs), f"dgram,id=n,{theirs.qemu('local')},{ours.qemu('remote')}"


def socket_udp(_: Path) -> tuple[Link, str]:
    ours, theirs = (inet("127.0.0.1", free_port(socket.SOCK_DGRAM)) for _ in range(2))
    return DgramLink.open(ours, theirs), f"socket,id=n,udp={ours},localaddr={theirs}"


def socket_listen(_: Path) -> tuple[Link, str]:
    place = inet("127.0.0.1", free_port(socket.SOCK_STREAM))
    return StreamLink.connect(place, reconnect=0.2), f"socket,id=n,listen={place}"


def stream_server(folder: Path) -> tuple[Link, str]:
    place = unix(f"{folder}/guest")
    return StreamLink.connect(place, reconnect=0.2), f"stream,id=n,server=on,{place.qemu()}"


@pytest.mark.parametrize(
    ("transport", "size"),
    [
        pytest.param(dgram_unix, SIZE, marks=pytest.mark.long),
        pytest.param(dgram_inet, SMALL, marks=pytest.mark.long),
        pytest.param(socket_udp, SMALL, marks=pytest.mark.long),
        pytest.param(socket_listen, SMALL, marks=pytest.mark.long),
        pytest.param(stream_server, SMALL, marks=pytest.mark.long),
    ],
)
def test_a_guest_does_everything_on_a_link(
    transport: Callable[[Path], tuple[Link, str]], size: int, folder: Path, web: WebServer, resolver: Resolver
) -> None:
    """The transports that have no command of their own, on the public API."""
    link, netdev = transport(folder)
    config = Config(hostfwd=["tcp::0-:80"], resolvers=[f"127.0.0.1:{resolver.port}"])
    with Slirp(config) as net:
        net.attach_link(link)
        over = threading.Event()

        def carry_on() -> None:
            while not over.is_set():
                net.poll(0.05)

        thread = threading.Thread(target=carry_on)
        thread.start()
        try:
            with Guest([QEMU, *machine(everything(web.port, size)), "-netdev", netdev, *CARD]) as guest:
                check_everything(guest, net.hostfwds()[0].host_port, 1500, size)
        finally:
            over.set()
            thread.join()


@pytest.mark.long
def test_a_guest_that_reboots_keeps_its_address(folder: Path) -> None:
    """The second boot asks for no address in particular; a guest with another card came in between."""
    script = f"{DHCP}\necho told\nreboot -f\n"
    with Listening("--stats", f"unix:{folder}/net.sock") as slirpy:
        with Guest([QEMU, *machine(script, reboots=True), *slirpy.card]) as guest:
            guest.wait_for("told")  # the line before it is whole
            other = [QEMU, *machine(DHCP), *slirpy.card[:-1], slirpy.card[-1] + ",mac=52:54:00:12:34:99"]
            with Guest(other) as second:
                assert second.finish().after("leased").startswith("10.0.2.16 ")
            guest.wait_for("told", times=2)
            first, again = guest.boots()[:2]
            assert first.after("leased") == again.after("leased")
            assert first.after("leased").startswith("10.0.2.15 ")
        assert "dhcp_ack" in slirpy.end()


# ------------------------------------------------------------------------------------- slirpy qemu


def qemu_command(*options: str, script: str, more: Sequence[str] = ()) -> list[str]:
    return [sys.executable, "-m", "slirpy", "qemu", *options, "--", QEMU, *machine(script), *more]


@pytest.mark.long
def test_slirpy_qemu_connects_the_card_and_ends_with_qemu(web: WebServer, resolver: Resolver) -> None:
    """The guest has the large MTU from its card; QEMU's terminal is ours."""
    options = ["--hostfwd", "tcp::0-:80", "--dns", f"127.0.0.1:{resolver.port}"]
    argv = qemu_command(*options, script=everything(web.port))
    with Guest(argv, environment=environment()) as guest:
        guest.wait_for(READY, SLOW)
        forward = int(re.findall(r":(\d+) ->", guest.errors)[0])
        check_everything(guest, forward, 65520)
        assert guest.status == 0


@contextmanager
def started(*options: str, more: Sequence[str] = ()) -> Iterator[Guest]:
    """``slirpy qemu`` with a guest that has a lease and then waits."""
    argv = qemu_command(*options, script=f"{DHCP}\nip link show eth0\necho waiting\nsleep 100\n", more=more)
    with Guest(argv, environment=environment()) as guest:
        guest.wait_for("waiting")
        yield guest


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.long
def test_signals_reach_qemu_and_its_status_is_ours() -> None:
    """QEMU ends by itself at SIGTERM, with status 0. The MTU and the address of the card are as we asked."""
    with started("--mtu", "1500", "--mac", "52:54:00:aa:bb:cc") as guest:
        os.kill(guest.pid, signal.SIGTERM)
        boot = guest.finish(20)
        assert guest.status == 0
        assert " mtu 1500 " in boot.output
        assert "52:54:00:aa:bb:cc" in boot.output
        assert "leased 10.0.2.15" in boot.output


@pytest.mark.long
def test_the_exit_status_of_a_killed_qemu_is_that_of_a_shell() -> None:
    card = ["-device", "virtio-net-pci,netdev=slirpy0,mac=52:54:00:aa:bb:dd"]
    with started(more=card) as guest:
        (child,) = children(guest.pid)
        os.kill(child, signal.SIGKILL)
        boot = guest.finish(20)
        assert guest.status == 128 + signal.SIGKILL
        assert boot.output.count("52:54:00:aa:bb:dd") == 1
        assert " mtu 1500 " in boot.output  # a card of one's own has its own ideas


@pytest.mark.long
def test_slirpy_killed_takes_qemu_with_it() -> None:
    with started() as guest:
        (child,) = children(guest.pid)
        os.kill(guest.pid, signal.SIGKILL)
        end = time.monotonic() + 10
        while Path(f"/proc/{child}").exists() and time.monotonic() < end:
            time.sleep(0.02)
        assert not Path(f"/proc/{child}").exists()
