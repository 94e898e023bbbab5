"""Two guests of QEMU and a namespace with a TAP interface, on two switches that a stream joins."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support.repository import environment
from tests.system.machine import missing
from tests.system.qemu import DHCP, QEMU, Guest, MissingError, boot_files, machine
from tests.system.tap_guest import Guest as TapGuest

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root on Linux"),
]

SIZE = 5 << 20
READY = "@@@ serving"
SERVER, CLIENT = "10.0.2.102", "10.0.2.101"

SERVE = f"""{DHCP}
ip addr add {SERVER}/24 dev eth0
dd if=/dev/urandom of=/f bs=1M count={SIZE >> 20} 2>/dev/null; echo "sum $(sha256sum </f)"
iperf3 -s -D; n=0
until grep -q ":1451 .* 0A " /proc/net/tcp /proc/net/tcp6 || [ $n -gt 100 ]; do sleep 0.1; n=$((n+1)); done
mkdir -p /www/cgi-bin; printf '#!/bin/sh\\ntouch /done\\necho; echo bye\\n' >/www/cgi-bin/done
chmod +x /www/cgi-bin/done; ln -s /f /www/f; httpd -p 80 -h /www
echo; echo "{READY}"
n=0; while [ ! -e /done ] && [ $n -lt 600 ]; do sleep 0.1; n=$((n+1)); done
"""
FETCH = f"""{DHCP}
ip addr add {CLIENT}/24 dev eth0
for to in 10.0.2.2 {SERVER}; do
    echo "pings $to $(ping -c 3 -i 0.2 -W 2 $to | grep -c 'bytes from')"
done
echo "sum $(wget -q -O - http://{SERVER}/f | sha256sum)"
for way in "" -R; do echo "iperf3 $way $(iperf3 -c {SERVER} -t 1 $way | grep -c 'iperf Done')"; done
"""


@contextmanager
def switch(*ports: str, fds: Sequence[int] = ()) -> Iterator[None]:
    """``slirpy switch`` in a process of its own."""
    argv = [sys.executable, "-m", "slirpy", "switch", *(f"--netdev={port}" for port in ports)]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, pass_fds=fds, env=environment()) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline().endswith("ports are joined\n")
            yield
        finally:
            process.terminate()
            process.wait(20)


def card(path: Path, number: int) -> list[str]:
    return [
        "-netdev",
        f"stream,id=n,addr.type=unix,addr.path={path}",
        "-device",
        f"virtio-net-pci,netdev=n,mac=52:54:00:00:01:{number:02x}",
    ]


@pytest.mark.long
def test_guests_on_two_switches(folder: Path, need: Callable[..., None]) -> None:
    need("ip", "nsenter", "unshare", "ping", "curl", "iperf3")
    if shutil.which(QEMU) is None:
        missing(f"needs {QEMU}")
    try:
        boot_files("iperf3")
    except MissingError as error:
        missing(str(error))
    one, two, between = folder / "one", folder / "two", folder / "between"
    listening = "stream,server=on,addr.type=unix,addr.path="
    joining = f"stream,addr.type=unix,addr.path={between}"
    with (
        closing(TapGuest(0)) as tap,
        switch("user", listening + str(one), listening + str(between), f"tap,fd={tap.fd}", fds=[tap.fd]),
        switch(listening + str(two), joining),
        Guest([QEMU, *machine(SERVE, "iperf3"), *card(one, 1)]) as server,
    ):
        tap.address = "10.0.2.50"
        tap.up(1500, offloads=True)
        server.wait_for(READY)
        with Guest([QEMU, *machine(FETCH, "iperf3"), *card(two, 2)]) as client:
            for _ in range(3):  # one by one: of several, ping waits for the last two round trips only
                told = tap.run("ping", "-n", "-c", "1", "-W", "20", SERVER)
                assert " 0% packet loss" in told, told
            got = hashlib.sha256(tap.fetch(f"http://{SERVER}/f")).hexdigest()
            fetched = client.finish()
        for way in ([], ["-R"]):
            assert "iperf Done" in tap.run("iperf3", "-c", SERVER, "-t", "1", *way)
        assert tap.fetch(f"http://{SERVER}/cgi-bin/done") == b"bye\n"
        served = server.finish()
    digest = served.after("sum").split()[0]
    assert fetched.after("sum").split()[0] == digest == got
    assert fetched.after("pings 10.0.2.2") == "3"
    assert fetched.after(f"pings {SERVER}") == "3"
    assert fetched.after("iperf3  ") == fetched.after("iperf3 -R ") == "1"
    leases = {boot.after("leased").split()[0] for boot in (served, fetched)}
    assert len(leases) == 2
    assert all(lease.startswith("10.0.2.1") for lease in leases)
