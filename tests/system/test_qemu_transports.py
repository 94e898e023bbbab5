"""The transports against QEMU itself, without a machine: its own user network answers what we send over a link."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slirpy.host.poller import SelectorPoller
from slirpy.interfaces import Buffer, Frame, Timer
from slirpy.links import parse_netdev
from slirpy.stats import Stats

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="needs QEMU"),
]

MAC = bytes.fromhex("525400123456")
QUESTION = (
    b"\xff" * 6
    + MAC
    + bytes.fromhex("0806 0001 0800 06 04 0001")
    + MAC
    + bytes([10, 0, 2, 15])
    + bytes(6)
    + bytes([10, 0, 2, 2])
).ljust(60, b"\0")


def checksum(data: bytes) -> bytes:
    return struct.pack("!H", 0xFFFF - (int.from_bytes(data, "big") % 0xFFFF))


def ping(number: int) -> bytes:
    """An echo request to 10.0.2.2 of 1514 bytes in all."""
    body = struct.pack("!HH", 7, number) + bytes(range(256)) * 5 + bytes(192)
    icmp = b"\x08\0" + checksum(b"\x08\0\0\0" + body) + body
    header = struct.pack(
        "!BBHHHBB2x4s4s", 0x45, 0, 20 + len(icmp), number, 0, 64, 1, b"\x0a\0\2\x0f", b"\x0a\0\2\2"
    )
    header = header[:10] + checksum(header) + header[12:]
    return b"\x52\x55" + bytes([10, 0, 2, 2]) + MAC + b"\x08\0" + header + icmp


def is_echo_reply(frame: bytes) -> bool:
    return frame[12:14] == b"\x08\0" and frame[23] == 1 and frame[34] == 0


class Sink:
    def __init__(self) -> None:
        self.stats = Stats()
        self.poller = SelectorPoller()
        self.frames: list[bytes] = []
        self.timers: list[Callable[[], None]] = []

    @property
    def now(self) -> int:
        return time.monotonic_ns()

    def input(self, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> None:
        self.frames.append(bytes(frame))

    def writable(self) -> None:
        pass

    def lost(self, frames: int) -> None:
        pass

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        self.timers.append(callback)
        return Cancelled()

    def step(self) -> None:
        self.poller.poll(0.05)
        timers, self.timers = self.timers, []
        for callback in timers:
            callback()


class Cancelled:
    def cancel(self) -> None:
        pass


@pytest.fixture
def sink() -> Iterator[Sink]:
    sink = Sink()
    yield sink
    sink.poller.close()


def free_port(kind: int) -> int:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            "stream,server=on,addr.type=unix,addr.path={tmp}/s",
            "stream,server=off,addr.type=unix,addr.path={tmp}/s",
        ),
        (
            "stream,addr.type=unix,addr.path={tmp}/s,reconnect-ms=50",
            "stream,server=on,addr.type=unix,addr.path={tmp}/s",
        ),
        (
            "stream,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port={port}",
            "stream,server=off,addr.type=inet,addr.host=127.0.0.1,addr.port={port}",
        ),
        (
            "stream,addr.type=inet,addr.host=127.0.0.1,addr.port={port},reconnect=1",
            "stream,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port={port}",
        ),
        (
            "dgram,local.type=unix,local.path={tmp}/a,remote.type=unix,remote.path={tmp}/b",
            "dgram,local.type=unix,local.path={tmp}/b,remote.type=unix,remote.path={tmp}/a",
        ),
        (
            "dgram,local.type=inet,local.host=127.0.0.1,local.port={port},"
            "remote.type=inet,remote.host=127.0.0.1,remote.port={other}",
            "dgram,local.type=inet,local.host=127.0.0.1,local.port={other},"
            "remote.type=inet,remote.host=127.0.0.1,remote.port={port}",
        ),
        ("socket,listen=127.0.0.1:{port}", "socket,connect=127.0.0.1:{port}"),
        (
            "stream,addr.type=inet,addr.host=127.0.0.1,addr.port={port},reconnect=1",
            "socket,listen=127.0.0.1:{port}",
        ),
        (
            "socket,udp=127.0.0.1:{other},localaddr=127.0.0.1:{port}",
            "socket,udp=127.0.0.1:{port},localaddr=127.0.0.1:{other}",
        ),
        (
            "socket,mcast=239.255.77.9:{port},localaddr=127.0.0.1",
            "socket,mcast=239.255.77.9:{port},localaddr=127.0.0.1",
        ),
    ],
    ids=lambda text: text[:40].partition("addr.path")[0].strip(",{"),
)
def test_qemu_answers(ours: str, theirs: str, sink: Sink, tmp_path: Path) -> None:
    port, other = free_port(socket.SOCK_STREAM), free_port(socket.SOCK_DGRAM)
    values = {"tmp": tmp_path, "port": port, "other": other}
    link = parse_netdev(ours.format(**values)).open()
    link.start(sink, sink.poller)
    name, _, words = theirs.format(**values).partition(",")
    command = ["qemu-system-x86_64", "-machine", "none", "-display", "none", "-nodefaults"]
    command += ["-netdev", "user,id=u0", "-netdev", "hubport,hubid=0,id=h0,netdev=u0"]
    command += ["-netdev", f"{name},id=s0,{words}", "-netdev", "hubport,hubid=0,id=h1,netdev=s0"]
    qemu = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        end = time.monotonic() + 30
        while not any(
            frame[20:22] == b"\0\2" and frame[28:32] == bytes([10, 0, 2, 2]) for frame in sink.frames
        ):
            link.send([Frame((QUESTION[:14], QUESTION[14:]))])
            sink.step()
            assert qemu.poll() is None, qemu.stderr and qemu.stderr.read()
            assert time.monotonic() < end, "no answer"
        sink.frames.clear()
        pings = [ping(number) for number in range(20)]
        every = [Frame((one[:42], memoryview(one)[42:])) for one in pings]
        rest, again = every, time.monotonic() + 1
        wanted = {one[38:] for one in pings}
        # On a multicast group QEMU hears itself, so there may be frames more than once.
        while wanted != {frame[38:] for frame in sink.frames if is_echo_reply(frame)}:
            rest = rest[link.send(rest) :]  # a unix datagram socket takes ten at a time
            sink.step()
            if not rest and time.monotonic() > again:  # a busy machine may lose datagrams
                rest, again = every, time.monotonic() + 1
            assert time.monotonic() < end, f"{len(sink.frames)} frames, but not all answers"
    finally:
        qemu.kill()
        qemu.communicate()
        link.close()
    assert list(tmp_path.glob("s")) == [] or "server=on" in theirs
