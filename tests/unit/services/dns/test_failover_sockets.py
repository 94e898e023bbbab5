"""The first of two real resolvers on the loopback dies while a guest asks."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from slirpy import Config, Slirp
from tests.support.harness import udp

DNS = bytes((10, 0, 2, 3))
RATE = 250
TOTAL, LAST_OF_FIRST = 500, 75


class Server:
    """A resolver in a thread."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.port: int = self.sock.getsockname()[1]
        self.silent = False
        self.heard = 0
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                message, client = self.sock.recvfrom(2048)
            except OSError:
                return
            if not message:
                return
            self.heard += 1
            if not self.silent:
                record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1"
                reply = message[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + message[12:] + record
                self.sock.sendto(reply, client)

    def close(self) -> None:
        """Close the port."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", ("127.0.0.1", self.port))
        self.thread.join(10)
        self.sock.close()


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    pair = Server(), Server()
    yield pair
    for server in pair:
        if server.thread.is_alive():
            server.close()


@pytest.mark.long
@pytest.mark.parametrize("death", ["silent", "gone"])
def test_the_second_takes_over_and_nothing_is_lost(servers: tuple[Server, Server], death: str) -> None:
    first, second = servers
    answered: set[int] = set()
    sent = 0

    def on_frame(frame: bytes) -> None:
        if frame[12:14] == b"\x08\0" and frame[34:36] == b"\0\x35":
            number = int.from_bytes(frame[42:44], "big")
            assert frame[45] & 0x0F == 0, "not the answer"
            assert number not in answered
            answered.add(number)

    config = Config(resolvers=[f"127.0.0.1:{server.port}" for server in servers])
    with Slirp(config) as net:
        nic = net.attach(on_frame)
        begun = time.monotonic()
        died = False
        while len(answered) < TOTAL:
            now = time.monotonic()
            assert now < begun + 30, f"{sent - len(answered)} are lost"
            if not died and sent > LAST_OF_FIRST:
                died = True
                if death == "silent":
                    first.silent = True
                else:
                    first.close()
            if sent < min(TOTAL, (now - begun) * RATE):
                name = b"name%06d" % sent
                query = sent.to_bytes(2, "big") + b"\1\0\0\1\0\0\0\0\0\0\x0a" + name + b"\4test\0\0\1\0\1"
                nic.send(udp(query, sport=5000 + sent, dport=53, destination=DNS))
                sent += 1
            net.poll(1 / RATE)
        assert first.heard > 10
        assert second.heard > RATE
        stats = net.stats
        assert (stats.dns_answers, stats.dns_servfail, stats.dns_servers_failed) == (TOTAL, 0, 1)
