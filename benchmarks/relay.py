"""The least that a network in Python can do: a yardstick for slirpy's small exchanges, not a network to use.

It relays small TCP segments and UDP datagrams of one namespace to the loopback, with the system calls that slirpy
makes for them. It trusts the guest and the path: no checks of what arrives, no timers, options, windows, repetitions,
errors, limits, services or rules, and no second guest. What slirpy takes beyond it is the price of those::

    python benchmarks/relay.py PID
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from io import FileIO

GATEWAY = bytes([10, 0, 2, 2])
MAC = bytes.fromhex("525500000002")
_VNET = 10
"""Bytes of a virtio-net header, before each frame."""
_FIN, _SYN, _PSH, _ACK = 1, 2, 8, 16
_MASK = 0xFFFFFFFF
_headers = struct.Struct("!6x6s14x12sIIBB6x")
_out = struct.Struct("!6s6sH HHHHBBH 12s IIBBHHH")
_datagram_out = struct.Struct("!6s6sH HHHHBBH 12s HH")


def tap(pid: int) -> int:
    """Make a TAP interface with offloads in the network namespace of a process, and configure it."""
    made: list[int] = []

    def work() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/proc/{pid}/ns/net") as namespace:
            if libc.setns(namespace.fileno(), 0x40000000):
                raise OSError(ctypes.get_errno(), "setns")
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", b"tap0", 0x5002))  # TUNSETIFF: TAP, NO_PI, VNET_HDR
        fcntl.ioctl(fd, 0x400454D0, 1)  # TUNSETOFFLOAD: CSUM
        for line in ("addr add 10.0.2.15/24 dev tap0", "link set tap0 up mtu 1500", "link set lo up"):
            subprocess.run(["ip", *line.split()], check=True)
        made.append(fd)

    thread = threading.Thread(target=work)  # a namespace is a thread's
    thread.start()
    thread.join()
    return made[0]


class Relay:
    """All connections of the guest."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = memoryview(bytearray(1 << 17))
        self._readinto = FileIO(fd, closefd=False).readinto
        self._epoll = select.epoll()
        self._ready: dict[int, Callable[[], None]] = {fd: self._from_guest}
        self._flows: dict[bytes, Flow] = {}
        self._datagrams: dict[bytes, socket.socket] = {}
        self._epoll.register(fd, select.EPOLLIN)

    def run(self) -> None:
        """Serve until the process is ended."""
        poll, ready = self._epoll.poll, self._ready
        while True:
            for fd, _ in poll(None, 64):
                ready[fd]()

    def watch(self, sock: socket.socket, ready: Callable[[], None]) -> None:
        """Call ``ready`` when there is something to read."""
        self._ready[sock.fileno()] = ready
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def forget(self, key: bytes, sock: socket.socket) -> None:
        """Close the socket of a flow."""
        self._epoll.unregister(sock.fileno())
        del self._ready[sock.fileno()], self._flows[key]
        sock.close()

    def send(self, header: bytes, data: bytes, csum_offset: int) -> None:
        """Send a frame, whose checksum the kernel leaves out."""
        os.writev(self._fd, (struct.pack("=BBHHHH", 1, 0, 0, 0, 34, csum_offset), header, data))

    def _from_guest(self) -> None:
        length = self._readinto(self._buffer)
        if not length:
            return
        frame = self._buffer[_VNET:length]
        if frame[12] == 8 and frame[13] == 6 and frame[21] == 1:
            reply = bytes(frame[6:12]) + MAC + bytes(frame[12:20]) + b"\0\2"
            reply += MAC + bytes(frame[38:42]) + bytes(frame[22:32])
            os.writev(self._fd, (bytes(_VNET), reply))
        elif frame[12] == 8 and frame[13] == 0 and frame[23] == 6:
            mac, key, seq, _, offset, flags = _headers.unpack_from(frame)
            flow = self._flows.get(key)
            if flow is None:
                if flags & _SYN:
                    self._flows[key] = Flow(self, key, mac, seq)
                return
            flow.input(seq, flags, frame[34 + (offset >> 2) : 14 + (frame[16] << 8 | frame[17])])
        elif frame[12] == 8 and frame[13] == 0 and frame[23] == 17:
            self._datagram(frame)

    def _datagram(self, frame: memoryview) -> None:
        key = bytes(frame[26:38])
        sock = self._datagrams.get(key)
        if sock is None:
            sock = self._datagrams[key] = socket.socket(
                socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
            )
            sock.connect(("127.0.0.1", int.from_bytes(key[10:12], "big")))
            mac, answers = bytes(frame[6:12]), sock
            back = key[4:8] + key[:4] + key[10:12] + key[8:10]

            def answer() -> None:
                data = answers.recv(1 << 16)
                total = 28 + len(data)
                words = 0x4500 + total + (64 << 8 | 17) + sum(struct.unpack("!4H", back[:8]))
                pseudo = sum(struct.unpack("!4H", back[:8])) + 17 + total - 20
                header = _datagram_out.pack(
                    mac,
                    MAC,
                    0x0800,
                    0x4500,
                    total,
                    0,
                    0,
                    64,
                    17,
                    -words % 65535,
                    back,
                    total - 20,
                    pseudo % 65535,
                )
                self.send(header, data, 6)

            self.watch(sock, answer)
        sock.send(frame[42:])


class Flow:
    """One connection of the guest, of which each segment arrives."""

    __slots__ = ("_ack", "_base", "_closed", "_key", "_mac", "_pseudo", "_relay", "_reverse", "_seq", "_sock")

    def __init__(self, relay: Relay, key: bytes, mac: bytes, seq: int) -> None:
        self._relay, self._key, self._mac = relay, key, mac
        self._reverse = key[4:8] + key[:4] + key[10:12] + key[8:10]
        addresses = sum(struct.unpack("!4H", key[:8]))
        self._base, self._pseudo = addresses + 0x4500 + 0x4000 + (64 << 8 | 6), addresses + 6
        self._seq, self._ack, self._closed = 1000, (seq + 1) & _MASK, 0
        sock = self._sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        port = int.from_bytes(key[10:12], "big")
        if sock.connect_ex(("127.0.0.1", port)):
            sock.connect_ex(("127.0.0.1", port))  # the loopback has answered by now
        relay.watch(sock, self._from_socket)
        self._send(_SYN | _ACK, b"", 1)

    def _send(self, flags: int, data: bytes, number: int) -> None:
        total = 40 + len(data)
        header = _out.pack(
            self._mac, MAC, 0x0800, 0x4500, total, 0, 0x4000, 64, 6, -(self._base + total) % 65535, self._reverse,
            self._seq, self._ack, 0x50, flags, 65535, (self._pseudo + total - 20) % 65535, 0,
        )  # fmt: skip
        self._seq = (self._seq + number) & _MASK
        self._relay.send(header, data, 16)

    def _from_socket(self) -> None:
        data = self._sock.recv(1 << 16)
        if data:
            self._send(_ACK | _PSH, data, len(data))
        else:
            self._closed |= 2
            self._send(_FIN | _ACK, b"", 1)
            if self._closed == 3:
                self._relay.forget(self._key, self._sock)

    def input(self, seq: int, flags: int, text: memoryview) -> None:
        """Handle a segment."""
        if text:
            self._ack = (seq + len(text)) & _MASK
            self._sock.send(text)
        if flags & _FIN:
            self._ack = (self._ack + 1) & _MASK
            self._closed |= 1
            self._sock.shutdown(socket.SHUT_WR)
            self._send(_ACK, b"", 0)
            if self._closed == 3:
                self._relay.forget(self._key, self._sock)


if __name__ == "__main__":
    relay = Relay(tap(int(sys.argv[1])))
    print("ready", flush=True)
    relay.run()
