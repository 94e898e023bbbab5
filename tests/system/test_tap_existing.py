"""TAP interfaces that somebody else made, and descriptors that somebody else opened: asked, not assumed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from slirpy.errors import LinkError
from slirpy.links import TapLink, open_tap

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root on Linux"),
]

# Runs in a network namespace of its own, where 10.0.2.2 leads to the namespace's own 127.0.0.1.
PROGRAM = """
import fcntl, os, socket, struct, subprocess, sys, threading
from slirpy import Config, Slirp
from slirpy.errors import LinkError
from slirpy.links import TapLink
from slirpy.links.tuntap import open_tap

SIZE = 3_000_000

def ip(*argv):
    subprocess.run(["ip", *argv], check=True)

def make(*options):
    ip("tuntap", "add", "tap0", "mode", "tap", *options)
    ip("address", "add", "10.0.2.15/24", "dev", "tap0")
    ip("link", "set", "tap0", "up")

def raw(flags, header=None):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", b"tap0", flags))
    if header:
        fcntl.ioctl(fd, 0x400454D8, struct.pack("i", header))
    return fd

def check(link):
    "TCP both ways at once through the link; equal bytes."
    done = threading.Event()
    failed = []
    def client():
        try:
            with socket.create_connection(("10.0.2.2", port), timeout=20) as s:
                sender = threading.Thread(target=s.sendall, args=(data,))
                sender.start()
                got = b""
                while len(got) < SIZE:
                    got += s.recv(1 << 20) or sys.exit("cut off")
                sender.join()
                assert got == data[::-1]
        except BaseException as error:
            failed.append(error)
        finally:
            done.set()
    def server():
        s, _ = listener.accept()
        got = b""
        while len(got) < SIZE:
            got += s.recv(1 << 20)
        s.sendall(got[::-1])
    data = os.urandom(SIZE)
    with socket.create_server(("127.0.0.1", 0)) as listener, Slirp(Config(resolvers=[])) as net:
        port = listener.getsockname()[1]
        net.attach_link(link)
        threading.Thread(target=client, daemon=True).start()
        threading.Thread(target=server, daemon=True).start()
        while not done.is_set():
            net.poll(0.02)
        assert not failed, failed
        assert net.stats.drop_tcp_checksum == 0, net.stats

ip("link", "set", "lo", "up")
"""

EXISTING = """
for options in [], ["multi_queue"], ["vnet_hdr"]:
    make(*options)
    for offloads in True, False, True:
        fd, name = open_tap("tap0", existing=True, offloads=offloads)
        assert name == "tap0"
        link = TapLink(fd)
        assert link.features.segmentation_offload == link.features.checksum_offload == offloads
        check(link)
        ip("link", "show", "tap0")  # it is still there
    ip("link", "delete", "tap0")
print("fine")
"""

GIVEN = """
make()
for flags, header, offloads in (0x1002, None, False), (0x5002, None, True), (0x5002, 12, True), (0x5002, 10, True):
    link = TapLink(raw(flags, header))
    assert link.features.checksum_offload == offloads
    check(link)
ip("link", "delete", "tap0")
fd = raw(0x1001)
try:
    TapLink(fd)
except LinkError as error:
    print(error)
try:
    open_tap("tap0", existing=True)
except LinkError as error:
    print(error)
"""


def inside(program: str) -> str:
    """Return the output of a program in a namespace of its own."""
    argv = ["unshare", "--net", sys.executable, "-W", "error", "-c", PROGRAM + program]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=80, check=False)
    assert done.returncode == 0, done.stderr
    return "\n".join(
        line for line in done.stdout.splitlines() if not line.startswith((" ", "2:", "3:", "4:", "5:"))
    )


def test_an_interface_that_is_there_with_offloads_and_without() -> None:
    assert inside(EXISTING) == "fine"


def test_a_tun_descriptor_and_a_taken_name_are_refused() -> None:
    tun, name = inside(GIVEN).splitlines()
    assert "(tap0) is that of a TUN interface" in tun
    assert name.startswith(
        'cannot set up the TAP interface "tap0": invalid argument; there is one of this name'
    )


def test_other_descriptors_are_refused_and_stay_open() -> None:
    reading, writing = os.pipe()
    for fd in (reading, 9999):
        with pytest.raises(LinkError, match=f"descriptor {fd} is not that of a TAP interface: .*; get one"):
            TapLink(fd)
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("name", ["", "a-name-beyond-15"])
def test_names_have_a_length(name: str) -> None:
    with pytest.raises(LinkError, match="1 to 15 characters"):
        open_tap(name)


def test_an_interface_that_is_not_there_is_not_made() -> None:
    with pytest.raises(LinkError, match=r'there is no interface "nosuch0" here; make it with: sudo ip tuntap'):
        open_tap("nosuch0", existing=True)
